select
    region_id,
    warehouse_id,
    name,
    capacity_units,
    shipping_cost
from {{ ref('stg_raw__regions') }}
where is_current
