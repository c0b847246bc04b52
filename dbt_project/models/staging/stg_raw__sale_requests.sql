select
    request_id,
    sku_id,
    region_id,
    starts_at,
    duration_hours,
    as_of,
    unit_cost,
    request_json
from {{ source('lake', 'sale_requests') }}
