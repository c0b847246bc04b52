-- Cost, list price and shipping are those that held when the sale began.
{% set offer_key = ['offers.campaign_id', 'offers.sku_id', 'offers.region_id'] %}
with offers as (
    select * from {{ ref('stg_raw__offers') }}
),

products as (
    select * from {{ ref('stg_raw__products') }}
),

regions as (
    select * from {{ ref('stg_raw__regions') }}
),

priced as (
    select
        offers.*,
        products.category,
        products.brand,
        products.list_price,
        products.unit_cost,
        products.launched_at,
        {{ version_rank(offer_key, 'offers.starts_at', 'products.valid_from_at') }} as version_rank
    from offers
    inner join products on offers.sku_id = products.sku_id
)

select
    priced.campaign_id,
    priced.sku_id,
    priced.region_id,
    priced.promo_type,
    priced.offer_price,
    priced.allocated_units,
    priced.announced_at,
    priced.starts_at,
    priced.ends_at,
    {{ hours_between('priced.ends_at', 'priced.starts_at') }} as duration_hours,
    priced.category,
    priced.brand,
    priced.list_price,
    priced.unit_cost,
    priced.launched_at,
    coalesce(regions.shipping_cost, 0) as shipping_cost,
    coalesce(regions.capacity_units, 0) as capacity_units
from priced
left join regions on priced.region_id = regions.region_id and regions.is_current
where priced.version_rank = 1
