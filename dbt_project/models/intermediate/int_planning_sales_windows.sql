-- Sales, prices and traffic of the whole days before each planning's cutoff.
with plannings as (
    select distinct
        row_kind,
        campaign_id,
        sku_id,
        region_id,
        cutoff_at
    from {{ ref('int_plannings') }}
),

moments as (
    select distinct
        sku_id,
        cutoff_at
    from plannings
),

rates as (
    select
        moments.sku_id,
        moments.cutoff_at,
        days.region_id,
        avg(
            case
                when
                    not days.in_campaign
                    and {{ within_days_before(day_start('days.sales_date'), 'moments.cutoff_at', 28) }}
                    then days.units
            end
        ) as base_units_28d,
        avg(
            case
                when
                    not days.in_campaign
                    and {{ within_days_before(day_start('days.sales_date'), 'moments.cutoff_at', 7) }}
                    then days.units
            end
        ) as base_units_7d,
        avg(case when not days.in_campaign then days.units end) as base_units_182d,
        sum(
            case
                when {{ within_days_before(day_start('days.sales_date'), 'moments.cutoff_at', 28) }} then days.views
            end
        ) as views_28d
    from moments
    inner join {{ ref('fct_daily_sales') }} as days
        on
            moments.sku_id = days.sku_id
            and {{ within_days_before(day_start('days.sales_date'), 'moments.cutoff_at', 182) }}
    group by moments.sku_id, moments.cutoff_at, days.region_id
),

-- A region's mean is of its own days without a campaign: regions need not be in the same sales. Decimals, since a sum
-- of floats depends on the order in which an engine meets the rows.
totals as (
    select
        sku_id,
        cutoff_at,
        sum(cast(base_units_28d as decimal(18, 9))) as base_units_28d_all
    from rates
    group by sku_id, cutoff_at
),

actions as (
    select
        plannings.row_kind,
        plannings.campaign_id,
        plannings.sku_id,
        plannings.region_id,
        sum(daily.views) as views_7d,
        sum(daily.carts) as carts_7d,
        sum(daily.favourites) as favourites_7d,
        sum(daily.notify_me) as notify_me_7d
    from plannings
    inner join {{ ref('int_daily_actions') }} as daily
        on
            plannings.sku_id = daily.sku_id
            and plannings.region_id = daily.region_id
            and {{ within_days_before(day_start('daily.action_date'), 'plannings.cutoff_at', 7) }}
    group by plannings.row_kind, plannings.campaign_id, plannings.sku_id, plannings.region_id
),

prices as (
    select
        plannings.row_kind,
        plannings.campaign_id,
        plannings.sku_id,
        plannings.region_id,
        min(lines.unit_price) as lowest_price_30d
    from plannings
    inner join {{ ref('int_order_lines') }} as lines
        on
            plannings.sku_id = lines.sku_id
            and {{ within_days_before(day_start('lines.order_date'), 'plannings.cutoff_at', 30) }}
    group by plannings.row_kind, plannings.campaign_id, plannings.sku_id, plannings.region_id
)

select
    plannings.row_kind,
    plannings.campaign_id,
    plannings.sku_id,
    plannings.region_id,
    rates.base_units_28d,
    rates.base_units_7d,
    rates.base_units_182d,
    totals.base_units_28d_all,
    rates.views_28d,
    actions.views_7d,
    actions.carts_7d,
    actions.favourites_7d,
    actions.notify_me_7d,
    prices.lowest_price_30d
from plannings
left join rates
    on
        plannings.sku_id = rates.sku_id
        and plannings.cutoff_at = rates.cutoff_at
        and plannings.region_id = rates.region_id
left join totals
    on
        plannings.sku_id = totals.sku_id
        and plannings.cutoff_at = totals.cutoff_at
left join actions
    on
        plannings.row_kind = actions.row_kind
        and plannings.campaign_id = actions.campaign_id
        and plannings.sku_id = actions.sku_id
        and plannings.region_id = actions.region_id
left join prices
    on
        plannings.row_kind = prices.row_kind
        and plannings.campaign_id = prices.campaign_id
        and plannings.sku_id = prices.sku_id
        and plannings.region_id = prices.region_id
