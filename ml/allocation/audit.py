"""What a finished plan must hold, checked from its rows alone; the quality gate asks the same."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from flashsale.request import SaleRequest

ROUNDING = 0.01  # money


def audit_plan(rows: pd.DataFrame, request: SaleRequest, prices: Mapping[str, tuple[float, float]]) -> list[str]:
    """Violations of a plan, each a sentence; an empty list is a clean plan.

    Args:
        rows: one a SKU and region: `sku_id`, `region_id`, `allocate_units`, `offer_price`, `promo_type`,
            `starts_at`, `expected_sales`.
        request: what was asked for.
        prices: by SKU, (list price, lowest price of the look-back days).
    """
    return [*_cells(rows, request), *_offers(rows, request, prices), *_limits(rows, request, prices)]


def _cells(rows: pd.DataFrame, request: SaleRequest) -> list[str]:
    found = []
    known_skus, known_regions = {s.sku_id for s in request.skus}, {r.region_id for r in request.regions}
    if rows.duplicated(["sku_id", "region_id"]).any():
        found.append("a SKU and region stand in more than one row")
    for row in rows.to_dict("records"):
        where = f"{row['sku_id']} in {row['region_id']}"
        units = row["allocate_units"]
        if row["sku_id"] not in known_skus or row["region_id"] not in known_regions:
            found.append(f"{where}: not in the request")
        if units < 0:
            found.append(f"{where}: {units} units are negative")
        if units != int(units):
            found.append(f"{where}: {units} units are fractional")
    return found


def _offers(rows: pd.DataFrame, request: SaleRequest, prices: Mapping[str, tuple[float, float]]) -> list[str]:
    found = []
    for sku in request.skus:
        own = rows[rows["sku_id"] == sku.sku_id]
        offers = own[["offer_price", "promo_type", "starts_at"]].drop_duplicates()
        if len(offers) > 1:
            found.append(f"{sku.sku_id}: more than one price, promotion or start")
        for offer in offers.to_dict("records"):
            price = float(offer["offer_price"])
            lowest = prices.get(sku.sku_id, (0.0, float("inf")))[1]
            if all(abs(price - float(p)) > ROUNDING / 2 for p in sku.prices):
                found.append(f"{sku.sku_id}: price {price:.2f} is not on the request's ladder")
            if request.price_lookback_days and price > lowest + ROUNDING / 2:
                found.append(f"{sku.sku_id}: price {price:.2f} is unlawful, the lowest lately was {lowest:.2f}")
            if offer["promo_type"] not in sku.promo_types:
                found.append(f"{sku.sku_id}: promotion {offer['promo_type']} was not asked for")
            if pd.Timestamp(offer["starts_at"]) not in [pd.Timestamp(s) for s in request.start_slots]:
                found.append(f"{sku.sku_id}: start {offer['starts_at']} is not among the request's slots")
    return found


def _limits(rows: pd.DataFrame, request: SaleRequest, prices: Mapping[str, tuple[float, float]]) -> list[str]:
    found = []
    by_sku, by_region = (rows.groupby(key)["allocate_units"].sum() for key in ("sku_id", "region_id"))
    cost = {s.sku_id: float(s.unit_cost) for s in request.skus}
    checks: list[tuple[str, float, float]] = [
        *((f"supply of {s.sku_id}", float(by_sku.get(s.sku_id, 0)), float(s.supply_units)) for s in request.skus),
        *(
            (f"space of {r.region_id}", float(by_region.get(r.region_id, 0)), float(r.capacity_units))
            for r in request.regions
        ),
    ]
    if request.stock_budget is not None:
        spent = float((rows["sku_id"].map(cost).fillna(0.0) * rows["allocate_units"]).sum())
        checks.append(("stock budget", spent, float(request.stock_budget) + ROUNDING))
    if request.promotion_budget is not None:
        listed = rows["sku_id"].map({sku: pair[0] for sku, pair in prices.items()})
        discount = (listed - rows["offer_price"].astype(float)).clip(lower=0.0)
        given = float((discount * rows["expected_sales"]).sum())
        # Expected sales are floats that were summed in another order: a millionth is no overspending.
        checks.append(("promotion budget", given, float(request.promotion_budget) * (1 + 1e-6) + ROUNDING))
    for name, used, most in checks:
        if used > most:
            found.append(f"{name}: {used:.2f} used of {most:.2f}")
    return found
