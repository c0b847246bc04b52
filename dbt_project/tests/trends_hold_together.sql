-- A trend is more than expected, by texts that its category has, and as unlikely as a chance can be.
-- Its topic is one of the trends of the day and goes by its own name.
select
    trend_date,
    category,
    term
from {{ ref('fct_trends') }}
where
    texts > category_texts
    or texts <= expected
    or abs(ratio * expected - texts) > 0.000001 * texts
    or p_value < 0
    or q_value < p_value
    or q_value > 1
    or previous_trend_date >= trend_date
    or topic_texts < 1
    or (trend_date, category, topic) not in (
        select
            trend_date,
            category,
            term
        from {{ ref('fct_trends') }}
        where topic = term
    )
