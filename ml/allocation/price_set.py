"""The best set of prices where demand depends on an offer's own price and the sum of all prices, exactly.

Ferreira, Lee and Simchi-Levi (2016): for a price sum k, z_k = max sum_ij v_ijk x_ij with one price an offer and
sum_ij p_ij x_ij = k, v_ijk the revenue or profit of offer i at its price j when the prices sum to k. The linear
relaxation bounds it by 0 <= LP_k - z_k <= max_i (max_j v_ijk - min_j v_ijk), so sums are taken in order of LP_k until
what has been found is at least the next one. On an equally spaced ladder z_k is a knapsack, exact in O(N M K).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CENT = 1e-6  # price sums nearer than this are one


@dataclass(frozen=True)
class PriceSet:
    """The best prices: index of each offer's price, their sum, the value; how many sums had to be solved."""

    chosen: Ints
    price_sum: float
    value: float
    solved: int


def best_price_set(prices: Floats, values: Callable[[float], Floats]) -> PriceSet:
    """The best price of each offer over all price sums.

    Args:
        prices: ladders, shape (offers, prices).
        values: revenue or profit of each offer at each of its prices for a price sum, same shape.
    """
    step = spacing(prices)
    sums = price_sums(prices)
    tables = [values(k) for k in sums]
    bounds = np.array([relaxed_value(table, prices, k) for table, k in zip(tables, sums, strict=True)])
    best: tuple[float, Ints, float] | None = None
    solved = 0
    for at in np.argsort(-bounds, kind="stable"):
        if best is not None and best[0] >= bounds[at] - CENT:
            break
        chosen = at_sum(tables[at], prices, sums[at], step)
        solved += 1
        value = float(tables[at][np.arange(len(chosen)), chosen].sum())
        if best is None or value > best[0]:
            best = value, chosen, sums[at]
    if best is None:
        raise ValueError("a price set needs at least one offer with a price")
    return PriceSet(best[1], best[2], best[0], solved)


def spacing(prices: Floats) -> float | None:
    """The step of which every offer's prices are multiples apart; None where there is none."""
    apart = np.abs(prices - prices.min(axis=1, keepdims=True)).ravel()
    apart = apart[apart > CENT]
    if not len(apart):
        return 1.0
    step = float(apart.min())
    return step if np.abs(apart / step - np.rint(apart / step)).max() < CENT else None


def price_sums(prices: Floats) -> list[float]:
    """All sums that one price an offer can have, rising: sums of partial sums, so that equal ones count once."""
    sums = np.zeros(1)
    for own in prices:
        more = (sums[:, None] + own).ravel()
        sums = more[np.unique(np.rint(more / CENT), return_index=True)[1]]
    return [float(k) for k in sums]


def at_sum(values: Floats, prices: Floats, price_sum: float, step: float | None) -> Ints:
    """The best price of each offer where prices have this sum, shape (offers,).

    Args:
        step: of equally spaced ladders (`spacing`), solved as a knapsack; None: as an integer programme.
    """
    return _programme(values, prices, price_sum) if step is None else _knapsack(values, prices, price_sum, step)


def _knapsack(values: Floats, prices: Floats, price_sum: float, step: float) -> Ints:
    """Dynamic programme over offers and steps above the lowest prices."""
    steps = np.rint((prices - prices.min(axis=1, keepdims=True)) / step).astype(np.int64)
    most = round((price_sum - float(prices.min(axis=1).sum())) / step)
    reach = np.full(most + 1, -np.inf)
    reach[0] = 0.0
    taken = np.zeros((len(values), most + 1), dtype=np.int64)
    for i, (own, worth) in enumerate(zip(steps, values, strict=True)):
        options = np.full((len(own), most + 1), -np.inf)
        for j, (ahead, gain) in enumerate(zip(own, worth, strict=True)):
            if ahead <= most:
                options[j, ahead:] = reach[: most + 1 - ahead] + gain
        taken[i], reach = options.argmax(axis=0), options.max(axis=0)
    if not np.isfinite(reach[most]):
        raise ValueError(f"no choice of prices sums to {price_sum}")
    chosen, left = np.zeros(len(values), dtype=np.int64), most
    for i in range(len(values) - 1, -1, -1):
        chosen[i] = taken[i, left]
        left -= int(steps[i, chosen[i]])
    return chosen


def _rows(prices: Floats) -> Floats:
    """One row an offer (a single price each) and the row of the price sum, over prices in flat order."""
    offers, ladder = prices.shape
    return np.vstack([np.kron(np.eye(offers), np.ones(ladder)), prices.ravel()])


def relaxed_value(values: Floats, prices: Floats, price_sum: float) -> float:
    """LP_k: the value where prices may be mixed, an upper bound on that of every choice with this sum."""
    from scipy.optimize import linprog

    right = np.append(np.ones(len(prices)), price_sum)
    answer = linprog(-values.ravel(), A_eq=_rows(prices), b_eq=right, bounds=(0, 1), method="highs")
    return float(-answer.fun)


def _programme(values: Floats, prices: Floats, price_sum: float) -> Ints:
    """IP_k by HiGHS."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    offers = len(prices)
    slack = np.append(np.zeros(offers), CENT * offers)
    right = np.append(np.ones(offers), price_sum)
    answer = milp(
        -values.ravel(), integrality=np.ones(values.size), bounds=Bounds(0, 1),
        constraints=LinearConstraint(_rows(prices), right - slack, right + slack), options={"mip_rel_gap": 0.0},
    )  # fmt: skip
    if answer.x is None:
        raise ValueError(f"no choice of prices sums to {price_sum}")
    return np.asarray(answer.x.reshape(prices.shape).argmax(axis=1), dtype=np.int64)
