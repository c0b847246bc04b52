-- A visitor's actions are one session until half an hour passes without any; the shop's own `session_id` plays no part.
with paused as (
    select
        user_id,
        event_id,
        acted_at,
        sku_id,
        action,
        campaign_id,
        case
            when
                acted_at - lag(acted_at) over (partition by user_id order by acted_at, event_id)
                <= interval '30 minutes'
                then 0
            else 1
        end as begins
    from {{ ref('stg_raw__actions') }}
),

numbered as (
    select
        *,
        sum(begins) over (partition by user_id order by acted_at, event_id rows unbounded preceding) as session_number
    from paused
)

select
    user_id,
    cast(session_number as bigint) as session_number,
    min(acted_at) as started_at,
    max(acted_at) as ended_at,
    {{ utc_day('min(acted_at)') }} as session_date,
    cast(extract(epoch from (max(acted_at) - min(acted_at))) as decimal(18, 6)) as seconds,
    count(*) as actions,
    count(*) filter (where action = 'impression') as impressions,
    count(*) filter (where action = 'view') as views,
    count(*) filter (where action = 'favourite') as favourites,
    count(*) filter (where action = 'cart') as carts,
    count(*) filter (where action = 'notify_me') as notify_me,
    count(*) filter (where action = 'sold_out_view') as sold_out_views,
    count(distinct sku_id) as skus,
    count(*) filter (where campaign_id is not null) as sale_actions
from numbered
group by user_id, session_number
