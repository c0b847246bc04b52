-- Hours without an order are rows too: a curve learnt from busy hours alone would be wrong.
with offers as (
    select
        offers.campaign_id,
        offers.sku_id,
        offers.region_id,
        offers.starts_at,
        offers.duration_hours,
        stockouts.sold_out_at
    from {{ ref('int_offers_enriched') }} as offers
    left join {{ ref('int_sale_stockouts') }} as stockouts
        on
            offers.campaign_id = stockouts.campaign_id
            and offers.sku_id = stockouts.sku_id
            and offers.region_id = stockouts.region_id
),

hours as (
    select
        offers.*,
        numbers.n as event_hour,
        offers.starts_at + numbers.n * interval '1 hour' as hour_start
    from offers
    inner join {{ numbers(24 * 62) }} as numbers on offers.duration_hours > numbers.n
),

sold as (
    select
        lines.campaign_id,
        lines.sku_id,
        lines.region_id,
        cast(floor({{ hours_between('lines.ordered_at', 'offers.starts_at') }}) as integer) as event_hour,
        sum(lines.quantity) as units
    from {{ ref('int_order_lines') }} as lines
    inner join offers
        on
            lines.campaign_id = offers.campaign_id
            and lines.sku_id = offers.sku_id
            and lines.region_id = offers.region_id
    where not lines.is_cancelled
    group by 1, 2, 3, 4
),

seen as (
    select
        actions.campaign_id,
        actions.sku_id,
        actions.region_id,
        cast(floor({{ hours_between('actions.acted_at', 'offers.starts_at') }}) as integer) as event_hour,
        count(*) filter (where actions.action = 'view') as views,
        count(*) filter (where actions.action = 'sold_out_view') as sold_out_views
    from {{ ref('stg_raw__actions') }} as actions
    inner join offers
        on
            actions.campaign_id = offers.campaign_id
            and actions.sku_id = offers.sku_id
            and actions.region_id = offers.region_id
    group by 1, 2, 3, 4
)

select
    hours.campaign_id,
    hours.sku_id,
    hours.region_id,
    hours.event_hour,
    hours.hour_start,
    cast(coalesce(sold.units, 0) as bigint) as units,
    cast(
        case
            when hours.sold_out_at is null then 1
            else least(
                -- the last hour of an offer of some hours and a half is half an hour
                greatest({{ hours_between('hours.sold_out_at', 'hours.hour_start') }}, 0)
                / least(hours.duration_hours - hours.event_hour, 1),
                1
            )
        end as float8
    ) as in_stock_share,
    cast(coalesce(seen.views, 0) as bigint) as views,
    cast(coalesce(seen.sold_out_views, 0) as bigint) as sold_out_views
from hours
left join sold
    on
        hours.campaign_id = sold.campaign_id
        and hours.sku_id = sold.sku_id
        and hours.region_id = sold.region_id
        and hours.event_hour = sold.event_hour
left join seen
    on
        hours.campaign_id = seen.campaign_id
        and hours.sku_id = seen.sku_id
        and hours.region_id = seen.region_id
        and hours.event_hour = seen.event_hour
