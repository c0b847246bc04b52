-- Moves of a SKU sum to nothing, units add up, at most the allowed prices change, and what was decided has a person.
with parts as (
    select
        replan_id,
        sku_id,
        within_limits,
        sum(units_moved) as moved,
        min(units_after) as least_units,
        max(case when within_limits then units_sent else 0 end) as sent_within,
        sum(case when within_limits and units_after <> units_left + units_moved + units_sent then 1 else 0 end) as odd,
        count(distinct price_after) as prices,
        max(case when within_limits and price_after <> price_now then 1 else 0 end) as repriced,
        max(price_changes_allowed - price_changes_used) as prices_left,
        sum(
            case
                when status in ('unchanged', 'proposed') then 0
                when decided_by is null or reason is null then 1
                else 0
            end
        ) as undecided,
        sum(case when not within_limits and status in ('applied', 'unchanged') then 1 else 0 end) as unasked
    from {{ ref('replans') }}
    group by replan_id, sku_id, within_limits
),

changed as (
    select
        replan_id,
        sum(repriced) as repriced,
        max(prices_left) as prices_left
    from parts
    group by replan_id
)

select
    parts.replan_id,
    parts.sku_id
from parts
inner join changed on parts.replan_id = changed.replan_id
where
    parts.moved <> 0
    or parts.least_units < 0
    or parts.sent_within > 0
    or parts.odd > 0
    or parts.prices > 1
    or parts.undecided > 0
    or parts.unasked > 0
    or (changed.repriced > 0 and changed.repriced > changed.prices_left)
