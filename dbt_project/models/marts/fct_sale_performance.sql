with offers as (
    select * from {{ ref('int_offers_enriched') }}
),

sold as (
    select
        campaign_id,
        sku_id,
        region_id,
        sum(quantity) filter (where not is_cancelled) as units_sold,
        sum(quantity) filter (where is_returned) as units_returned,
        sum(paid_amount) filter (where not is_cancelled) as revenue,
        sum(paid_amount) filter (where is_returned) as refunds
    from {{ ref('int_order_lines') }}
    where campaign_id is not null
    group by campaign_id, sku_id, region_id
),

seen as (
    select
        campaign_id,
        sku_id,
        region_id,
        count(*) filter (where action = 'view') as views,
        count(*) filter (where action = 'cart') as carts,
        count(*) filter (where action = 'sold_out_view') as sold_out_views,
        count(*) filter (where action = 'notify_me') as notify_me
    from {{ ref('stg_raw__actions') }}
    where campaign_id is not null
    group by campaign_id, sku_id, region_id
),

joined as (
    select
        offers.*,
        stockouts.sold_out_at,
        coalesce(sold.units_sold, 0) as units_sold,
        coalesce(sold.units_returned, 0) as units_returned,
        coalesce(sold.revenue, 0) as revenue,
        coalesce(sold.refunds, 0) as refunds,
        coalesce(seen.views, 0) as views,
        coalesce(seen.carts, 0) as carts,
        coalesce(seen.sold_out_views, 0) as sold_out_views,
        coalesce(seen.notify_me, 0) as notify_me
    from offers
    left join sold
        on
            offers.campaign_id = sold.campaign_id
            and offers.sku_id = sold.sku_id
            and offers.region_id = sold.region_id
    left join seen
        on
            offers.campaign_id = seen.campaign_id
            and offers.sku_id = seen.sku_id
            and offers.region_id = seen.region_id
    left join {{ ref('int_sale_stockouts') }} as stockouts
        on
            offers.campaign_id = stockouts.campaign_id
            and offers.sku_id = stockouts.sku_id
            and offers.region_id = stockouts.region_id
)

select
    campaign_id,
    sku_id,
    region_id,
    promo_type,
    offer_price,
    list_price,
    unit_cost,
    cast(shipping_cost as decimal(12, 2)) as shipping_cost,
    allocated_units,
    starts_at,
    ends_at,
    cast(duration_hours as float8) as duration_hours,
    cast(units_sold as bigint) as units_sold,
    cast(units_returned as bigint) as units_returned,
    cast(revenue as decimal(16, 2)) as revenue,
    cast(refunds as decimal(16, 2)) as refunds,
    sold_out_at,
    sold_out_at is not null as is_sold_out,
    cast(greatest(allocated_units - units_sold, 0) as bigint) as leftover_units,
    cast(
        case when allocated_units > 0 then 1.0 * units_sold / allocated_units else 0 end as float8
    ) as sell_through,
    cast(views as bigint) as views,
    cast(carts as bigint) as carts,
    cast(sold_out_views as bigint) as sold_out_views,
    cast(notify_me as bigint) as notify_me
from joined
