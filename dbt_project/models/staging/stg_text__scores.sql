{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ take_out('signal_date in ' ~ changed_days()) }}"
) }}

select
    event_id,
    event_at as written_at,
    {{ utc_day('event_at') }} as signal_date,
    stream,
    sku_id,
    language,
    text_hash,
    sentiment,
    p_negative,
    p_neutral,
    p_positive,
    p_intent,
    likes,
    reposts,
    model_version
from {{ source('lake', 'scored_texts') }}
{% if is_incremental() %}
where {{ utc_day('event_at') }} in {{ changed_days() }}
{% endif %}
