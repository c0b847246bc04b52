select
    sku_id,
    title,
    category,
    brand,
    list_price,
    unit_cost,
    currency,
    launched_at
from {{ ref('stg_raw__products') }}
where is_current
