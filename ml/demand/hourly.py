"""Demand that stock-outs hid in any hourly panel: an hourly curve, a level, and what the row itself sold.

A row is a series-day of a long panel, or a whole short sale; its slots are hours. With `w` the row's curve (shares
that sum to 1) and F the share of demand that fell into hours with stock, units of these hours are
U ~ phi Poisson(lambda F / phi), lambda = m theta, theta ~ Gamma(shape k, mean b). `m` is the level that the series' own
other days suggest for this one, `phi` the size of one purchase (1 in panels of counts). Then

    E[lambda | U, F] = m (k + U / phi) / (k / b + m F / phi)

and what is missing is lambda's share in hours without stock: a compromise between the curve method U / F (Ferreira,
Lee, Simchi-Levi 2016) and the series' own level, weighted by how much each is worth. Curves, levels and k are pooled:
series, class, all. The interval is calibrated on rows that kept stock, by hiding their hours in the patterns in which
other rows really sold out (split conformal, by share of demand seen).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import digamma, polygamma
from scipy.stats import nbinom

from ml.demand.curves import pooled_curves

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

LEVEL_DAYS = 3.0  # days of the class's level that a series starts with
TREND_DAYS = 10.0  # how fast a series' level may move: weight e^(-days / this) of its other days
LEAST_ROWS = 40  # rows that a class needs for a spread of its own
#: Share of the shape that counts where a series has one row alone. Stock follows expected demand, so that a sale that
#: sold out is no draw from all sales: a full prior put simulated ones 4 to 12 % too high.
ALONE = 0.05
LEAST_COMMON = 0.05  # of the sold hours that the commonest amount needs to be one purchase's size
SHAPES = (0.05, 1e4)  # bounds of k


@dataclass(frozen=True)
class Rows:
    """Rows of a panel.

    `units` and `exposure` (share of each hour with stock) have shape (rows, slots); `present` says which hours the
    panel holds; `series` and `group` (class) are codes from 0, `day` counts days, `weekday` is 0 to 6, `start` the hour
    of day of the first slot.
    """

    units: Floats
    exposure: Floats
    present: Bools
    series: Ints
    group: Ints
    day: Ints
    weekday: Ints
    start: Ints

    def __len__(self) -> int:
        return len(self.units)

    def seen(self) -> Floats:
        """Units of hours that had stock throughout or in part, shape (rows,)."""
        return np.asarray((self.units * (self.exposure > 0)).sum(axis=1))


def curves(rows: Rows, phi: float) -> Floats:
    """Each row's demand curve over its slots, shape (rows, slots).

    Pooled over all rows, class, class and start hour, and the series where it has more than one row. Shares sum to 1
    over the hours that the series ever has: a day of which the panel holds a part is a part of a day.
    """
    classes = [np.zeros(len(rows), dtype=np.int64), rows.group, rows.group * 24 + rows.start]
    if len(np.unique(rows.series)) < len(rows):
        classes.append(rows.series)
    pooled = pooled_curves(rows.units / phi, rows.exposure * rows.present, ends_out(rows), classes)
    ever = np.zeros((int(rows.series.max()) + 1, rows.present.shape[1]), dtype=bool)
    np.logical_or.at(ever, rows.series, rows.present)
    whole = (pooled * ever[rows.series]).sum(axis=1, keepdims=True)
    return np.asarray(pooled * rows.present / np.maximum(whole, 1e-12))


def purchase_size(rows: Rows) -> float:
    """phi: 1 where all units are whole; else the commonest positive amount, which scaled counts are multiples of.

    Where no amount is common (weights), it is the mean of squares over the mean: what a mean purchase would be if every
    hour sold one.
    """
    sold = rows.units[rows.units > 0]
    if not len(sold) or np.array_equal(sold, np.round(sold)):
        return 1.0
    values, counts = np.unique(np.round(sold, 6), return_counts=True)
    if counts.max() < LEAST_COMMON * len(sold):
        return float((sold**2).mean() / sold.mean())
    return float(values[np.argmax(counts)])


def levels(rows: Rows, share: Floats) -> Floats:
    """m: what a row would want by its series' other rows, its weekday and its class's day, shape (rows,).

    Exposure-weighted means (units over share of demand seen), which a stock-out does not pull down. Series of one row
    stand at their class's mean.
    """
    seen = rows.seen()
    shop = float(seen.sum() / max(share.sum(), 1e-9))
    group_count, series_count = int(rows.group.max()) + 1, int(rows.series.max()) + 1
    group = _ratio(seen, share, rows.group, group_count, shop, LEVEL_DAYS)[rows.group]
    if series_count == len(rows):
        return np.asarray(group)
    plain = _ratio(seen, share, rows.series, series_count, shop, 0.5)[rows.series]
    weekday = _ratio(seen, share * plain, rows.group * 7 + rows.weekday, group_count * 7, 1.0, 20.0 * shop)
    season = weekday[rows.group * 7 + rows.weekday]
    days = int(rows.day.max()) + 1
    date = _ratio(seen, share * plain * season, rows.group * days + rows.day, group_count * days, 1.0, 20.0 * shop)
    season = season * date[rows.group * days + rows.day]
    return np.asarray(season * _trend(rows, seen / season, share, plain))


def _ratio(top: Floats, bottom: Floats, codes: Ints, count: int, towards: float | Floats, weight: float) -> Floats:
    """Sum of `top` over sum of `bottom` by code, pulled towards a value with a weight in units of `bottom`."""
    weight = max(weight, 1e-9)  # a panel without a sale has no level to weigh by
    above = np.bincount(codes, top, count) + weight * np.asarray(towards)
    return np.asarray(above / (np.bincount(codes, bottom, count) + weight))


def _trend(rows: Rows, sold: Floats, share: Floats, plain: Floats) -> Floats:
    """A series' level around each day from its other days, weighted by nearness, shape (rows,)."""
    days, series = int(rows.day.max()) + 1, int(rows.series.max()) + 1
    units, seen = (np.zeros((series, days)) for _ in range(2))
    np.add.at(units, (rows.series, rows.day), sold)
    np.add.at(seen, (rows.series, rows.day), share)
    apart = np.abs(np.arange(days)[:, None] - np.arange(days)[None, :])
    nearness = np.exp(-apart / TREND_DAYS) * (apart > 0)
    top, bottom = (units @ nearness)[rows.series, rows.day], (seen @ nearness)[rows.series, rows.day]
    return np.asarray((top + LEVEL_DAYS * plain) / (bottom + LEVEL_DAYS))


def gamma_of(counts: Floats, expected: Floats, rounds: int = 40) -> tuple[float, float]:
    """Shape k and mean b of theta, where counts ~ Poisson(theta x expected): expectation maximisation.

    Rows that saw little demand count for little, by themselves.
    """
    ok = expected > 1e-9
    counts, expected = counts[ok], expected[ok]
    if not len(counts):
        return 1.0, 1.0
    shape, mean = 1.0, float(counts.sum() / expected.sum())
    for _ in range(rounds):
        alpha, beta = shape + counts, shape / max(mean, 1e-9) + expected
        theta, log_theta = alpha / beta, digamma(alpha) - np.log(beta)
        mean = float(theta.mean())
        shape = _shape(float(np.log(mean) - log_theta.mean()), shape)
    return shape, mean


def _shape(gap: float, start: float) -> float:
    """Maximum likelihood shape: log k - digamma(k) = gap, by Newton's method on log k."""
    k = start
    for _ in range(8):
        value, slope = np.log(k) - digamma(k) - gap, 1.0 / k - polygamma(1, k)
        k = float(np.clip(np.exp(np.log(k) - value / (slope * k)), *SHAPES))
    return k


@dataclass(frozen=True)
class Learnt:
    """What was learnt of a panel: curves, levels, theta's shape and mean by class, phi; `alone`: a row a series."""

    curve: Floats
    level: Floats
    shape: Floats
    mean: Floats
    phi: float
    alone: bool


@dataclass(frozen=True)
class Missing:
    """Expected demand of hours without stock, shape (rows, slots); its standard deviation, the purchases that its rate
    rests on, the share of demand seen, theta, and how much of the estimate rests on the row's own hours (0 to 1), each
    of shape (rows,)."""

    hidden: Floats
    sd: Floats
    alpha: Floats
    share: Floats
    theta: Floats
    own: Floats


def learn(rows: Rows) -> Learnt:
    """Learn curves, levels and the spread of theta from all rows, censored ones by their hours with stock."""
    phi = purchase_size(rows)
    curve = curves(rows, phi)
    share = (curve * rows.exposure).sum(axis=1)
    level = levels(rows, share)
    counts, expected = rows.seen() / phi, level * share / phi
    whole = gamma_of(counts, expected)
    groups = int(rows.group.max()) + 1
    found = np.tile(np.array(whole), (groups, 1))
    order = np.argsort(rows.group, kind="stable")
    bounds = np.searchsorted(rows.group[order], np.arange(groups + 1))
    for g in range(groups):
        index = order[bounds[g] : bounds[g + 1]]
        if len(index) >= LEAST_ROWS:
            found[g] = gamma_of(counts[index], expected[index])
    alone = len(np.unique(rows.series)) == len(rows)
    return Learnt(curve, level, found[rows.group, 0] * (ALONE if alone else 1.0), found[rows.group, 1], phi, alone)


def expected_missing(learnt: Learnt, rows: Rows) -> Missing:
    """Demand of hours without stock, before calibration.

    Where a row stands alone, with next to no prior, a stock-out that lasts to its end came with a purchase that says
    nothing of the rate, given its moment. Its demand is then (U - phi) / F, unbiased for Poisson arrivals: the missing
    part is phi less than the rate's share of the hidden hours. Under a prior from other days U is the right count.
    """
    share = (learnt.curve * rows.exposure).sum(axis=1)
    ends = ends_out(rows) & learnt.alone
    counts = np.maximum(rows.seen() / learnt.phi - ends, 0.0)
    alpha = learnt.shape + counts
    seen, prior = learnt.level * share / learnt.phi, learnt.shape / learnt.mean
    theta, own = alpha / (prior + seen), seen / (seen + prior)
    hidden = learnt.curve * (1.0 - rows.exposure) * (learnt.level * theta)[:, None]
    total = np.maximum(hidden.sum(axis=1), 1e-12)
    hidden = hidden * np.maximum(1.0 - own * ends * learnt.phi / total, 0.0)[:, None]
    lost = hidden.sum(axis=1)
    sd = np.sqrt(learnt.phi * total + lost**2 / np.maximum(alpha, 0.5))
    return Missing(hidden, sd, np.maximum(alpha, 0.5), share, theta, own)


def count_bounds(found: Missing, lost: Floats, phi: float) -> tuple[Floats, Floats]:
    """10 % and 90 % quantiles of missing purchases, on either side of their mean `lost`: negative binomial.

    A Poisson count whose rate was learnt from `alpha` purchases.
    """
    chance = found.alpha / (found.alpha + np.maximum(lost / phi, 1e-9))
    low, high = (phi * nbinom.ppf(q, found.alpha, chance) for q in (0.1, 0.9))
    return np.minimum(low, lost), np.where(lost > 0, np.maximum(high, lost), 0.0)


def ends_out(rows: Rows) -> Bools:
    """Rows whose last hour with stock was not their last hour."""
    slots = np.arange(rows.exposure.shape[1])
    last = np.where(rows.present, slots, -1).max(axis=1)
    return np.asarray(rows.exposure[np.arange(len(rows)), last] < 1.0)
