-- Units are whole and not negative, quantiles are in order, and a decision has a person and a reason.
select
    plan_id,
    sku_id,
    region_id
from {{ ref('allocation_recommendations') }}
where
    allocate_units < 0
    or demand_p10 > demand_p50
    or demand_p50 > demand_p90
    or (status <> 'proposed' and (decided_by is null or reason is null))
