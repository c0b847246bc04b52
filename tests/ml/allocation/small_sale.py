"""A small published plan made by hand, and minutes of its sale: what the re-plan's tests are about, without a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from flashsale.request import load_request
from ml.allocation.ladder import lawful_ladder
from ml.allocation.plan import Inputs
from ml.allocation.problem import Problem, Region, Sku
from ml.allocation.published import Published
from ml.allocation.replan import Case, Step
from ml.allocation.running import Offers

START = pd.Timestamp("2026-11-11T00:00:00Z")
HOURS = 24
REGIONS = ["east", "north", "west"]
PRICES = [40.0, 45.0, 50.0]
CORRELATION = {"sale": 0.1, "sku": 0.3}


@dataclass(frozen=True)
class Made:
    """A plan, with what its sale is expected to be."""

    plan: Published
    median: npt.NDArray[np.float64]

    def case(self, minutes: pd.DataFrame, steps: tuple[Step, ...] = ()) -> Case:
        """What a re-plan is made from: demand comes evenly over the hours."""
        return Case("p", self.plan, CORRELATION, np.full((len(self.median), HOURS), 1.0 / HOURS), minutes, steps)

    def names(self, i: int, r: int) -> tuple[str, str]:
        """SKU and region of a cell."""
        return self.plan.offers.sku_ids[i], self.plan.offers.region_ids[r]


def small_sale(
    median: Any, units: Any, *, spread: float = 0.5, elasticity: float = 2.0, changes: int = 2, by_lot: Any = None,
    planned: int = 1, **request: Any,
) -> Made:  # fmt: skip
    """A plan of SKUs `a`, `b`, … at 45 of 40, 45, 50, unit cost 20, salvage 10, shipping 1.

    Args:
        median: of demand by cell, shape (s, 3).
        units: sent, same shape.
        spread: log distance of p90 and p10 from the median.
        request: fields of the sale request, over the usual ones; `regions` and `skus` are dictionaries by name.
    """
    median, units = np.asarray(median, dtype=np.float64), np.asarray(units, dtype=np.int64)
    names = [chr(97 + i) for i in range(len(median))]
    regions, skus = request.pop("regions", {}), request.pop("skus", {})
    asked = load_request({
        "request_id": "r", "currency": "CNY", "start_slots": [START.isoformat()], "duration_hours": HOURS,
        "max_price_changes": changes, **request,
        "regions": [{"region_id": r, "capacity_units": 1000, **regions.get(r, {})} for r in REGIONS],
        "skus": [{"sku_id": s, "supply_units": int(units[i].sum()), "unit_cost": 20, "salvage_value": 10,
                  "prices": PRICES, "promo_types": ["discount"], **skus.get(s, {})} for i, s in enumerate(names)],
    })  # fmt: skip
    ladder = lawful_ladder(asked, {})
    where = [Region(r.region_id, r.capacity_units, 1.0, r.min_service) for r in asked.regions]
    items = [Sku(s.sku_id, 20.0, 10.0, 60.0, s.supply_units, ladder.actions[s.sku_id],
                 np.ones((3, 3, 1), dtype=np.int64)) for s in asked.skus]  # fmt: skip
    inputs = Inputs(asked, pd.DataFrame(), pd.DataFrame(), ladder, dict.fromkeys(REGIONS, 1.0))
    log = np.log(median + 0.5)
    effect = -elasticity * np.log(np.array(PRICES) / PRICES[planned])
    plan = Published(
        inputs, Problem(items, where), Offers(names, REGIONS, [START] * len(names), [START + pd.Timedelta(hours=HOURS)] * len(names)),
        units, ["discount"] * len(names), [np.array(PRICES)] * len(names), np.full(len(names), planned),
        np.stack([log - spread, log, log + spread], axis=2),
        np.zeros(len(names), dtype=bool) if by_lot is None else np.asarray(by_lot), None, [[0, 1, 2]] * len(names),
        [log[i][None, :] + effect[:, None] for i in range(len(names))],
    )  # fmt: skip
    return Made(plan, median)


def minutes_of(made: Made, hours: float, sold: Any, *, sold_out_at: Any = None) -> pd.DataFrame:
    """Rows of `live/minutes` after so many hours: units spread evenly, or over the hours until a cell sold out.

    Args:
        sold: units of each cell until now.
        sold_out_at: hour at which each cell sold out (NaN: it did not), with the stock reading of that minute.
    """
    sold, rows = np.asarray(sold), []
    until = np.full(sold.shape, hours) if sold_out_at is None else np.asarray(sold_out_at, dtype=float)
    for i, r in np.ndindex(sold.shape):
        sku, region = made.names(i, r)
        last = hours if np.isnan(until[i, r]) else until[i, r]
        at = np.floor((np.arange(sold[i, r]) + 0.5) / max(sold[i, r], 1) * last * 60)
        rows += [(minute, sku, region, 1, np.nan) for minute in at]
        if sold_out_at is not None and not np.isnan(until[i, r]):
            rows.append((np.ceil(last * 60), sku, region, 0, 0.0))
    rows.append((hours * 60, "other", "east", 3, np.nan))  # other SKUs move the clock
    frame = pd.DataFrame(rows, columns=["at", "sku_id", "region_id", "units", "on_hand"])
    key = ["at", "sku_id", "region_id"]
    whole = frame.groupby(key, as_index=False).agg({"units": "sum", "on_hand": "last"})
    return whole.assign(minute=START + pd.to_timedelta(whole.pop("at"), unit="min"), cancelled_units=0)
