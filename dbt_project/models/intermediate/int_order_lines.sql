-- A line is placed once; later events of the same line say what became of it.
with ranked as (
    select
        *,
        row_number() over (partition by order_id, line_no order by event_at, event_id) as first_rank,
        row_number() over (partition by order_id, line_no order by event_at desc, event_id desc) as last_rank
    from {{ ref('stg_raw__order_events') }}
),

placed as (
    select * from ranked
    where first_rank = 1
),

latest as (
    select
        order_id,
        line_no,
        status,
        event_at as status_at
    from ranked
    where last_rank = 1
)

select
    placed.order_id,
    placed.line_no,
    placed.event_at as ordered_at,
    {{ utc_day('placed.event_at') }} as order_date,
    placed.user_id,
    placed.sku_id,
    placed.region_id,
    placed.quantity,
    placed.unit_price,
    placed.paid_amount,
    placed.promo_type,
    placed.campaign_id,
    latest.status,
    latest.status_at,
    latest.status = 'cancelled' as is_cancelled,
    latest.status = 'returned' as is_returned
from placed
inner join latest on placed.order_id = latest.order_id and placed.line_no = latest.line_no
