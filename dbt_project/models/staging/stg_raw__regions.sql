select
    event_at as valid_from_at,
    region_id,
    warehouse_id,
    name,
    capacity_units,
    shipping_cost,
    event_id,
    row_number() over (partition by region_id order by event_at desc, event_id desc) = 1 as is_current
from {{ source('raw', 'regions') }}
