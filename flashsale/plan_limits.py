"""What a plan uses of each limit its request sets: one row a limit, `used` at most `most`."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pyarrow as pa

from flashsale.request import SaleRequest

SCHEMA = pa.schema([("limit", pa.string()), ("used", pa.float64()), ("most", pa.float64())])


def plan_limits(rows: pa.Table, request: SaleRequest) -> pa.Table:
    """Use of every limit by a plan's rows (plan × SKU × region with allocate_units, offer_price, expected_sales).

    Limits: stock budget and promotion budget (money), supply of each SKU and space of each region (units), service of
    each region (share short of the least share), prices and SKUs and regions outside the request (rows, at most 0).
    """
    plan = rows.to_pylist()
    found = [*_supply(plan, request), *_space(plan, request), *_budgets(plan, request), *_ladder(plan, request)]
    return pa.Table.from_pylist([{"limit": n, "used": float(u), "most": float(m)} for n, u, m in found], schema=SCHEMA)


def _sum(plan: list[dict[str, Any]], key: str) -> dict[str, int]:
    totals: dict[str, int] = defaultdict(int)
    for row in plan:
        totals[row[key]] += row["allocate_units"]
    return totals


def _supply(plan: list[dict[str, Any]], request: SaleRequest) -> list[tuple[str, float, float]]:
    used = _sum(plan, "sku_id")
    return [(f"supply of {s.sku_id}", used[s.sku_id], s.supply_units) for s in request.skus]


def _space(plan: list[dict[str, Any]], request: SaleRequest) -> list[tuple[str, float, float]]:
    used = _sum(plan, "region_id")
    return [(f"space of {r.region_id}", used[r.region_id], r.capacity_units) for r in request.regions]


def _budgets(plan: list[dict[str, Any]], request: SaleRequest) -> list[tuple[str, float, float]]:
    found = []
    costs = {s.sku_id: float(s.unit_cost) for s in request.skus}
    if request.stock_budget is not None:
        spent = sum(costs.get(r["sku_id"], 0.0) * r["allocate_units"] for r in plan)
        found.append(("stock budget", spent, float(request.stock_budget)))
    return found


def _ladder(plan: list[dict[str, Any]], request: SaleRequest) -> list[tuple[str, float, float]]:
    """Rows whose SKU, region, price or promotion the request does not offer: none may be."""
    skus = {s.sku_id: s for s in request.skus}
    regions = {r.region_id for r in request.regions}
    strangers = sum(r["sku_id"] not in skus or r["region_id"] not in regions for r in plan)
    known = [r for r in plan if r["sku_id"] in skus]
    prices = sum(float(r["offer_price"]) not in {float(p) for p in skus[r["sku_id"]].prices} for r in known)
    promos = sum(r["promo_type"] not in skus[r["sku_id"]].promo_types for r in known)
    return [
        ("rows outside the request", strangers, 0),
        ("prices outside the ladder", prices, 0),
        ("promotions outside the ladder", promos, 0),
    ]
