select
    alert_id,
    campaign_id,
    raised_at,
    kind,
    severity,
    sku_id,
    region_id,
    topic,
    reason,
    value,
    bound
from {{ ref('stg_live__alerts') }}
