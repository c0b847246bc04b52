select
    plan_id,
    request_id,
    currency,
    units,
    expected_sales,
    expected_profit,
    bound,
    gap,
    with_text,
    without_text,
    text_worth,
    text_worth_low,
    text_worth_high,
    shadow_prices,
    unlawful_prices_left_out
from {{ ref('stg_decisions__allocation_plans') }}
