with orders as (
    select
        user_id,
        count(distinct order_id) as order_count,
        sum(quantity) filter (where not is_cancelled) as units,
        sum(paid_amount) filter (where not is_cancelled) as revenue,
        count(*) filter (where campaign_id is not null) as sale_lines,
        min(ordered_at) as first_ordered_at,
        max(ordered_at) as last_ordered_at
    from {{ ref('int_order_lines') }}
    group by user_id
),

actions as (
    select
        user_id,
        count(distinct session_id) as session_count,
        count(*) filter (where action = 'impression') as impressions,
        count(*) filter (where action = 'view') as views,
        count(*) filter (where action = 'cart') as carts,
        max(acted_at) as last_seen_at
    from {{ ref('stg_raw__actions') }}
    group by user_id
),

sessions as (
    select
        user_id,
        count(*) as visits,
        cast(sum(seconds) as float8) / 60 / count(*) as visit_minutes
    from {{ ref('int_sessions') }}
    group by user_id
),

wishes as (
    select
        user_id,
        sku_id,
        acted_at as wished_at,
        cast(null as timestamptz) as bought_at
    from {{ ref('stg_raw__actions') }}
    where action = 'cart'
    union all
    select
        user_id,
        sku_id,
        ordered_at as wished_at,
        ordered_at as bought_at
    from {{ ref('int_order_lines') }}
    where not is_cancelled
),

followed as (
    select
        user_id,
        wished_at,
        bought_at,
        min(bought_at) over (
            partition by user_id, sku_id order by wished_at range between current row and unbounded following
        ) as next_bought_at
    from wishes
),

conversions as (
    select
        user_id,
        count(*) filter (where next_bought_at - wished_at <= interval '24 hours') as carts_bought
    from followed
    where bought_at is null
    group by user_id
),

users as (
    select user_id from orders
    union
    select user_id from actions
)

select
    users.user_id,
    cast(coalesce(orders.order_count, 0) as bigint) as order_count,
    cast(coalesce(orders.units, 0) as bigint) as units,
    cast(coalesce(orders.revenue, 0) as decimal(16, 2)) as revenue,
    cast(coalesce(orders.sale_lines, 0) as bigint) as sale_lines,
    orders.first_ordered_at,
    orders.last_ordered_at,
    cast(coalesce(actions.session_count, 0) as bigint) as session_count,
    cast(coalesce(actions.views, 0) as bigint) as views,
    cast(coalesce(actions.carts, 0) as bigint) as carts,
    cast(
        case when actions.impressions > 0 then least(1.0 * actions.views / actions.impressions, 1.0) end as float8
    ) as click_through_rate,
    cast(
        case when actions.views > 0 then least(1.0 * actions.carts / actions.views, 1.0) end as float8
    ) as cart_rate,
    actions.last_seen_at,
    cast(coalesce(sessions.visits, 0) as bigint) as visit_count,
    sessions.visit_minutes as visit_minutes_mean,
    cast(coalesce(conversions.carts_bought, 0) as bigint) as carts_bought,
    cast(
        case when actions.carts > 0 then 1.0 * coalesce(conversions.carts_bought, 0) / actions.carts end as float8
    ) as cart_conversion,
    cast(
        {{ hours_between(
            'max(greatest(orders.last_ordered_at, actions.last_seen_at)) over ()',
            'greatest(orders.last_ordered_at, actions.last_seen_at)'
        ) }} / 24.0 as float8
    ) as recency_days
from users
left join orders on users.user_id = orders.user_id
left join actions on users.user_id = actions.user_id
left join sessions on users.user_id = sessions.user_id
left join conversions on users.user_id = conversions.user_id
