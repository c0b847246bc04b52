-- The dense daily table holds every unit of the order lines, no more and no less.
with daily as (
    select coalesce(sum(units), 0) as units from {{ ref('fct_daily_sales') }}
),

lines as (
    select coalesce(sum(quantity), 0) as units from {{ ref('fct_orders') }}
    where not is_cancelled
)

select
    daily.units as daily_units,
    lines.units as line_units
from daily
cross join lines
where daily.units <> lines.units
