{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ take_out('signal_date in ' ~ changed_days()) }}"
) }}

-- Who writes like a machine says nothing of what customers want: see the cleaning of texts.
with bots as (
    select
        event_id,
        stream
    from {{ source('lake', 'text_flags') }}
    where
        is_bot_like
        {% if is_incremental() %}
            and {{ utc_day('event_at') }} in {{ changed_days() }}
        {% endif %}
)

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
from {{ source('lake', 'scored_texts') }} as scored
where
    not exists (select 1 from bots where bots.event_id = scored.event_id and bots.stream = scored.stream)
    {% if is_incremental() %}
        and {{ utc_day('event_at') }} in {{ changed_days() }}
    {% endif %}
