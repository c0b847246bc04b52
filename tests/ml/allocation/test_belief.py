"""The belief about a running sale against other ways of finding it, and against the truth of simulated sales."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ml.allocation.belief import Seen, draw_demand, log_likelihood, split_ahead
from ml.allocation.forecast import Z90

COMMON = {"sale": 0.15, "sku": 0.35}


def _quantiles(median: np.ndarray, spread: float = 0.6) -> np.ndarray:
    log = np.log(median + 0.5)
    return np.stack([log - spread, log, log + spread], axis=2)


def _seen(sold: np.ndarray, stocked: float | np.ndarray, ahead: float | np.ndarray) -> Seen:
    return Seen(sold.astype(np.int64), np.broadcast_to(stocked, sold.shape), np.broadcast_to(ahead, sold.shape))


def test_nothing_seen_gives_the_plans_scenarios() -> None:
    median = np.array([[20.0, 60.0, 5.0], [200.0, 40.0, 90.0]])
    drawn = draw_demand(_quantiles(median), _seen(np.zeros((2, 3)), 0.0, 1.0), COMMON, 20_000, 1)
    low, mid, high = np.quantile(drawn + 0.5, (0.1, 0.5, 0.9), axis=2)
    assert np.log(mid) == pytest.approx(np.log(median + 0.5), abs=0.12)
    assert np.log(high / mid) == pytest.approx(0.6, abs=0.12)
    assert np.log(mid / low)[median > 10] == pytest.approx(0.6, abs=0.12)
    logs = np.corrcoef(np.log(drawn + 0.5).reshape(6, -1))
    assert logs[3, 5] == pytest.approx(0.5, abs=0.06)  # regions of one SKU: sale and SKU
    assert logs[0, 4] == pytest.approx(0.15, abs=0.06)  # two SKUs: the sale alone


def test_it_agrees_with_weighting_the_plans_own_scenarios() -> None:
    """Importance sampling is exact where few cells speak: another method, the same posterior."""
    median = np.array([[30.0, 50.0], [40.0, 25.0]])
    sold, stocked = np.array([[22, 20], [14, 6]]), np.array([[0.5, 0.5], [0.25, 0.5]])
    quantiles = _quantiles(median)
    drawn = draw_demand(quantiles, _seen(sold, stocked, 0.5), COMMON, 20_000, 3)
    rng = np.random.default_rng(4)
    count = 400_000
    z = (np.sqrt(0.15) * rng.standard_normal((1, 1, count)) + np.sqrt(0.35) * rng.standard_normal((2, 1, count))
         + np.sqrt(0.5) * rng.standard_normal((2, 2, count)))  # fmt: skip
    units = np.maximum(np.rint(np.exp(quantiles[:, :, 1, None] + 0.6 / Z90 * z) - 0.5), 0)
    told = np.zeros(count)
    for i, r in np.ndindex(2, 2):
        own = np.where(units[i, r] >= sold[i, r], log_likelihood(units[i, r], sold[i, r], stocked[i, r]), -np.inf)
        told = told + own
    weight = np.exp(told - told.max())
    expected = (units * weight).sum(axis=2) / weight.sum()
    assert drawn.mean(axis=2) == pytest.approx(expected, rel=0.04)


def test_the_likelihood_is_the_beta_binomials() -> None:
    demand = np.array([20.0, 30.0, 45.0])
    told = log_likelihood(demand, 12, 0.4)
    exact = stats.betabinom.logpmf(12, demand.astype(int), 40.0, 60.0)
    assert told - told[0] == pytest.approx(exact - exact[0], abs=1e-9)
    assert log_likelihood(np.array([5.0, 11.0]), 12, 0.4)[0] < log_likelihood(np.array([5.0, 11.0]), 12, 0.4)[1]


def test_a_sold_out_cell_is_not_read_as_low_demand() -> None:
    """Twenty units gone in a fifth of the curve point to a hundred, although no more were sold in the time after."""
    median, sold = np.full((1, 1), 40.0), np.full((1, 1), 20)
    gone = draw_demand(_quantiles(median), _seen(sold, 0.2, 0.5), COMMON, 4000, 5)
    as_if_open = draw_demand(_quantiles(median), _seen(sold, 0.5, 0.5), COMMON, 4000, 5)
    assert np.median(gone) > 60 > 45 > np.median(as_if_open)
    soon, later = split_ahead(gone, _seen(sold, 0.2, 0.5), np.full((1, 1), 0.4), 5)
    # of what was not served 5/8 is still to come: the rest came to an empty shelf and is lost
    assert (soon + later).mean() == pytest.approx(0.625 * (gone - 20).mean(), rel=0.02)
    assert later.mean() == pytest.approx(0.8 * (soon + later).mean(), rel=0.03)


def test_a_neighbour_that_sells_well_raises_a_cell_of_which_nothing_is_known() -> None:
    median = np.full((1, 2), 40.0)
    sold, stocked = np.array([[40, 0]]), np.array([[0.5, 0.0]])
    drawn = draw_demand(_quantiles(median), _seen(sold, stocked, 0.5), COMMON, 4000, 6)
    assert np.median(drawn[0, 1]) > 45


def test_far_beyond_the_plan_is_believed_in_the_end() -> None:
    drawn = draw_demand(_quantiles(np.full((1, 1), 10.0)), _seen(np.full((1, 1), 150), 0.5, 0.5), COMMON, 2000, 7)
    assert (drawn >= 150).all() and np.median(drawn) > 200


def test_belief_moves_to_the_truth_and_covers_it() -> None:
    """Simulated sales drawn from the plan's own spread, half their stock too short, seen after 40 % of the curve."""
    rng = np.random.default_rng(8)
    shape, inside, before, after = (6, 4), 0, 0.0, 0.0
    for trial in range(30):
        median = rng.uniform(8, 60, shape)
        z = (np.sqrt(0.15) * rng.standard_normal() + np.sqrt(0.35) * rng.standard_normal((6, 1))
             + np.sqrt(0.5) * rng.standard_normal(shape))  # fmt: skip
        total = np.rint(np.exp(np.log(median + 0.5) + 0.6 / Z90 * z) - 0.5).clip(0).astype(int)
        stock = np.where(rng.random(shape) < 0.5, np.ceil(total * rng.uniform(0.1, 0.6, shape)), 10**6).astype(int)
        sold, stocked = np.zeros(shape, dtype=int), np.full(shape, 0.4)
        for cell in np.ndindex(shape):
            came = np.sort(rng.random(total[cell]))
            came = came[came < 0.4]
            sold[cell] = min(len(came), stock[cell])
            if len(came) >= stock[cell]:
                stocked[cell] = came[stock[cell] - 1]
        drawn = draw_demand(_quantiles(median), _seen(sold, stocked, 0.6), COMMON, 500, trial)
        low, mid, high = np.quantile(drawn, (0.1, 0.5, 0.9), axis=2)
        inside += int(((low <= total) & (total <= high)).sum())
        before += np.abs(median - total).sum()
        after += np.abs(mid - total).sum()
    assert 0.74 < inside / (30 * 24) < 0.93
    assert after < 0.6 * before


def test_the_same_seed_gives_the_same_belief() -> None:
    seen = _seen(np.full((2, 2), 3), 0.3, 0.7)
    first, again, other = (draw_demand(_quantiles(np.full((2, 2), 12.0)), seen, COMMON, 50, s) for s in (1, 1, 2))
    assert (first == again).all() and (first != other).any()
