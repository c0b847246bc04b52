"""Sales that an offer owes to sold-out rivals (after Vulcano, van Ryzin, Ratliff 2012).

Offers of one sale, region and category stand in for one another: of the customers who find one sold out, a share
takes another that has stock, each as often as it is wanted anyway (the independence of a multinomial logit). With
first-choice demand mu_i w_ih of offer i in hour h, of which the share e_ih finds stock,

    rho_h = 1 + lambda sum_j mu_j w_jh (1 - e_jh) / sum_j mu_j w_jh e_jh,    N_ih ~ Poisson(mu_i w_ih e_ih rho_h)

and lambda is the share of turned-away customers who buy a rival. Expectation-maximisation splits every hour's sales
into first choices (1 / rho) and the rest; lambda is the maximum of the likelihood over what that gives. A logit would
fix lambda by the share of the market that buys nothing; here it is learnt from the sales themselves, since views do not
tell who would have bought nothing. Without clear evidence lambda is 0 and nothing is corrected. Purchases are by the
hour, stock-outs by the second, and the curves' classes take up a part of it: in simulated shops the share comes out at
about two thirds of the planted one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.demand.curves import class_totals, telling_purchases

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST = 0.95  # share of turned-away customers who may buy a rival
ROUNDS = 6
LEAST_EVIDENCE = 6.63  # of twice the gain in log-likelihood, over the dispersion: chi-square, 1 %, one degree
LEAST_PURCHASES = 200  # made while a rival was sold out
MOST_INFLOW = 5.0  # rho; an offer left alone for a moment teaches nothing


@dataclass(frozen=True)
class Spill:
    """What was learnt: `share` (lambda), 0 without clear evidence; `inflow` (rho), shape (cells, hours)."""

    share: float
    inflow: Floats


def fit_spill(units: Floats, exposure: Floats, ended: npt.NDArray[np.bool_], curves: Floats, group: Ints) -> Spill:
    """Learn the share of turned-away customers who buy a rival.

    Args:
        units: purchases, shape (cells, hours).
        exposure: share of each hour with stock, 0 to 1.
        ended: cells whose last purchase used up the stock; that one says nothing of the rate.
        curves: share of first-choice demand in each hour, rows sum to 1.
        group: code of each cell's sale, region and category.
    """
    none = Spill(0.0, np.ones_like(units))
    open_rate = curves * exposure
    units = telling_purchases(units, exposure, ended)
    sold = units.sum(axis=1)
    if not _teaches(units, exposure, group):
        return none

    def inflow(share: float) -> Floats:
        return _inflow(share, sold, open_rate, curves - open_rate, group)

    def gain(share: float) -> float:
        rho = inflow(share)
        mean = sold / np.maximum((open_rate * rho).sum(axis=1), 1e-9)
        return float((units * np.log(np.maximum(mean[:, None] * rho, 1e-9))).sum())

    grid = np.linspace(0.0, MOST, 20)
    found = [gain(share) for share in grid]
    best = int(np.argmax(found))
    share = _peak(grid, found, best)
    rho = inflow(share)
    evidence = 2.0 * (gain(share) - found[0]) / _dispersion(units, sold, open_rate * rho)
    return Spill(share, rho) if share > 0 and evidence >= LEAST_EVIDENCE else none


def _teaches(units: Floats, exposure: Floats, group: Ints) -> bool:
    """Whether enough was bought while a rival was sold out."""
    out = _sums(1.0 - exposure, group) - (1.0 - exposure)
    return bool((units * (out > 0.5) * (exposure > 0)).sum() >= LEAST_PURCHASES)


def _sums(values: Floats, group: Ints) -> Floats:
    """Sum over each cell's group, shape as `values`."""
    return np.asarray(class_totals(values, group, int(group.max()) + 1)[group], dtype=np.float64)


def _inflow(share: float, sold: Floats, open_rate: Floats, shut_rate: Floats, group: Ints) -> Floats:
    rho = np.ones_like(open_rate)
    if share == 0:
        return rho
    for _ in range(ROUNDS):
        mean = (sold / np.maximum((open_rate * rho).sum(axis=1), 1e-9))[:, None]
        served, turned = _sums(mean * open_rate, group), _sums(mean * shut_rate, group)
        rho = np.minimum(1.0 + share * turned / np.maximum(served, 1e-9), MOST_INFLOW)
        rho = np.where(open_rate > 0, rho, 1.0)
    return rho


def _peak(grid: Floats, found: list[float], best: int) -> float:
    """Top of the parabola through the best point of the grid and its neighbours."""
    if best in (0, len(grid) - 1):
        return float(grid[best])
    before, at, after = found[best - 1 : best + 2]
    bend = before - 2.0 * at + after
    return float(grid[best] + 0.5 * (grid[1] - grid[0]) * (before - after) / bend) if bend < 0 else float(grid[best])


def _dispersion(units: Floats, sold: Floats, rate: Floats) -> float:
    """Variance of hourly purchases over their mean, at least 1 (Pearson's, over hours in which some were expected)."""
    expected = (sold / np.maximum(rate.sum(axis=1), 1e-9))[:, None] * rate
    likely = expected > 0.5
    return max(float(((units - expected)[likely] ** 2 / expected[likely]).mean()), 1.0) if likely.any() else 1.0
