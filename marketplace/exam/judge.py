"""What a plan brings when the true customers come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from flashsale.plan_limits import plan_limits
from flashsale.request import SaleRequest
from marketplace.choice import Floats, Ints
from marketplace.exam.arrivals import Arrivals
from marketplace.exam.table import Action, Sale, prices_of, promo_index
from marketplace.world import PROMO_TYPES


@dataclass(frozen=True)
class Plan:
    """Actions by SKU and units (s, r); the planner's own p10 and p90 of demand where it gave them, (s, r)."""

    chosen: list[Action]
    units: Ints
    p10: Floats | None = None
    p90: Floats | None = None
    violations: int = 0


def judge(sale: Sale, plan: Plan, arrivals: Arrivals) -> dict[str, float]:
    """Play the sale.

    Returns:
        `profit` (units of currency, mean over repetitions), `demanded`, `served`, `lost`, `leftover` (units), `fill`
        (served over demanded), `smallest_fill` (of a region), `violations`, `covered` (share of cells and repetitions
        whose demand lies in p10 to p90; NaN where the planner gave none).
    """
    demand = arrivals.demand(sale.means(plan.chosen))
    served = np.minimum(plan.units[:, :, None], demand)
    served = served + second_choices(sale, plan, demand - served, plan.units[:, :, None] - served)
    margin = sale.margins(plan.chosen)[:, :, None]
    profit = (margin * served).sum(axis=(0, 1)) - float((sale.holding * plan.units).sum())
    covered = np.nan
    if plan.p10 is not None and plan.p90 is not None:
        inside = (demand >= plan.p10[..., None]) & (demand <= plan.p90[..., None])
        covered = float(inside.mean())
    by_region = served.sum(axis=(0, 2)) / np.maximum(demand.sum(axis=(0, 2)), 1)
    count = arrivals.repetitions
    return {
        "profit": float(profit.mean()) / 100.0,
        "demanded": float(demand.sum()) / count,
        "served": float(served.sum()) / count,
        "lost": float((demand - served).sum()) / count,  # less those who took a second choice
        "leftover": float((plan.units[:, :, None] - served).sum()) / count,
        "fill": float(served.sum() / max(demand.sum(), 1)),
        "smallest_fill": float(by_region.min()),
        "violations": float(plan.violations),
        "covered": covered,
    }


def second_choices(sale: Sale, plan: Plan, lost: Ints, left: Ints) -> Ints:
    """Units of rivals of the category that customers took who found nothing, shape (SKUs, regions, repetitions).

    As far as the regime has such customers. They take what is left of the deepest discount first. No planner counts on
    them, the oracles neither.
    """
    taken = np.zeros_like(lost)
    share = sale.world.size.regime.spill
    if not share:
        return taken
    category = sale.world.category[sale.asked.sku]
    by_discount = np.argsort(prices_of(plan.chosen) / sale.listed, kind="stable")
    for kind in np.unique(category):
        turned = np.floor(share * lost[category == kind].sum(axis=0) + 0.5).astype(np.int64)
        for sku in by_discount[category[by_discount] == kind]:
            taken[sku] = np.minimum(left[sku], turned)
            turned = turned - taken[sku]
    return taken


def read_plan(sale: Sale, rows: pd.DataFrame, request: SaleRequest, prices: dict[str, tuple[float, float]]) -> Plan:
    """A planner's rows as arrays, with the number of limits it broke."""
    skus = [s.sku_id for s in request.skus]
    regions = [r.region_id for r in request.regions]
    ordered = rows.set_index(["sku_id", "region_id"]).loc[[(s, r) for s in skus for r in regions]].reset_index()
    shape = (len(skus), len(regions))
    first = ordered.iloc[:: len(regions)]
    starts = pd.to_datetime(first["starts_at"], utc=True).astype("datetime64[us, UTC]").astype("int64")
    chosen = [
        (round(float(price) * 100), promo_index(promo), int(start))
        for price, promo, start in zip(first["offer_price"], first["promo_type"], starts, strict=True)
    ]
    return Plan(
        chosen,
        ordered["allocate_units"].to_numpy(dtype=np.int64).reshape(shape),
        ordered["demand_p10"].to_numpy(dtype=np.float64).reshape(shape),
        ordered["demand_p90"].to_numpy(dtype=np.float64).reshape(shape),
        broken(ordered, request, prices),
    )


def broken(rows: pd.DataFrame, request: SaleRequest, prices: dict[str, tuple[float, float]]) -> int:
    """Number of the request's limits that a plan's rows break."""
    limits = plan_limits(pa.Table.from_pandas(rows, preserve_index=False), request, prices)
    return int(pc.sum(pc.greater(limits["used"], limits["most"])).as_py() or 0)


def plan_rows(
    plan: Plan, request: SaleRequest, sales: Floats | None = None, wanted: Floats | None = None
) -> pd.DataFrame:
    """A plan in the columns that limits are checked by.

    Args:
        plan: what was chosen.
        request: what was asked for.
        sales: expected sales (s, r) of a planner who knows them; without, every unit counts as one.
        wanted: expected demand (s, r) of a planner who is held to minimum service.
    """
    sold = plan.units if sales is None else sales
    records: list[dict[str, Any]] = []
    for i, sku in enumerate(request.skus):
        price, promo, slot = plan.chosen[i]
        records += [
            {
                "sku_id": sku.sku_id,
                "region_id": region.region_id,
                "allocate_units": int(plan.units[i, r]),
                "offer_price": price / 100.0,
                "promo_type": PROMO_TYPES[promo],
                "starts_at": pd.Timestamp(slot, unit="us", tz="UTC"),
                "expected_sales": float(sold[i, r]),
                "expected_demand": None if wanted is None else float(wanted[i, r]),
            }
            for r, region in enumerate(request.regions)
        ]
    return pd.DataFrame(records)
