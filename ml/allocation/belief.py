"""What a running sale says of its demand: the plan's scenarios, updated by the units sold so far, exactly.

The plan's demand of a cell is log-normal with two spreads, its shock z = sqrt(a) g + sqrt(b) h + sqrt(c) e, where g is
shared by the sale, h by a SKU's regions and e the cell's own (`ml.allocation.forecast`). Given its demand D over the
whole sale, arrivals fall on the sale's curve one by one: the units N that came while a share E of the curve had stock
are binomial (a mixed Poisson process; the curve itself is known as if from `TRUST` purchases, hence beta-binomial).
What ended the count does not matter to the likelihood (stopping-rule principle): a cell that sold out is judged by the
share of the curve that it was in stock, so that its sales are a lower bound and never read as low demand.

g, h and e form a tree, so the posterior needs no sampler: the cells' likelihoods are summed over e on a grid, a
SKU's over h, the sale's over g, and scenarios are drawn back down (forward filtering, backward sampling). Weighting
the plan's own scenarios would leave one or two of them once forty cells have spoken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, logsumexp

from ml.allocation.forecast import Z90

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

TRUST = 100.0  # purchases that the curve is worth: at half-time its share is known to about a tenth
WILD, WILDER = 1e-3, 3.0  # share of cells that the fitted quantiles know nothing of, their spread over the fitted one
OWN = np.linspace(-6.0, 6.0, 121)  # grid of a cell's own shock
SHARED = np.linspace(-4.0, 4.0, 41)  # of the sale's, and of a SKU's
BOTH = np.linspace(-4.5, 4.5, 61)  # of both together, in their standard deviations
SHORT = 20.0  # what a unit sold beyond the demand of a shock costs its log likelihood, over the root of the units
MOST = 1e7  # units; keeps exponentials finite


@dataclass(frozen=True)
class Seen:
    """What was seen of every cell, arrays of shape (skus, regions).

    `sold` units so far; `stocked` expected share of the whole sale's demand while the cell had stock, until now;
    `ahead` expected share from now on. What was lost is 1 - stocked - ahead.
    """

    sold: Ints
    stocked: Floats
    ahead: Floats


def draw_demand(log_quantiles: Floats, seen: Seen, correlation: dict[str, float], count: int, seed: int) -> Ints:
    """Scenarios of each cell's demand over the whole sale, given what was seen; shape (skus, regions, count).

    Args:
        log_quantiles: log p10, p50, p90 of units + 0.5, shape (skus, regions, 3).
        seen: figures until now; nothing seen gives the plan's own scenarios back.
        correlation: shares of the shocks' variance common to the `sale` and to a `sku`.
        count: scenarios.
        seed: of the draws.

    Returns:
        Whole units, none below what was sold.
    """
    rng = np.random.default_rng(seed)
    sale, sku = float(correlation.get("sale", 0.0)), float(correlation.get("sku", 0.0))
    own = float(np.sqrt(max(1.0 - sale - sku, 0.0)))
    reach = float(np.sqrt(sale + sku)) * BOTH
    cells = [[_Cell.of(log_quantiles[i, r], seen, i, r, reach, own) for r in range(seen.sold.shape[1])]
             for i in range(len(seen.sold))]  # fmt: skip
    by_sku = [np.sum([cell.evidence for cell in row], axis=0) for row in cells]
    at = np.sqrt(sale) * SHARED[:, None] + np.sqrt(sku) * SHARED[None, :]  # of u, by g and h
    normal = -(SHARED**2) / 2
    joint = [normal[None, :] + _at(reach, own_evidence, at) for own_evidence in by_sku]
    g = _draw(normal + np.sum([logsumexp(own_joint, axis=1) for own_joint in joint], axis=0), rng.random(count))
    out = np.empty((*seen.sold.shape, count), dtype=np.int64)
    for i, row in enumerate(cells):
        h = _draw(joint[i][g], rng.random(count))
        for r, cell in enumerate(row):
            out[i, r] = cell.draw(at[g, h], rng.random(count))
    return out


def split_ahead(demand: Ints, seen: Seen, later: Floats, seed: int) -> tuple[Ints, Ints]:
    """Demand from now on: until a moment, and after it; both of shape (skus, regions, scenarios).

    Args:
        demand: of the whole sale (`draw_demand`).
        seen: figures until now.
        later: expected share of the whole sale's demand after that moment, shape (skus, regions).
        seed: of the draws.
    """
    rng = np.random.default_rng([seed, 1])
    open_share = np.maximum(1.0 - seen.stocked, 1e-9)
    chance = np.clip(seen.ahead / open_share, 0.0, 1.0)
    ahead = rng.binomial(demand - seen.sold[:, :, None], chance[:, :, None])
    part = np.clip(later / np.maximum(seen.ahead, 1e-9), 0.0, 1.0)
    after = rng.binomial(ahead, np.broadcast_to(part[:, :, None], ahead.shape))
    return ahead - after, after


@dataclass(frozen=True)
class _Cell:
    """One cell: evidence over the grid of u = sqrt(a) g + sqrt(b) h, demand and log posterior over (u, e)."""

    reach: Floats
    demand: Ints
    posterior: Floats
    evidence: Floats

    @staticmethod
    def of(quantiles: Floats, seen: Seen, i: int, r: int, reach: Floats, own: float) -> _Cell:
        z = reach[:, None] + own * OWN[None, :]
        low, mid, high = quantiles
        spread = np.where(z < 0, mid - low, high - mid) / Z90
        units = np.maximum(np.rint(np.minimum(np.exp(mid + spread * z) - 0.5, MOST)), 0.0)
        sold = float(seen.sold[i, r])
        told = log_likelihood(units, sold, float(seen.stocked[i, r]))
        posterior = told + _own_prior()[None, :]
        whole = np.maximum(units, sold).astype(np.int64)
        return _Cell(reach, whole, posterior, np.asarray(logsumexp(posterior, axis=1), dtype=np.float64))

    def draw(self, u: Floats, chance: Floats) -> Ints:
        """Demand of each scenario given u; its own shock is drawn by the chances given."""
        step = self.reach[1] - self.reach[0]
        row = np.zeros(len(u), dtype=np.int64)
        if step > 0:
            row = np.clip(np.rint((u - self.reach[0]) / step), 0, len(self.reach) - 1).astype(np.int64)
        return np.asarray(self.demand[row, _draw(self.posterior[row], chance)], dtype=np.int64)


def log_likelihood(demand: Floats, sold: float, stocked: float) -> Floats:
    """Log chance of `sold` units while a share `stocked` of the curve had stock, up to a constant; shape as `demand`.

    Below the units sold it falls with every unit that is missing, so that a surprise points upwards.
    """
    share = min(max(stocked, 0.0), 1.0 - 1e-6)
    whole = np.maximum(demand, sold)
    rest = whole - sold
    if share <= 0.0 and sold <= 0:
        return np.zeros_like(demand)
    told = (
        gammaln(whole + 1.0) - gammaln(rest + 1.0) + gammaln(rest + TRUST * (1.0 - share)) - gammaln(whole + TRUST)
    )  # fmt: skip
    short = np.maximum(sold - demand, 0.0) / np.sqrt(max(sold, 1.0))
    return np.asarray(told - SHORT * short, dtype=np.float64)


def _own_prior() -> Floats:
    """Log weights of a cell's own shock: normal, with a few cells far wider than that."""
    usual = np.log(1.0 - WILD) - OWN**2 / 2
    return np.asarray(np.logaddexp(usual, np.log(WILD / WILDER) - (OWN / WILDER) ** 2 / 2), dtype=np.float64)


def _at(grid: Floats, values: Floats, where: Floats) -> Floats:
    """Values between the nodes of a grid; where nothing is shared, there is one value."""
    if grid[-1] <= grid[0]:
        return np.full(where.shape, values[0])
    return np.asarray(np.interp(where, grid, values), dtype=np.float64)


def _draw(weights: Floats, chance: Floats) -> Ints:
    """Index drawn by log weights: one row of them for all chances, or one for each."""
    rows = np.atleast_2d(weights)
    shares = np.exp(rows - rows.max(axis=1, keepdims=True))
    sums = np.cumsum(shares, axis=1)
    return np.asarray((sums < chance[:, None] * sums[:, -1:]).sum(axis=1), dtype=np.int64)
