"""A published plan as a re-plan needs it: its cells, the demand it was made on, and what other prices would do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from flashsale.errors import InputError
from ml.allocation.joint import JointSale
from ml.allocation.plan import Foreseen, Inputs, demand_given, foresee
from ml.allocation.problem import Action, Problem
from ml.allocation.running import Offers
from ml.demand.heads import LevelHeads

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NEAR = 1e-3  # relative distance of a median up to which it is the same: rows are stored, heads are recomputed
CENT = 0.005


@dataclass(frozen=True)
class Published:
    """A plan; arrays in the order of its request's SKUs (s) and regions (r).

    `prices` lawful prices of each SKU under the plan's promotion and start, rising; `planned` index of the plan's;
    `log_quantiles` of demand at the plan's prices, shape (s, r, 3); `by_lot` SKUs whose price the lot chose.
    """

    inputs: Inputs
    problem: Problem
    offers: Offers
    units: Ints
    promos: list[str]
    prices: list[Floats]
    planned: Ints
    log_quantiles: Floats
    by_lot: npt.NDArray[np.bool_]
    _whole: JointSale | None
    _actions: list[list[int]]
    _medians: list[Floats]

    def factors(self, profile: Ints, before: Ints) -> Floats:
        """Demand at one profile of prices over that at another, shape (s, r)."""
        if self._whole is None:
            return np.stack([np.exp(own[a] - own[b]) for own, a, b in zip(self._medians, profile, before, strict=True)])
        after, first = (self._whole.market.multipliers(self._whole.chosen(self._chosen(p))) for p in (profile, before))
        return np.asarray(after / first, dtype=np.float64)

    def _chosen(self, profile: Ints) -> Ints:
        return np.array([own[a] for own, a in zip(self._actions, profile, strict=True)])


def read_published(plan_id: str, rows: pd.DataFrame, inputs: Inputs, heads: LevelHeads, seed: int) -> Published:
    """The plan of stored rows and kept inputs.

    Raises:
        InputError: where the plan is not published, lacks a cell of its request, or was made from other inputs.
    """
    cells = _ordered(plan_id, rows, inputs)
    skus, regions = len(inputs.request.skus), len(inputs.regions)
    first = cells.iloc[::regions]
    names = [sku.sku_id for sku in inputs.request.skus]
    parts = [(sku, row) for sku, (_, row) in zip(names, first.iterrows(), strict=True)]
    actions = [_same_offer(plan_id, inputs.ladder.actions[sku], row) for sku, row in parts]
    ladders = [(inputs.ladder.actions[sku], own) for sku, own in zip(names, actions, strict=True)]
    prices = [np.array([ladder[a].price for a in own]) for ladder, own in ladders]
    asked = [float(price) for price in first["offer_price"]]
    planned = np.array([int(np.argmin(np.abs(own - price))) for own, price in zip(prices, asked, strict=True)])
    chosen = np.array([own[a] for own, a in zip(actions, planned, strict=True)])
    foreseen = foresee(inputs, heads, seed)
    stored = cells["demand_p50"].to_numpy(dtype=np.float64).reshape(skus, regions)
    quantiles, whole = _as_planned(plan_id, foreseen, chosen, stored)
    medians = [own.log_quantiles[at, :, 1] for own, at in zip(foreseen.demand, actions, strict=True)]
    starts, ends = (list(pd.to_datetime(first[name], utc=True)) for name in ("starts_at", "ends_at"))
    offers = Offers(names, inputs.regions, starts, ends)
    units = cells["allocate_units"].to_numpy(np.int64).reshape(skus, regions)
    by_lot = first["experiment_arm"].notna().to_numpy() if "experiment_arm" in first else np.zeros(skus, dtype=bool)
    return Published(inputs, foreseen.problem, offers, units, list(first["promo_type"]), prices, planned, quantiles,
                     by_lot, whole, actions, medians)  # fmt: skip


def _ordered(plan_id: str, rows: pd.DataFrame, inputs: Inputs) -> pd.DataFrame:
    """The plan's rows in the request's order; InputError where it is not published or a cell is missing."""
    status = str(rows["status"].iloc[0]) if "status" in rows and len(rows) else "unknown"
    if status != "published":
        raise InputError(f"plan {plan_id}", f"it is {status}, not published: no sale runs on it",
                         "publish it, or name the plan that the sale carries out", field="status")  # fmt: skip
    known = rows.set_index(["sku_id", "region_id"])
    for sku in inputs.request.skus:
        for region in inputs.regions:
            if (sku.sku_id, region) not in known.index:
                raise InputError(f"plan {plan_id}", f"it has no row for {region}", "give the rows of the whole plan",
                                 field="sku_id", row=sku.sku_id)  # fmt: skip
    return known.loc[[(s.sku_id, r) for s in inputs.request.skus for r in inputs.regions]].reset_index()


def _same_offer(plan_id: str, actions: list[Action], row: pd.Series) -> list[int]:
    """Indices of the lawful actions that differ from the plan's by the price alone, the plan's among them."""
    start = pd.Timestamp(row["starts_at"])
    offer = (row["promo_type"], start)
    like = [a for a, x in enumerate(actions) if (x.promo_type, pd.Timestamp(x.starts_at)) == offer]
    if not any(abs(actions[a].price - float(row["offer_price"])) < CENT for a in like):
        raise InputError(f"plan {plan_id}", f"its price {float(row['offer_price']):.2f} is on no lawful ladder",
                         "plan the request again", field="offer_price", row=str(row["sku_id"]))  # fmt: skip
    return like


def _as_planned(plan_id: str, foreseen: Foreseen, chosen: Ints, medians: Floats) -> tuple[Floats, JointSale | None]:
    """Log quantiles at the plan's actions, and the contest if the plan was made with it: its rows tell."""
    alone = np.stack([own.log_quantiles[a] for own, a in zip(foreseen.demand, chosen, strict=True)])
    versions: list[tuple[Floats, JointSale | None]] = [(alone, None)]
    if foreseen.whole is not None:
        given = demand_given(foreseen.whole, foreseen.demand, chosen)
        joint = np.stack([own.log_quantiles[a] for own, a in zip(given, chosen, strict=True)])
        versions.insert(0, (joint, foreseen.whole))
    for quantiles, whole in versions:
        units = np.maximum(np.exp(quantiles[:, :, 1]) - 0.5, 0.0)
        if (np.abs(units - medians) <= NEAR * np.maximum(medians, 1.0)).all():
            return quantiles, whole
    raise InputError(f"plan {plan_id}", "its demand is not what these inputs and this model give",
                     "name the folder that was kept when the plan was made", field="demand_p50")  # fmt: skip
