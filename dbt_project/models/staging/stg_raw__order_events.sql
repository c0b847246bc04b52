select
    event_id,
    event_at,
    order_id,
    line_no,
    user_id,
    sku_id,
    region_id,
    quantity,
    unit_price,
    paid_amount,
    promo_type,
    campaign_id,
    status
from {{ source('raw', 'orders') }}
