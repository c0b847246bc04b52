select
    campaign_id,
    as_of,
    sku_id,
    region_id,
    units,
    "left" as units_left,
    minutes_to_stock_out,
    demand_low,
    demand_high
from {{ source('lake', 'live_standing') }}
