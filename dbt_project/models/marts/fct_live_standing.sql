select
    campaign_id,
    as_of,
    sku_id,
    region_id,
    units,
    units_left,
    minutes_to_stock_out,
    demand_low,
    demand_high,
    coalesce(units_left <= 0, false) as is_sold_out
from {{ ref('stg_live__standing') }}
