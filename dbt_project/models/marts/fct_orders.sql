select
    order_id,
    line_no,
    ordered_at,
    order_date,
    user_id,
    sku_id,
    region_id,
    quantity,
    unit_price,
    paid_amount,
    promo_type,
    campaign_id,
    status,
    status_at,
    is_cancelled,
    is_returned
from {{ ref('int_order_lines') }}
