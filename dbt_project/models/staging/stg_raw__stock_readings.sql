{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ take_out('read_date in ' ~ changed_days()) }}"
) }}

select
    event_id,
    event_at as read_at,
    {{ utc_day('event_at') }} as read_date,
    sku_id,
    region_id,
    on_hand
from {{ source('raw', 'inventory') }}
{% if is_incremental() %}
where {{ utc_day('event_at') }} in {{ changed_days() }}
{% endif %}
