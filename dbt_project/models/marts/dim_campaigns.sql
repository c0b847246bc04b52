select
    campaign_id,
    min(starts_at) as starts_at,
    max(ends_at) as ends_at,
    cast({{ hours_between('max(ends_at)', 'min(starts_at)') }} as float8) as duration_hours,
    count(distinct sku_id) as sku_count,
    count(distinct region_id) as region_count
from {{ ref('stg_raw__offers') }}
group by campaign_id
