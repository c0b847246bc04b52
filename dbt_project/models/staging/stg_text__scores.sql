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
