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
),

authors as (
    select
        event_id,
        author_id
    from {{ source('raw', 'social_posts') }}
    {% if is_incremental() %}
        where {{ utc_day('event_at') }} in {{ changed_days() }}
    {% endif %}
)

select
    scored.event_id,
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
    model_version,
    -- An author has one voice a day, however many posts it is spread over. Other texts have no author to go by.
    cast(1.0 / count(*) over (
        partition by coalesce(author_id, stream || scored.event_id), {{ utc_day('event_at') }}
    ) as float8) as voice
from {{ source('lake', 'scored_texts') }} as scored
left join authors on scored.stream = 'social_posts' and scored.event_id = authors.event_id
where
    not exists (select 1 from bots where bots.event_id = scored.event_id and bots.stream = scored.stream)
    {% if is_incremental() %}
        and {{ utc_day('event_at') }} in {{ changed_days() }}
    {% endif %}
