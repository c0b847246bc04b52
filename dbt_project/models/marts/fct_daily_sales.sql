-- Dense: a day without a sale is a row with zero units, from the SKU's first day in the data on.
with lines as (
    select * from {{ ref('int_order_lines') }}
),

span as (
    select
        min(order_date) as first_date,
        max(order_date) as last_date
    from lines
),

cells as (
    select
        lines.sku_id,
        lines.region_id,
        min(lines.order_date) as first_date
    from lines
    group by lines.sku_id, lines.region_id
),

days as (
    select
        cells.sku_id,
        cells.region_id,
        cast(cells.first_date + numbers.n * interval '1 day' as date) as sales_date
    from cells
    cross join span
    inner join {{ numbers(4000) }} as numbers
        on cells.first_date + numbers.n * interval '1 day' <= span.last_date
),

sold as (
    select
        order_date as sales_date,
        sku_id,
        region_id,
        sum(quantity) as units,
        sum(paid_amount) as revenue
    from lines
    where not is_cancelled
    group by order_date, sku_id, region_id
),

on_sale as (
    select distinct
        {{ utc_day("offers.starts_at") }} + numbers.n * interval '1 day' as sales_date,
        offers.sku_id,
        offers.region_id
    from {{ ref('stg_raw__offers') }} as offers
    inner join {{ numbers(62) }} as numbers
        on
            {{ day_start(utc_day("offers.starts_at")) }} + numbers.n * interval '1 day' < offers.ends_at
)

select
    days.sales_date,
    days.sku_id,
    days.region_id,
    cast(coalesce(sold.units, 0) as bigint) as units,
    cast(coalesce(sold.revenue, 0) as decimal(16, 2)) as revenue,
    products.list_price,
    cast(coalesce(actions.views, 0) as bigint) as views,
    on_sale.sku_id is not null as in_campaign
from days
left join sold
    on days.sales_date = sold.sales_date and days.sku_id = sold.sku_id and days.region_id = sold.region_id
left join on_sale
    on
        days.sales_date = cast(on_sale.sales_date as date)
        and days.sku_id = on_sale.sku_id
        and days.region_id = on_sale.region_id
left join {{ ref('int_daily_actions') }} as actions
    on
        days.sales_date = actions.action_date
        and days.sku_id = actions.sku_id
        and days.region_id = actions.region_id
inner join {{ ref('stg_raw__products') }} as products on days.sku_id = products.sku_id and products.is_current
