"""What moved a price other than the demand that was expected: unit costs, and prices drawn by lot.

A manager who knows more than the features hold biases the observational slope. A unit cost moves the price and
nobody's demand (an instrument: Wright 1928); a lot decides between two prices whatever is expected. Each gives a slope
of its own, noisy but unbiased. `combined` pools them with the observational one by precision, whose variance gets what
its distance from them shows beyond chance: the estimated square of its bias (Green and Strawderman 1991; Rosenman et
al. 2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.demand.backbone import cross_fitted

Floats = npt.NDArray[np.float64]

LEAST_F = 10.0
LEAST_DRAWN = 20  # SKUs of sales with a price by lot; with fewer the standard error is a guess
COST_FEATURES = ["margin_share"]  # holds the instrument: as a control it would take away what is to be used
STRONGEST_F = 1e6  # said of a first stage without error: a lot that was kept to


@dataclass(frozen=True)
class Moves:
    """What moved prices, one entry a past offer.

    `cost` log unit cost, NaN where unknown; `listed` log list price; `skus` the offer's SKU. Of prices by lot: `lot` is
    the log price drawn less its expectation under the lot, `centre` that expectation as log of price over list price;
    both NaN where there was no lot.
    """

    cost: Floats
    listed: Floats
    skus: npt.NDArray[Any]
    lot: Floats
    centre: Floats


@dataclass(frozen=True)
class Evidence:
    """An elasticity with its standard error, the F of its first stage and the number of SKUs of sales behind it."""

    slope: float
    se: float
    f: float
    offers: int


def lot_moves(price: Floats, other: Floats, chance: Floats, listed: Floats) -> tuple[Floats, Floats]:
    """(`lot`, `centre`) of `Moves`, shape (rows,); NaN where `other` or `chance` is.

    Args:
        price, other: the price drawn and the one not drawn.
        chance: probability that the price drawn had.
        listed: list price.
    """
    centre = chance * np.log(price) + (1.0 - chance) * np.log(other)
    return np.asarray(np.log(price) - centre), np.asarray(centre - np.log(listed))


def from_costs(
    controls: pd.DataFrame, y: Floats, p: Floats, sales: npt.NDArray[Any], moves: Moves, categorical: list[str]
) -> Evidence | None:
    """The slope by which demand followed the prices that costs moved, within SKUs; None where costs did not move them.

    Two-stage least squares on what is left of everything once freed of the controls, sale by sale out of fold, and of
    each SKU's mean. A cost that only follows the list price is no instrument: what that explains is taken out.

    Args:
        controls: known at planning besides the price, one row an offer; columns that hold the cost are left out here.
        y, p: log lift and log price ratio, shape (rows,).
        sales: sale of each row.
    """
    known = np.isfinite(moves.cost)
    if known.sum() < 2 or not _moved(moves.cost[known], moves.skus[known]):
        return None
    others = controls.loc[known].drop(columns=COST_FEATURES, errors="ignore")
    sale, sku = sales[known], moves.skus[known]
    listed = _within(moves.listed[known], sku)
    cost = _without(_within(moves.cost[known], sku), listed)

    def free(values: Floats) -> Floats:
        return _within(values - cross_fitted(others, values, sale, categorical), sku)

    found = _two_stage(free(cost), free(y[known]), free(p[known]), [sale, sku])
    return None if found is None else Evidence(*found, offers=_groups(sale, sku))


def from_lots(y: Floats, p: Floats, sales: npt.NDArray[Any], moves: Moves) -> Evidence | None:
    """The slope between prices drawn by lot; None with fewer than `LEAST_DRAWN` SKUs of sales or one arm alone.

    Args:
        y: log lift freed of what was known at planning, shape (rows,).
        p: log price ratio as it was offered; where a lot was not kept to, the lot still is the instrument.
        sales: sale of each row.
    """
    drawn = np.isfinite(moves.lot)
    sale, sku = sales[drawn], moves.skus[drawn]
    offers = _groups(sale, sku)
    if offers < LEAST_DRAWN:
        return None
    ahead = np.column_stack([np.ones(int(drawn.sum())), moves.centre[drawn]])  # settled before the lot
    lot, left, price = (_residual(values[drawn], ahead) for values in (moves.lot, y, p))
    found = _two_stage(lot, left, price, [pd.factorize(pd.MultiIndex.from_arrays([sale, sku]))[0]])
    return None if found is None else Evidence(*found, offers=offers)


def combined(slope: float, se: float, found: list[Evidence], *, biased: bool = True) -> tuple[float, float]:
    """One slope and standard error from the observational one and what unbiased evidence there is.

    Args:
        slope, se: observational, or a prior's mean and standard deviation.
        found: unbiased estimates.
        biased: whether the first may be biased: then its variance is widened by its distance from the others, squared,
            less what chance explains of it.
    """
    if not found:
        return slope, se
    weight = np.array([1.0 / e.se**2 for e in found])
    clean, variance = float(weight @ [e.slope for e in found] / weight.sum()), 1.0 / float(weight.sum())
    bias = max(0.0, (slope - clean) ** 2 - se**2 - variance) if biased else 0.0
    own, theirs = 1.0 / (se**2 + bias), 1.0 / variance
    return (own * slope + theirs * clean) / (own + theirs), float((own + theirs) ** -0.5)


def _two_stage(z: Floats, y: Floats, p: Floats, clusters: list[npt.NDArray[Any]]) -> tuple[float, float, float] | None:
    """(slope, its standard error, F) with one instrument, the larger error of all clusterings; None if F < 10."""
    power = float(z @ z)
    if power <= 1e-12:
        return None
    first = float(z @ p) / power
    error = max(clustered(z * (p - first * z), own) for own in clusters) / power
    f = STRONGEST_F if error <= 0 else min((first / error) ** 2, STRONGEST_F)
    if f < LEAST_F or first == 0.0:
        return None
    slope = float(z @ y) / float(z @ p)
    se = max(clustered(z * (y - slope * p), own) for own in clusters) / abs(float(z @ p))
    return slope, max(se, 1e-6), f


def clustered(scores: Floats, group: npt.NDArray[Any]) -> float:
    """Standard deviation of a sum whose terms are correlated within groups."""
    return float(np.sqrt((pd.Series(scores).groupby(group).sum().to_numpy() ** 2).sum()))


def _moved(cost: Floats, skus: npt.NDArray[Any]) -> bool:
    return bool(np.abs(_within(cost, skus)).max() > 1e-6)


def _within(values: Floats, group: npt.NDArray[Any]) -> Floats:
    """Values less their group's mean."""
    series = pd.Series(values)
    return np.asarray(series - series.groupby(group).transform("mean"), dtype=np.float64)


def _without(values: Floats, other: Floats) -> Floats:
    power = float(other @ other)
    return values - other * (float(other @ values) / power) if power > 1e-12 else values


def _residual(values: Floats, columns: Floats) -> Floats:
    return np.asarray(values - columns @ np.linalg.lstsq(columns, values, rcond=None)[0], dtype=np.float64)


def _groups(sales: npt.NDArray[Any], skus: npt.NDArray[Any]) -> int:
    return len(pd.MultiIndex.from_arrays([sales, skus]).unique())
