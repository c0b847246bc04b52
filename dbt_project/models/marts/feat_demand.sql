{% set planning_key = ['plannings.row_kind', 'plannings.campaign_id', 'plannings.sku_id', 'plannings.region_id'] %}
with plannings as (
    select * from {{ ref('int_plannings') }}
),

products as (
    select
        plannings.row_kind,
        plannings.campaign_id,
        plannings.sku_id,
        plannings.region_id,
        versions.title,
        versions.category,
        versions.brand,
        versions.list_price,
        versions.unit_cost,
        versions.launched_at,
        {{ version_rank(planning_key, 'plannings.cutoff_at', 'versions.valid_from_at') }} as version_rank
    from plannings
    inner join {{ ref('stg_raw__products') }} as versions on plannings.sku_id = versions.sku_id
),

regions as (
    select
        plannings.row_kind,
        plannings.campaign_id,
        plannings.sku_id,
        plannings.region_id,
        versions.capacity_units,
        {{ version_rank(planning_key, 'plannings.cutoff_at', 'versions.valid_from_at') }} as version_rank
    from plannings
    inner join {{ ref('stg_raw__regions') }} as versions on plannings.region_id = versions.region_id
)

select
    plannings.row_kind,
    plannings.campaign_id,
    plannings.sku_id,
    plannings.region_id,
    plannings.starts_at,
    plannings.ends_at,
    plannings.cutoff_at,
    cast({{ hours_between('plannings.ends_at', 'plannings.starts_at') }} as float8) as duration_hours,
    cast(extract(hour from (plannings.starts_at at time zone 'UTC')) as integer) as start_hour,
    cast(extract(isodow from (plannings.starts_at at time zone 'UTC')) as integer) as start_weekday,
    products.title,
    products.category,
    products.brand,
    products.list_price,
    products.unit_cost,
    cast(coalesce(regions.capacity_units, 0) as bigint) as capacity_units,
    cast({{ hours_between('plannings.starts_at', 'products.launched_at') }} / 24.0 as float8) as age_days,
    cast(coalesce(sales.base_units_28d, 0) as float8) as base_units_28d,
    cast(coalesce(sales.base_units_7d, 0) as float8) as base_units_7d,
    cast(coalesce(sales.base_units_182d, 0) as float8) as base_units_182d,
    cast(coalesce(sales.base_units_28d_all, 0) as float8) as base_units_28d_all,
    cast(coalesce(sales.views_7d, 0) as bigint) as views_7d,
    cast(coalesce(sales.views_28d, 0) as bigint) as views_28d,
    cast(coalesce(sales.carts_7d, 0) as bigint) as carts_7d,
    cast(coalesce(sales.favourites_7d, 0) as bigint) as favourites_7d,
    cast(coalesce(sales.notify_me_7d, 0) as bigint) as notify_me_7d,
    cast(coalesce(texts.text_count_7d, 0) as float8) as text_count_7d,
    cast(coalesce(texts.text_count_28d, 0) as float8) as text_count_28d,
    cast(coalesce(texts.sentiment_7d, 0) as float8) as sentiment_7d,
    cast(coalesce(texts.sentiment_28d, 0) as float8) as sentiment_28d,
    cast(coalesce(texts.negative_share_7d, 0) as float8) as negative_share_7d,
    cast(coalesce(texts.intent_sum_7d, 0) as float8) as intent_sum_7d,
    cast(coalesce(texts.intent_mean_28d, 0) as float8) as intent_mean_28d,
    cast(texts.post_days as bigint) as post_days,
    cast(coalesce(texts.post_count, 0) as float8) as post_count,
    cast(coalesce(texts.post_sentiment_sum, 0) as float8) as post_sentiment_sum,
    cast(coalesce(texts.post_intent_sum, 0) as float8) as post_intent_sum,
    cast(sales.lowest_price_30d as decimal(12, 2)) as lowest_price_30d,
    cast(coalesce(past.past_sale_count, 0) as bigint) as past_sale_count,
    cast(past.last_sale_units as bigint) as last_sale_units,
    cast(past.mean_sale_units as float8) as mean_sale_units,
    cast(past.last_sale_price as decimal(12, 2)) as last_sale_price,
    past.last_sale_sold_out,
    cast(past.days_since_last_sale as float8) as days_since_last_sale,
    plannings.promo_type,
    cast(plannings.offer_price as decimal(12, 2)) as offer_price,
    plannings.allocated_units
from plannings
inner join products
    on
        plannings.row_kind = products.row_kind
        and plannings.campaign_id = products.campaign_id
        and plannings.sku_id = products.sku_id
        and plannings.region_id = products.region_id
        and products.version_rank = 1
left join regions
    on
        plannings.row_kind = regions.row_kind
        and plannings.campaign_id = regions.campaign_id
        and plannings.sku_id = regions.sku_id
        and plannings.region_id = regions.region_id
        and regions.version_rank = 1
left join {{ ref('int_planning_sales_windows') }} as sales
    on
        plannings.row_kind = sales.row_kind
        and plannings.campaign_id = sales.campaign_id
        and plannings.sku_id = sales.sku_id
        and plannings.region_id = sales.region_id
left join {{ ref('int_planning_text_windows') }} as texts
    on
        plannings.row_kind = texts.row_kind
        and plannings.campaign_id = texts.campaign_id
        and plannings.sku_id = texts.sku_id
        and plannings.region_id = texts.region_id
left join {{ ref('int_planning_past_sales') }} as past
    on
        plannings.row_kind = past.row_kind
        and plannings.campaign_id = past.campaign_id
        and plannings.sku_id = past.sku_id
        and plannings.region_id = past.region_id
