"""The price-set programme against every combination of prices, its bound, and coordinate ascent against it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ml.allocation.joint import ascend
from ml.allocation.price_set import at_sum, best_price_set, price_sums, relaxed_value, spacing


class _Sale:
    """SIMULATED offers of the paper's model: demand falls with the own price and grows with the sum of all prices."""

    def __init__(self, seed: int, offers: int, prices: int, *, even: bool = True) -> None:
        rng = np.random.default_rng(seed)
        ladder = np.linspace(20.0, 20.0 + 5.0 * (prices - 1), prices)
        shift = 5.0 * rng.integers(0, 4, (offers, 1)) if even else rng.uniform(0.0, 9.0, (offers, prices))
        self.prices = np.sort(ladder + shift, axis=1)
        self.size, self.slope = rng.uniform(50.0, 150.0, (offers, 1)), rng.uniform(1.0, 2.2, (offers, 1))
        self.cross = rng.uniform(0.1, 0.5) / offers
        self.stock = rng.uniform(30.0, 120.0, (offers, 1))

    def values(self, price_sum: float) -> np.ndarray:
        """Revenue at every price for a price sum: stock caps what is sold."""
        demand = np.maximum(self.size - self.slope * self.prices + self.cross * price_sum, 0.0)
        return self.prices * np.minimum(demand, self.stock)

    def revenue(self, chosen: np.ndarray) -> float:
        every = np.arange(len(chosen))
        return float(self.values(float(self.prices[every, chosen].sum()))[every, chosen].sum())

    def best(self) -> float:
        """Of every combination of prices."""
        offers, prices = self.prices.shape
        return max(self.revenue(np.array(c)) for c in itertools.product(range(prices), repeat=offers))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("even", [True, False])
def test_it_finds_what_trying_every_combination_finds(seed: int, even: bool) -> None:
    sale = _Sale(seed, offers=4 if even else 3, prices=4 if even else 3, even=even)
    assert (spacing(sale.prices) is not None) == even
    found = best_price_set(sale.prices, sale.values)
    assert found.value == pytest.approx(sale.best())
    assert sale.revenue(found.chosen) == pytest.approx(found.value)
    assert sale.prices[np.arange(len(found.chosen)), found.chosen].sum() == pytest.approx(found.price_sum)
    assert found.solved < len(price_sums(sale.prices))  # the bound spares most sums


@pytest.mark.parametrize("seed", range(8))
def test_knapsack_and_highs_agree_and_the_bound_holds_at_every_sum(seed: int) -> None:
    sale = _Sale(100 + seed, offers=5, prices=4)
    every = np.arange(5)
    for k in price_sums(sale.prices):
        table = sale.values(k)
        exact = table[every, at_sum(table, sale.prices, k, 5.0)].sum()
        again = table[every, at_sum(table, sale.prices, k, None)].sum()
        assert exact == pytest.approx(again)
        short = relaxed_value(table, sale.prices, k) - exact
        assert -1e-6 <= short <= (table.max(axis=1) - table.min(axis=1)).max() + 1e-6


def test_a_sum_that_no_prices_have_is_refused() -> None:
    prices = np.array([[10.0, 12.0], [10.0, 14.0]])
    for step in (2.0, None):
        with pytest.raises(ValueError, match=r"sums to 28"):
            at_sum(np.ones((2, 2)), prices, 28.0, step)


def test_sums_are_counted_once() -> None:
    assert price_sums(np.array([[1.0, 2.0], [1.0, 2.0]])) == pytest.approx([2.0, 3.0, 4.0])
    assert spacing(np.array([[5.0], [7.0]])) == 1.0
    assert spacing(np.array([[5.0, 7.5], [1.0, 6.0]])) == pytest.approx(2.5)


@pytest.mark.parametrize("seed", range(12))
def test_coordinate_ascent_is_near_the_exact_price_set(seed: int) -> None:
    """Twelve offers have millions of combinations: too many to try, few sums to solve."""
    sale = _Sale(200 + seed, offers=12, prices=5)

    def values(i: int, profile: np.ndarray) -> np.ndarray:
        trials = np.tile(profile, (5, 1))
        trials[:, i] = np.arange(5)
        return np.array([sale.revenue(trial) for trial in trials])

    middle = np.full(12, 2)
    found = sale.revenue(ascend(middle, values))
    exact = best_price_set(sale.prices, sale.values).value
    assert sale.revenue(middle) <= found <= exact + 1e-6
    assert found >= 0.93 * exact
