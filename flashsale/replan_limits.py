"""What a re-plan of a running sale uses of each limit: one row a limit, `used` at most `most` (see `plan_limits`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flashsale.decision_tables import REPLANS
from flashsale.lake import Lake
from flashsale.plan_limits import CENT, FLOATS, SCHEMA
from flashsale.request import SaleRequest

Row = dict[str, Any]
Limit = tuple[str, float, float]

DATASET = "decisions/replans"
MARK = "-at-"  # between the plan and the clock in a re-plan's name
STANDS = ("applied", "approved")  # what of earlier re-plans was carried out


def earlier_replans(lake: Lake, plan_id: str, before: datetime | None = None) -> pa.Table:
    """Rows of all re-plans of a plan, or of those whose clock stood before a moment."""
    parts = [lake.read_one(manifest) for partition, manifest in sorted(lake.partitions(DATASET).items())
             if plan_of(partition) == plan_id]  # fmt: skip
    found = pa.concat_tables(parts) if parts else REPLANS.empty_table()
    return found if before is None else found.filter(pc.less(found["as_of"], before))


def plan_of(partition: str) -> str:
    """The plan that a re-plan's partition, or its name, belongs to."""
    return partition.removeprefix("replan_id=").rpartition(MARK)[0]


def replan_limits(
    rows: pa.Table, plan: pa.Table, earlier: pa.Table | None, request: SaleRequest,
    prices: Mapping[str, tuple[float, float]],
) -> pa.Table:  # fmt: skip
    """Use of every limit by a re-plan, by what the approved plan allows and by what goes beyond it.

    Units are conserved, none is below nothing or fractional, space holds (what is in stock already may stay), prices
    are lawful and one a SKU; price changes of the whole sale stay within `max_price_changes`; discounts and minimum
    service are no worse than the request or, where the sale has outrun it, than the plan left alone would be; what
    goes beyond stays within supply and stock budget.

    Args:
        rows: of `decisions/replans`, one re-plan.
        plan: rows of the plan that was published.
        earlier: rows of earlier re-plans of that plan.
        request: what was asked for.
        prices: by SKU, (list price, lowest price of the look-back days).
    """
    given = rows.to_pylist()
    within = {_cell(row): row for row in given if row["within_limits"]}
    beyond = {**within, **{_cell(row): row for row in given if not row["within_limits"]}}
    before = [] if earlier is None else [row for row in earlier.to_pylist() if row["status"] in STANDS]
    found: list[Limit] = [*_changes(within, before, request), *_sent(list(within.values()), "within the limits")]
    found += _adds_up(within, {}, "")
    found += _adds_up({cell: row for cell, row in beyond.items() if not row["within_limits"]}, within, "beyond: ")
    for name, cells in (("", within), ("beyond: ", beyond)):
        state = list(cells.values())
        found += [(name + limit, used, most) for limit, used, most in _state(state, request, prices)]
    sent = [*plan.to_pylist(), *before, *(row for row in given if not row["within_limits"])]
    found += _supply(sent, request)
    return pa.Table.from_pylist([{"limit": n, "used": float(u), "most": float(m)} for n, u, m in found], schema=SCHEMA)


def _cell(row: Row) -> tuple[str, str]:
    return row["sku_id"], row["region_id"]


def _changed(rows: Sequence[Row]) -> set[tuple[str, str]]:
    """Re-plans and SKUs with another price."""
    return {(row["replan_id"], row["sku_id"]) for row in rows if row["price_after"] != row["price_now"]}


def _changes(within: Mapping[tuple[str, str], Row], before: Sequence[Row], request: SaleRequest) -> Iterator[Limit]:
    now = _changed(list(within.values()))
    if now:
        counted = len(now) + len(_changed([row for row in before if row["within_limits"]]))
        yield "price changes", counted, request.max_price_changes


def _sent(rows: Sequence[Row], what: str) -> Iterator[Limit]:
    yield f"unsent supply {what}", sum(row["units_sent"] for row in rows), 0


def _adds_up(cells: Mapping[tuple[str, str], Row], base: Mapping[tuple[str, str], Row], name: str) -> Iterator[Limit]:
    """Units: what a cell has after is what it had and what was brought; moves of a SKU sum to nothing."""
    odd = moved_off = 0
    moved: Counter[str] = Counter()
    for cell, row in cells.items():
        had = base[cell]["units_after"] if cell in base else row["units_left"]
        odd += row["units_after"] != had + row["units_moved"] + row["units_sent"] or row["units_sent"] < 0
        moved_off += row["units_after"] < 0 or row["units_moved"] < -had
        moved[row["sku_id"]] += row["units_moved"]
    yield f"{name}rows whose units do not add up", odd, 0
    yield f"{name}rows with fewer than no units", moved_off, 0
    yield f"{name}SKUs whose moves do not sum to nothing", sum(total != 0 for total in moved.values()), 0


def _state(rows: Sequence[Row], request: SaleRequest, prices: Mapping[str, tuple[float, float]]) -> Iterator[Limit]:
    """Space, prices, discounts and service once a re-plan is carried out."""
    for region in request.regions:
        here = [row for row in rows if row["region_id"] == region.region_id]
        most = max(region.capacity_units, sum(row["units_left"] for row in here))
        yield f"space of {region.region_id}", sum(row["units_after"] for row in here), most
        yield (
            f"service of {region.region_id}",
            max((_short(row, region.min_service) for row in here), default=0),
            FLOATS,
        )
    asked = {sku.sku_id: {float(price) for price in sku.prices} for sku in request.skus}
    yield "prices outside the ladder", sum(float(row["price_after"]) not in asked[row["sku_id"]] for row in rows), 0
    lawful = {sku: pair[1] if request.price_lookback_days else float("inf") for sku, pair in prices.items()}
    dear = sum(float(row["price_after"]) > lawful.get(row["sku_id"], float("inf")) + CENT / 2 for row in rows)
    yield "unlawful prices", dear, 0
    offers = Counter(sku for sku, _ in {(row["sku_id"], row["price_after"]) for row in rows})
    yield "SKUs with more than one price", sum(count > 1 for count in offers.values()), 0
    if request.promotion_budget is not None:
        given = sum(row["discount_given"] for row in rows)
        after = given + _discounts(rows, "after", prices)
        alone = given + _discounts(rows, "now", prices)
        yield "promotion budget", after, max(float(request.promotion_budget), alone) * (1 + FLOATS) + CENT


def _discounts(rows: Sequence[Row], when: str, prices: Mapping[str, tuple[float, float]]) -> float:
    """Expected cost of discounts from now on: `now` with nothing changed, `after` once it is."""
    each = [max(prices[row["sku_id"]][0] - float(row[f"price_{when}"]), 0.0) for row in rows]
    return float(sum(off * row[f"expected_sales_{when}"] for off, row in zip(each, rows, strict=True)))


def _short(row: Row, least: float) -> float:
    """Units that a cell is served less than its minimum, or than it would be with nothing changed if that is less."""
    asked = least * row["expected_demand"] - row["units_sold"]
    return max(min(asked, row["expected_sales_now"]) - row["expected_sales_after"], 0.0) if least > 0 else 0.0


def _supply(sent: Sequence[Row], request: SaleRequest) -> Iterator[Limit]:
    total: Counter[str] = Counter()
    for row in sent:
        total[row["sku_id"]] += row.get("allocate_units") or row.get("units_sent") or 0
    for sku in request.skus:
        yield f"supply of {sku.sku_id}", total[sku.sku_id], sku.supply_units
    if request.stock_budget is not None:
        spent = sum(float(sku.unit_cost) * total[sku.sku_id] for sku in request.skus)
        yield "stock budget", spent, float(request.stock_budget) + CENT
