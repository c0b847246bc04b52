"""What prices drawn by lot say about demand: the lower of two neighbouring prices against the higher one.

The unit is a SKU in a published plan whose sale has ended. Its outcome is the log of its demand (without stock-outs)
over what it would have sold without the sale, a figure that the lot cannot have moved. The effect is the Hajek
estimate, the difference of the two arms' means weighed by 1 / propensity (Hajek 1971), a log ratio; over the mean log
distance of the two prices it is an elasticity. Its p and interval rest on the lot alone: the lot is drawn again and
again under the hypothesis that the lower price moves every outcome by tau (Fisher 1935); the interval holds every tau
not refused.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.demand.lots import drawn_offers
from ml.scoring.uncertainty import ALPHA, placebo_p

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

DRAWS = 2000
GRID = 401  # hypotheses tried for the interval
REACH = 8.0  # standard deviations of the redrawn estimates to either side that they span
HALF_UNIT = 0.5  # added to units before the log: a SKU may sell none


@dataclass(frozen=True)
class Answer:
    """Effect of the lower price on the log of demand, and the elasticity it stands for.

    `lower` and `upper` are None where the lot cannot bound the effect, as with a handful of SKUs.
    """

    skus: int
    at_lower_price: int
    log_ratio: float
    log_ratio_lower: float | None
    log_ratio_upper: float | None
    elasticity: float
    elasticity_lower: float | None
    elasticity_upper: float | None
    p: float

    def as_dict(self) -> dict[str, Any]:
        """The answer as it is stored and printed."""
        return asdict(self)


def drawn_skus(plans: pd.DataFrame, sold: pd.DataFrame) -> pd.DataFrame:
    """SKUs whose price was drawn in a published plan and whose sale has ended, one row a plan and SKU.

    Args:
        plans: rows of `allocation_recommendations`.
        sold: cells of ended sales: `sku_id`, `region_id`, `starts_at`, `demand`, `counterfactual_units`.

    Returns:
        `plan_id`, `sku_id`, `lower` (whether the lower price was drawn), `chance` (of the lower price), `gap` (log of
        the higher price over the lower), `outcome`. A plan's offer is found again by SKU, region and start.
    """
    cells = drawn_offers(plans).merge(
        sold.assign(starts_at=pd.to_datetime(sold["starts_at"], utc=True)), on=["sku_id", "region_id", "starts_at"]
    )
    keys = ["plan_id", "sku_id"]
    price, other = cells["offer_price"].astype(float), cells["experiment_other_price"].astype(float)
    chance = cells["experiment_propensity"].astype(float)
    cells = cells.assign(
        lower=price < other, chance=np.where(price < other, chance, 1.0 - chance), gap=np.abs(np.log(other / price))
    )
    by_sku = cells.groupby(keys, sort=True)
    found = by_sku[["lower", "chance", "gap"]].first().join(by_sku[["demand", "counterfactual_units"]].sum())
    lift = (found["demand"] + HALF_UNIT) / (found["counterfactual_units"].clip(lower=0.0) + HALF_UNIT)
    return found.assign(outcome=np.log(lift)).reset_index()[[*keys, "lower", "chance", "gap", "outcome"]]


def estimate(drawn: pd.DataFrame, seed: int) -> Answer | None:
    """Effect of the lower price; None where one of the arms is empty.

    Args:
        drawn: from `drawn_skus`.
        seed: of the redrawn lots.
    """
    lower, chance = drawn["lower"].to_numpy(dtype=bool), drawn["chance"].to_numpy(dtype=np.float64)
    if lower.all() or not lower.any():
        return None
    outcome = drawn["outcome"].to_numpy(dtype=np.float64)
    effect = float(_hajek(outcome[None], lower[None], chance)[0])
    lots = np.random.default_rng(seed).random((DRAWS, len(drawn))) < chance
    lots = lots[lots.any(axis=1) & ~lots.all(axis=1)]  # a lot with an empty arm has no estimate
    again = _hajek(outcome[None], lots, chance)
    moved = _hajek(lower[None].astype(np.float64), lots, chance)
    low, high = _interval(effect, again, moved)
    gap = float(drawn["gap"].mean())
    return Answer(
        len(drawn), int(lower.sum()), effect, low, high, -effect / gap, None if high is None else -high / gap,
        None if low is None else -low / gap, placebo_p(effect, again),
    )  # fmt: skip


def readings(drawn: pd.DataFrame, seed: int) -> list[dict[str, Any]]:
    """What each plan's lot says, and all together (level `all`, last); nothing where no price was drawn.

    Where one of the arms is empty the row holds its counts alone.
    """
    groups: list[tuple[str, str | None, pd.DataFrame]] = [
        ("plan", str(plan), own) for plan, own in drawn.groupby("plan_id", sort=True)
    ]
    groups += [("all", None, drawn)] if groups else []
    found: list[dict[str, Any]] = []
    for level, plan, own in groups:
        answer = estimate(own, seed)
        counts = {"skus": len(own), "at_lower_price": int(own["lower"].sum())}
        found.append({"level": level, "plan_id": plan, **(counts if answer is None else answer.as_dict())})
    return found


def _hajek(outcome: Floats, lower: Bools, chance: Floats) -> Floats:
    """Difference of the arms' weighted means, one value a lot; `lower` has shape (lots, SKUs)."""
    one, two = lower / chance, ~lower / (1.0 - chance)
    means = [(w * outcome).sum(axis=1) / w.sum(axis=1) for w in (one, two)]
    return np.asarray(means[0] - means[1], dtype=np.float64)


def _interval(effect: float, again: Floats, moved: Floats) -> tuple[float | None, float | None]:
    """Smallest and largest tau that is not refused; None for an end that lies beyond all that were tried.

    Under tau the outcomes without the lower price are y - tau * lower, whose estimate is linear in tau for every lot.
    """
    reach = REACH * max(float(again.std()), 1e-9)
    tried = np.linspace(effect - reach, effect + reach, GRID)
    held = [tau for tau in tried if placebo_p(effect - tau, again - tau * moved) > ALPHA]
    low, high = min(held, default=effect), max(held, default=effect)
    return (None if low <= tried[0] else float(low)), (None if high >= tried[-1] else float(high))
