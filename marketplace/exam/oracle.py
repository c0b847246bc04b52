"""Plans of planners who know what nobody can: the true distribution of demand, or the very customers who will come.

With the actions fixed, expected profit is concave in every cell's units and its limits are linear: a linear programme
over unit steps is exact but for rounding, and prices the limits. At these prices each SKU's action is bettered in
turn, its rivals' demand moving with it (coordinate ascent); this goes on from several starts. So the figure is the
best plan found, not a proven bound; every start is also an answer, so that no start can beat it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from marketplace.choice import Floats, Ints
from marketplace.exam.arrivals import Arrivals
from marketplace.exam.table import Action, Sale

ROUNDS = 3
SWEEPS = 3


@dataclass(frozen=True)
class Prices:
    """What one more unit of each limit is worth: stock and promotion budget (per cent of money), space, supply."""

    stock: float
    promotion: float
    space: Floats
    supply: Floats


@dataclass(frozen=True)
class Answer:
    """A plan: actions by SKU, units (s, r), its mean profit in the scenarios it was made for (cents).

    `served` says whether minimum service was held; where it cannot be with this supply, none is asked.
    """

    chosen: list[Action]
    units: Ints
    profit: float
    served: bool = True


def best_plan(sale: Sale, arrivals: Arrivals, starts: list[list[Action]]) -> Answer:
    """The best plan found for these customers, from every start.

    Args:
        sale: the sale.
        arrivals: customers it is made for: many repetitions of the true distribution, or the one that will come.
        starts: actions to begin with.
    """
    answers = [_climb(sale, arrivals, start) for start in starts]
    return max(answers, key=lambda answer: answer.profit)


def _climb(sale: Sale, arrivals: Arrivals, start: list[Action]) -> Answer:
    best, prices = units_for(sale, arrivals, start)
    for _ in range(ROUNDS):
        chosen = _sweep(sale, arrivals, best.chosen, prices)
        if chosen == best.chosen:
            break
        found, prices = units_for(sale, arrivals, chosen)
        if found.profit <= best.profit:
            break
        best = found
    return best


def _sweep(sale: Sale, arrivals: Arrivals, start: list[Action], prices: Prices) -> list[Action]:
    chosen, value = list(start), priced_value(sale, arrivals, start, prices)
    for _ in range(SWEEPS):
        moved = False
        for i, own in enumerate(sale.actions):
            for action in own:
                if action == chosen[i]:
                    continue
                trial = [*chosen[:i], action, *chosen[i + 1 :]]
                worth = priced_value(sale, arrivals, trial, prices)
                if worth > value + 1e-6:
                    chosen, value, moved = trial, worth, True
        if not moved:
            break
    return chosen


def priced_value(sale: Sale, arrivals: Arrivals, chosen: list[Action], prices: Prices) -> float:
    """Most profit at the limits' prices, cell by cell: a newsvendor in each (cents)."""
    demand = np.sort(arrivals.demand(sale.means(chosen)), axis=2)
    margin = sale.margins(chosen) - prices.promotion * sale.discounts(chosen)[:, None]
    holding = sale.holding + prices.stock * sale.cost[:, None] + prices.space[None, :] + prices.supply[:, None]
    count = demand.shape[2]
    share = np.clip(1.0 - holding / np.maximum(margin, 1e-9), 0.0, 1.0)
    place = np.ceil(share * count - 1e-9).astype(np.int64) - 1
    units = np.where(place >= 0, np.take_along_axis(demand, np.maximum(place, 0)[..., None], axis=2)[..., 0], 0)
    sales = np.minimum(units[:, :, None], demand).mean(axis=2)
    return float((margin * sales - holding * units).sum())


def units_for(sale: Sale, arrivals: Arrivals, chosen: list[Action]) -> tuple[Answer, Prices]:
    """Best units for given actions, and the limits' prices."""
    demand = arrivals.demand(sale.means(chosen))
    discount = sale.discounts(chosen)
    cell, step, sells = _steps(demand, sale.supply)
    s, r = cell // len(sale.space), cell % len(sale.space)
    gain = sale.margins(chosen)[s, r] * sells - sale.holding[s, r]
    least = _least(sale, demand)
    rows = _rows(sale, s, r, discount[s] * sells)
    limits = np.concatenate([[sale.stock_budget, sale.promotion_budget], sale.space, sale.supply])
    lower = (step < least[s, r]).astype(np.float64)
    solved = linprog(-gain, A_ub=rows, b_ub=limits, bounds=np.column_stack([lower, np.ones(len(gain))]), method="highs")
    served = bool(solved.success)
    if not served:  # a service that cannot be held with this supply is held as far as it goes: none is asked
        solved = linprog(-gain, A_ub=rows, b_ub=limits, bounds=(0.0, 1.0), method="highs")
    duals = -np.asarray(solved.ineqlin.marginals)
    regions = len(sale.space)
    prices = Prices(float(duals[0]), float(duals[1]), duals[2 : 2 + regions], duals[2 + regions :])
    taken = _whole(solved.x, gain, step, rows, limits)
    units = np.bincount(cell[taken], minlength=demand.shape[0] * regions).reshape(demand.shape[:2])
    return Answer(chosen, units, float(gain[taken].sum()), served), prices


def _steps(demand: Ints, supply: Ints) -> tuple[Ints, Ints, Floats]:
    """One entry a unit that could be sent: its cell, its number in it (from 0), the chance that it sells."""
    flat = demand.reshape(-1, demand.shape[2])
    most = np.minimum(flat.max(axis=1), np.repeat(supply, demand.shape[1]))
    cell = np.repeat(np.arange(len(flat)), most)
    step = np.arange(len(cell)) - np.repeat(np.cumsum(most) - most, most)
    sells = (flat[cell] > step[:, None]).mean(axis=1)
    return cell, step, np.asarray(sells, dtype=np.float64)


def _least(sale: Sale, demand: Ints) -> Ints:
    """Units that serve each region's least share of mean demand."""
    least = np.zeros(demand.shape[:2], dtype=np.int64)
    wanted = sale.service[None, :] * demand.mean(axis=2)
    for q in range(int(demand.max(initial=0))):
        short = np.minimum(demand, q).mean(axis=2) < wanted - 1e-9
        if not short.any():
            break
        least += short
    return np.minimum(least, sale.supply[:, None])


def _rows(sale: Sale, s: Ints, r: Ints, discount: Floats) -> sparse.csr_matrix:
    """Use of each limit by every step."""
    n, index = len(s), np.arange(len(s))
    regions, skus = len(sale.space), len(sale.supply)
    data = np.concatenate([sale.cost[s], discount, np.ones(2 * n)])
    row = np.concatenate([np.zeros(n), np.ones(n), 2 + r, 2 + regions + s]).astype(np.int64)
    return sparse.csr_matrix((data, (row, np.tile(index, 4))), shape=(2 + regions + skus, n))


def _whole(x: Floats, gain: Floats, step: Ints, rows: sparse.csr_matrix, limits: Floats) -> Ints:
    """Steps taken whole: all full ones, then those left that gain and still fit, best first.

    A unit follows those before it in its cell: a later one gives away less, but it is the earlier that would sell.
    """
    taken = x > 1.0 - 1e-7
    room = limits - rows @ taken.astype(np.float64)
    columns = rows.tocsc()
    for k in sorted(np.flatnonzero(~taken & (gain > 0)), key=lambda k: -gain[k]):
        part = slice(columns.indptr[k], columns.indptr[k + 1])
        row, use = columns.indices[part], columns.data[part]
        if step[k] and not taken[k - 1]:
            continue
        if (use <= room[row] + 1e-9).all():
            taken[k] = True
            room[row] -= use
    return np.flatnonzero(taken)
