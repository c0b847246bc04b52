select
    event_id,
    event_at as read_at,
    sku_id,
    region_id,
    on_hand
from {{ source('raw', 'inventory') }}
