select
    level,
    plan_id,
    skus,
    at_lower_price,
    log_ratio,
    log_ratio_lower,
    log_ratio_upper,
    elasticity,
    elasticity_lower,
    elasticity_upper,
    p
from {{ source('lake', 'price_experiments') }}
