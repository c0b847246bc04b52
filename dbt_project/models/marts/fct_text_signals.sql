select
    signal_date,
    sku_id,
    count(*) as text_count,
    cast(avg(case when sentiment = 'positive' then 1.0 else 0.0 end) as float8) as positive_share,
    cast(avg(case when sentiment = 'negative' then 1.0 else 0.0 end) as float8) as negative_share,
    cast(avg(p_positive - p_negative) as float8) as sentiment_mean,
    cast(sum(p_intent) as float8) as intent_sum,
    cast(avg(p_intent) as float8) as intent_mean,
    count(*) filter (where stream = 'social_posts') as post_count,
    cast(coalesce(sum(p_positive - p_negative) filter (where stream = 'social_posts'), 0) as float8)
        as post_sentiment_sum,
    cast(coalesce(sum(p_intent) filter (where stream = 'social_posts'), 0) as float8) as post_intent_sum,
    cast(coalesce(sum(likes), 0) as bigint) as like_sum,
    cast(coalesce(sum(reposts), 0) as bigint) as repost_sum,
    max(model_version) as model_version
from {{ ref('stg_text__scores') }}
where sku_id is not null
group by signal_date, sku_id
