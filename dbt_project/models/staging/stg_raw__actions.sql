{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ take_out('action_date in ' ~ changed_days()) }}"
) }}

select
    event_id,
    event_at as acted_at,
    {{ utc_day('event_at') }} as action_date,
    session_id,
    user_id,
    sku_id,
    region_id,
    action,
    campaign_id
from {{ source('raw', 'traffic') }}
{% if is_incremental() %}
where {{ utc_day('event_at') }} in {{ changed_days() }}
{% endif %}
