-- What people wrote about a SKU in the whole days before each planning's cutoff. Posts look forward to the sale where
-- they came after an offer of the SKU last began: what was written before looked forward to that one.
with plannings as (
    select distinct
        row_kind,
        campaign_id,
        sku_id,
        region_id,
        cutoff_at
    from {{ ref('int_plannings') }}
),

windows as (
    select
        plannings.row_kind,
        plannings.campaign_id,
        plannings.sku_id,
        plannings.region_id,
        plannings.cutoff_at,
        max(offers.starts_at) as last_start_at
    from plannings
    left join {{ ref('stg_raw__offers') }} as offers
        on plannings.sku_id = offers.sku_id and plannings.cutoff_at > offers.starts_at
    group by
        plannings.row_kind, plannings.campaign_id, plannings.sku_id, plannings.region_id, plannings.cutoff_at
),

days as (
    select
        windows.row_kind,
        windows.campaign_id,
        windows.sku_id,
        windows.region_id,
        windows.cutoff_at,
        windows.last_start_at,
        signals.text_count,
        signals.sentiment_mean,
        signals.negative_share,
        signals.intent_sum,
        signals.post_count,
        signals.post_sentiment_sum,
        signals.post_intent_sum,
        {{ within_days_before(day_start('signals.signal_date'), 'windows.cutoff_at', 7) }} as in_week,
        {{ within_days_before(day_start('signals.signal_date'), 'windows.cutoff_at', 7) }}
        and (
            windows.last_start_at is null or {{ day_start('signals.signal_date') }} >= windows.last_start_at
        ) as looks_forward
    from windows
    left join {{ ref('fct_text_signals') }} as signals
        on
            windows.sku_id = signals.sku_id
            and {{ within_days_before(day_start('signals.signal_date'), 'windows.cutoff_at', 28) }}
)

select
    row_kind,
    campaign_id,
    sku_id,
    region_id,
    sum(text_count) filter (where in_week) as text_count_7d,
    sum(text_count) as text_count_28d,
    sum(sentiment_mean * text_count) filter (where in_week)
    / nullif(sum(text_count) filter (where in_week), 0) as sentiment_7d,
    sum(sentiment_mean * text_count) / nullif(sum(text_count), 0) as sentiment_28d,
    sum(negative_share * text_count) filter (where in_week)
    / nullif(sum(text_count) filter (where in_week), 0) as negative_share_7d,
    sum(intent_sum) filter (where in_week) as intent_sum_7d,
    sum(intent_sum) / nullif(sum(text_count), 0) as intent_mean_28d,
    greatest(0, least(7, {{ utc_day('cutoff_at') }} - coalesce(
        {{ utc_day("(last_start_at + interval '1 day' - interval '1 microsecond')") }},
        {{ utc_day("(cutoff_at - interval '7 days')") }}
    ))) as post_days,
    sum(post_count) filter (where looks_forward) as post_count,
    sum(post_sentiment_sum) filter (where looks_forward) as post_sentiment_sum,
    sum(post_intent_sum) filter (where looks_forward) as post_intent_sum
from days
group by row_kind, campaign_id, sku_id, region_id, cutoff_at, last_start_at
