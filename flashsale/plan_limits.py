"""What a plan uses of each limit its request sets: one row a limit, `used` at most `most`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from flashsale.request import SaleRequest
from flashsale.times import parse_utc

SCHEMA = pa.schema([("limit", pa.string()), ("used", pa.float64()), ("most", pa.float64())])


#: Money may be off by a rounding; expected sales are sums of floats, so a millionth is no overspending.
CENT, FLOATS = 0.01, 1e-6


def plan_limits(rows: pa.Table, request: SaleRequest, prices: Mapping[str, tuple[float, float]]) -> pa.Table:
    """Use of every limit by a plan's rows.

    Limits: stock budget and promotion budget (money), supply of each SKU and space of each region (units), minimum
    service of each cell that has one (units: its share of expected demand, at most what sells), and what no plan may
    hold at all (rows, at most 0): SKUs or regions outside the request, prices or promotions outside the ladder, start
    slots nobody asked for, prices above the law's reference.

    Args:
        rows: plan × SKU × region with allocate_units, offer_price, promo_type, starts_at, expected_sales and, for
            minimum service, expected_demand.
        request: what was asked for.
        prices: by SKU, (list price, lowest price of the look-back days).
    """
    plan = rows.to_pylist()
    found = [
        *_supply(plan, request),
        *_space(plan, request),
        *_service(plan, request),
        *_budgets(plan, request, prices),
        *_ladder(plan, request, prices),
    ]
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


def _service(plan: list[dict[str, Any]], request: SaleRequest) -> list[tuple[str, float, float]]:
    """Rows of plans that were made before `expected_demand` was kept say nothing of service."""
    least = {r.region_id: r.min_service for r in request.regions if r.min_service > 0}
    asked = [row for row in plan if row["region_id"] in least and row.get("expected_demand") is not None]
    return [
        (
            f"service of {row['sku_id']} in {row['region_id']}",
            least[row["region_id"]] * row["expected_demand"],
            row["expected_sales"] + FLOATS * max(row["expected_demand"], 1.0),
        )
        for row in asked
    ]


def _budgets(
    plan: list[dict[str, Any]], request: SaleRequest, prices: Mapping[str, tuple[float, float]]
) -> list[tuple[str, float, float]]:
    found = []
    costs = {s.sku_id: float(s.unit_cost) for s in request.skus}
    if request.stock_budget is not None:
        spent = sum(costs.get(r["sku_id"], 0.0) * r["allocate_units"] for r in plan)
        found.append(("stock budget", spent, float(request.stock_budget) + CENT))
    if request.promotion_budget is not None:
        listed = {sku: pair[0] for sku, pair in prices.items()}
        given = sum(
            max(listed.get(r["sku_id"], 0.0) - float(r["offer_price"]), 0.0) * r["expected_sales"] for r in plan
        )
        found.append(("promotion budget", given, float(request.promotion_budget) * (1 + FLOATS) + CENT))
    return found


def _ladder(
    plan: list[dict[str, Any]], request: SaleRequest, prices: Mapping[str, tuple[float, float]]
) -> list[tuple[str, float, float]]:
    """Rows whose SKU, region, price, promotion or start the request or the law does not allow: none may be."""
    skus = {s.sku_id: s for s in request.skus}
    regions = {r.region_id for r in request.regions}
    known = [r for r in plan if r["sku_id"] in skus]
    outside = {
        "rows outside the request": sum(r["sku_id"] not in skus or r["region_id"] not in regions for r in plan),
        "prices outside the ladder": sum(
            float(r["offer_price"]) not in {float(p) for p in skus[r["sku_id"]].prices} for r in known
        ),
        "promotions outside the ladder": sum(r["promo_type"] not in skus[r["sku_id"]].promo_types for r in known),
        "starts outside the slots": sum(parse_utc(r["starts_at"]) not in request.start_slots for r in known),
        "unlawful prices": sum(
            request.price_lookback_days > 0
            and float(r["offer_price"]) > prices.get(r["sku_id"], (0.0, float("inf")))[1] + CENT / 2
            for r in known
        ),
    }
    return [(name, count, 0) for name, count in outside.items()]
