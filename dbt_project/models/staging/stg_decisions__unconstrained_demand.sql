select
    campaign_id,
    sku_id,
    region_id,
    units,
    demand,
    demand_p10,
    demand_p90,
    method,
    is_censored,
    spilled_units
from {{ source('lake', 'unconstrained_demand') }}
