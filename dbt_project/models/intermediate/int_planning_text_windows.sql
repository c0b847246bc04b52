-- What people wrote about a SKU in the whole days before each planning's cutoff.
with plannings as (
    select distinct
        row_kind,
        campaign_id,
        sku_id,
        region_id,
        cutoff_at
    from {{ ref('int_plannings') }}
),

days as (
    select
        plannings.row_kind,
        plannings.campaign_id,
        plannings.sku_id,
        plannings.region_id,
        signals.text_count,
        signals.sentiment_mean,
        signals.negative_share,
        signals.intent_sum,
        {{ within_days_before(day_start('signals.signal_date'), 'plannings.cutoff_at', 7) }} as in_week
    from plannings
    inner join {{ ref('fct_text_signals') }} as signals
        on
            plannings.sku_id = signals.sku_id
            and {{ within_days_before(day_start('signals.signal_date'), 'plannings.cutoff_at', 28) }}
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
    sum(intent_sum) / nullif(sum(text_count), 0) as intent_mean_28d
from days
group by row_kind, campaign_id, sku_id, region_id
