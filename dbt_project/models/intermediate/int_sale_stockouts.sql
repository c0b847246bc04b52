-- The first reading of nothing on hand while the sale ran.
select
    offers.campaign_id,
    offers.sku_id,
    offers.region_id,
    min(readings.read_at) as sold_out_at
from {{ ref('stg_raw__offers') }} as offers
inner join {{ ref('stg_raw__stock_readings') }} as readings
    on
        offers.sku_id = readings.sku_id
        and offers.region_id = readings.region_id
        and readings.on_hand = 0
        and offers.starts_at <= readings.read_at
        and offers.ends_at > readings.read_at
group by offers.campaign_id, offers.sku_id, offers.region_id
