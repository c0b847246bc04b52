select
    signal_date,
    sku_id,
    sum(voice) as text_count,
    sum(case when sentiment = 'positive' then voice else 0 end) / sum(voice) as positive_share,
    sum(case when sentiment = 'negative' then voice else 0 end) / sum(voice) as negative_share,
    sum(voice * (p_positive - p_negative)) / sum(voice) as sentiment_mean,
    sum(voice * p_intent) as intent_sum,
    sum(voice * p_intent) / sum(voice) as intent_mean,
    coalesce(sum(voice) filter (where stream = 'social_posts'), 0) as post_count,
    coalesce(sum(voice * (p_positive - p_negative)) filter (where stream = 'social_posts'), 0) as post_sentiment_sum,
    coalesce(sum(voice * p_intent) filter (where stream = 'social_posts'), 0) as post_intent_sum,
    cast(coalesce(sum(likes), 0) as bigint) as like_sum,
    cast(coalesce(sum(reposts), 0) as bigint) as repost_sum,
    max(model_version) as model_version
from {{ ref('stg_text__scores') }}
where sku_id is not null
group by signal_date, sku_id
