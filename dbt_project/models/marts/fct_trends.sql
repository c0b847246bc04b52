with ordered as (
    select
        *,
        row_number() over (partition by trend_date, category order by score desc, term asc) as trend_rank,
        lag(trend_date) over (partition by category, term order by trend_date) as previous_trend_date
    from {{ ref('stg_text__trends') }}
)

select
    trend_date,
    category,
    term,
    cast(trend_rank as bigint) as trend_rank,
    texts,
    category_texts,
    expected,
    ratio,
    score,
    p_value,
    q_value,
    previous_trend_date,
    coalesce(trend_date - previous_trend_date > 7, true) as is_emerging,
    example_hash,
    topic,
    topic_texts
from ordered
