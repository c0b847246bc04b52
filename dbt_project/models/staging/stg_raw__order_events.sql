{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ take_out('event_date in ' ~ changed_days()) }}"
) }}

select
    event_id,
    event_at,
    {{ utc_day('event_at') }} as event_date,
    order_id,
    line_no,
    user_id,
    sku_id,
    region_id,
    quantity,
    unit_price,
    paid_amount,
    promo_type,
    campaign_id,
    status
from {{ source('raw', 'orders') }}
{% if is_incremental() %}
where {{ utc_day('event_at') }} in {{ changed_days() }}
{% endif %}
