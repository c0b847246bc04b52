with known as (
    select distinct sku_id from {{ ref('stg_raw__products') }}
)

select
    offers.campaign_id,
    min(offers.starts_at) as starts_at,
    max(offers.ends_at) as ends_at,
    cast({{ hours_between('max(offers.ends_at)', 'min(offers.starts_at)') }} as float8) as duration_hours,
    count(distinct offers.sku_id) as sku_count,
    count(distinct offers.region_id) as region_count,
    min(case when known.sku_id is null then offers.sku_id end) as unknown_sku
from {{ ref('stg_raw__offers') }} as offers
left join known on offers.sku_id = known.sku_id
group by offers.campaign_id
