"""What a finished plan must hold, checked from its rows alone; the quality gate asks for the same limits."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import pyarrow as pa

from flashsale.plan_limits import plan_limits
from flashsale.request import SaleRequest

COLUMNS = ["sku_id", "region_id", "allocate_units", "offer_price", "promo_type", "starts_at", "expected_sales"]


def audit_plan(rows: pd.DataFrame, request: SaleRequest, prices: Mapping[str, tuple[float, float]]) -> list[str]:
    """Violations of a plan, each a sentence; an empty list is a clean plan.

    Args:
        rows: one a SKU and region: `sku_id`, `region_id`, `allocate_units`, `offer_price`, `promo_type`,
            `starts_at`, `expected_sales` and, for minimum service, `expected_demand`.
        request: what was asked for.
        prices: by SKU, (list price, lowest price of the look-back days).
    """
    given = rows[[*COLUMNS, *({"expected_demand"} & set(rows.columns))]]
    limits = plan_limits(pa.Table.from_pandas(given, preserve_index=False), request, prices).to_pylist()
    broken = [f"{r['limit']}: {r['used']:.2f} used of {r['most']:.2f}" for r in limits if r["used"] > r["most"]]
    return [*_cells(rows), *_one_offer(rows), *broken]


def _cells(rows: pd.DataFrame) -> list[str]:
    found = []
    if rows.duplicated(["sku_id", "region_id"]).any():
        found.append("a SKU and region stand in more than one row")
    for row in rows.to_dict("records"):
        units = row["allocate_units"]
        if units < 0 or units != int(units):
            kind = "negative" if units < 0 else "fractional"
            found.append(f"{row['sku_id']} in {row['region_id']}: {units} units are {kind}")
    return found


def _one_offer(rows: pd.DataFrame) -> list[str]:
    offers = rows[["sku_id", "offer_price", "promo_type", "starts_at"]].drop_duplicates()
    twice = sorted(offers.loc[offers["sku_id"].duplicated(), "sku_id"].unique())
    return [f"{sku}: more than one price, promotion or start" for sku in twice]
