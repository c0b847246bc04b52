select
    event_id,
    event_at as acted_at,
    {{ utc_day('event_at') }} as action_date,
    session_id,
    user_id,
    sku_id,
    region_id,
    action,
    campaign_id
from {{ source('raw', 'traffic') }}
