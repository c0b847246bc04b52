-- A line is placed once; later events of the same line say what became of it. Orders that have, or had, an event on a
-- changed day are taken out first; the query then reads every order that is missing, from its first event on.
{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ take_out(orders_of_changed_days()) }}"
) }}

with told as (
    select
        *,
        -- sources that know the day alone tell all of a line at one moment: it was placed first all the same
        case status when 'placed' then 0 when 'cancelled' then 1 else 2 end as step
    from {{ ref('stg_raw__order_events') }}
    {% if is_incremental() %}
    where order_id not in (select order_id from {{ this }})
    {% endif %}
),

ranked as (
    select
        *,
        row_number() over (partition by order_id, line_no order by event_at, step, event_id) as first_rank,
        row_number() over (partition by order_id, line_no order by event_at desc, step desc, event_id desc)
            as last_rank
    from told
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
