"""Prices a discount is measured against: list price, and the lowest price of the law's look-back days."""

from __future__ import annotations

from datetime import timedelta

from flashsale import warehouse
from flashsale.request import SaleRequest


def reference_prices(request: SaleRequest) -> dict[str, tuple[float, float]]:
    """By SKU: (list price, lowest price paid in the look-back days before the plan's cutoff, infinity where none was).

    The cutoff is that of the request's features, so that a price of later days cannot make an offer lawful.
    """
    found = warehouse.read(
        "SELECT min(cutoff_at) AS cutoff FROM marts.feat_demand WHERE row_kind = 'request' AND campaign_id = ?",
        [request.request_id],
    )["cutoff"][0].as_py()
    listed = warehouse.read("SELECT sku_id, list_price FROM marts.dim_products").to_pylist()
    lowest: dict[str, float] = {}
    if found is not None:
        since = found - timedelta(days=request.price_lookback_days)
        rows = warehouse.read(
            "SELECT sku_id, min(unit_price) AS lowest FROM marts.fct_orders"
            " WHERE ordered_at >= ? AND ordered_at < ? GROUP BY sku_id",
            [since, found],
        )
        lowest = {r["sku_id"]: float(r["lowest"]) for r in rows.to_pylist()}
    return {r["sku_id"]: (float(r["list_price"]), lowest.get(r["sku_id"], float("inf"))) for r in listed}
