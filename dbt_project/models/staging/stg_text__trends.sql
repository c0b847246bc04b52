{{ config(
    materialized='incremental', incremental_strategy='append', on_schema_change='fail',
    pre_hook="{{ take_out('trend_date in ' ~ changed_days()) }}"
) }}

select
    trend_date,
    category,
    term,
    texts,
    category_texts,
    expected,
    ratio,
    score,
    p_value,
    q_value,
    example_hash,
    topic,
    topic_texts
from {{ source('lake', 'trends') }}
{% if is_incremental() %}
where trend_date in {{ changed_days() }}
{% endif %}
