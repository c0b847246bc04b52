-- A cell cannot sell more than it was sent; returns of cancelled units to stock never exceed it either.
select
    campaign_id,
    sku_id,
    region_id,
    units_sold,
    allocated_units
from {{ ref('fct_sale_performance') }}
where units_sold > allocated_units
