select
    *,
    coalesce(units_left <= 0, false) as is_sold_out
from {{ ref('stg_live__standing') }}
