select
    event_at as valid_from_at,
    sku_id,
    title,
    category,
    brand,
    list_price,
    unit_cost,
    currency,
    launched_at,
    event_id,
    row_number() over (partition by sku_id order by event_at desc, event_id desc) = 1 as is_current
from {{ source('raw', 'catalog') }}
