"""Solving the allocation: Lagrange multipliers for what couples SKUs, greedy units within each, a certified gap.

Priced at multipliers (stock budget, promotion budget, space by region) the problem falls apart into SKUs. For each
action a SKU's units are chosen by marginal value, which is optimal since values are concave and separable; supply
is one more limit of the same kind. The multipliers come from column generation (Dantzig and Wolfe 1960): a small
linear programme over the SKU plans found so far. Every pricing round gives an upper bound, the Lagrangian dual
value; the best bound less the plan's value is the gap that is reported with the plan.

The plan itself: at the multipliers, actions are taken from the SKU's best answer, then units are handed out greedily
within all limits, then single SKUs change their action while that helps.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.allocation.cells import make_cells
from ml.allocation.conflicts import least_choices
from ml.allocation.master import master_programme
from ml.allocation.problem import Choice, Problem, Tables, relative_gap, use_of, value_of, with_slack
from ml.allocation.units import solve_cells

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST_ROUNDS = 80
TOLERANCE = 1e-6  # relative distance of bound and linear programme at which pricing stops
LOCAL_ROUNDS = 3


@dataclass(frozen=True)
class Solution:
    """A feasible plan with its certificate. Money is expected profit over the problem's scenarios.

    `multipliers` price one unit of each coupling row (`Problem.limit_names`); `supply_prices` one more unit of each
    SKU's supply; `gap` is (bound - value) / max(|bound|, 1).
    """

    choices: list[Choice]
    value: float
    bound: float
    multipliers: Floats
    supply_prices: Floats
    use: Floats

    @property
    def gap(self) -> float:
        """Relative distance of the plan's value to the upper bound, at least 0."""
        return relative_gap(self.value, self.bound)


def solve(problem: Problem, *, time_limit_s: float = np.inf) -> Solution:
    """The best plan found and an upper bound on every plan.

    Args:
        time_limit_s: after so many seconds the best plan so far is the answer, with its gap; with a limit the same
            problem need not give the same plan.

    Raises InputError naming the rows that conflict where minimum service does not fit.
    """
    until = time.monotonic() + time_limit_s
    first = least_choices(problem)
    if all(len(sku.actions) == 1 for sku in problem.skus):
        return _at_fixed_offers(problem, time_limit_s)
    multipliers, bound, columns = _price(problem, first, until)
    return _solution(problem, _round(problem, multipliers, columns, first, until), bound, multipliers)


def _at_fixed_offers(problem: Problem, time_limit_s: float) -> Solution:
    """One lawful offer a SKU: nothing is left to choose but units, which `units.solve_cells` does at any size."""
    skus = problem.skus
    demand = np.concatenate([sku.demand[0] for sku in skus])
    cells = make_cells(
        demand, len(skus), supply=np.array([s.supply_units for s in skus]), limits=problem.limits,
        price=np.array([s.actions[0].price for s in skus]), unit_cost=np.array([s.unit_cost for s in skus]),
        salvage=np.array([s.salvage_value for s in skus]), list_price=np.array([s.list_price for s in skus]),
        shipping=np.array([r.shipping_cost for r in problem.regions]),
        min_service=np.array([r.min_service for r in problem.regions]),
    )  # fmt: skip
    plan = solve_cells(cells, target=TOLERANCE, time_limit_s=time_limit_s)
    choices = [Choice(0, units) for units in plan.units.reshape(len(skus), len(problem.regions))]
    return _solution(problem, choices, plan.bound, plan.multipliers)


def replan(problem: Problem, solution: Solution, actions: list[int]) -> Solution | None:
    """The plan with other actions, one a SKU, and units handed out anew; None where minimum service does not fit."""
    choices = _fill(problem, actions, solution.multipliers)
    return None if choices is None else _solution(problem, choices, solution.bound, solution.multipliers)


def _solution(problem: Problem, choices: list[Choice], bound: float, multipliers: Floats) -> Solution:
    value = _value(problem, choices)
    supply = np.array([_supply_price(problem, i, c, multipliers) for i, c in enumerate(choices)])
    return Solution(choices, value, max(bound, value), multipliers, supply, _total_use(problem, choices))


def _total_use(problem: Problem, choices: list[Choice]) -> Floats:
    parts = zip(problem.skus, problem.tables, choices, strict=True)
    return np.asarray(sum(use_of(s, t, c) for s, t, c in parts), dtype=np.float64)


def best_response(problem: Problem, i: int, multipliers: Floats, action: int | None = None) -> tuple[Choice, float]:
    """The SKU's best part at given multipliers, and its priced value (before the limits' own worth).

    Args:
        action: look at this action only.
    """
    sku, tables = problem.skus[i], problem.tables[i]
    stock, promotion, space = multipliers[0], multipliers[1], multipliers[2:]
    cost = tables.holding + stock * sku.unit_cost + space
    best: tuple[Choice, float] | None = None
    for a in range(len(sku.actions)) if action is None else (action,):
        if tables.least[a].sum() > sku.supply_units:
            continue
        gain = tables.margin[a] - promotion * max(float(tables.discount[a]), 0.0)
        units = _units(tables, a, gain, cost, sku.supply_units)
        value = gain * float(tables.sales[a, np.arange(len(units)), units].sum()) - float((cost * units).sum())
        if best is None or value > best[1]:
            best = Choice(a, units), value
    if best is None:
        least = Choice(action or 0, tables.least[action or 0])
        return least, -np.inf
    return best


def _units(tables: Tables, a: int, gain: float, cost: Floats, supply: int) -> Ints:
    """Units by region: every unit whose marginal value is positive, the best `supply` of them."""
    marginal = gain * tables.survival[a] - cost[:, None]
    least = tables.least[a]
    # Marginal values fall with the unit, so the units taken are the first ones; minimum service is always taken.
    units = np.maximum((marginal > 0).sum(axis=1), least)
    excess = int(units.sum() - supply)
    if excess > 0:
        tail = [(marginal[r, q], r) for r in range(len(units)) for q in range(least[r], units[r])]
        for _, r in sorted(tail)[:excess]:
            units[r] -= 1
    return np.asarray(units, dtype=np.int64)


_Columns = list[list[tuple[Choice, float, Floats]]]


def _price(problem: Problem, first: list[Choice], until: float) -> tuple[Floats, float, _Columns]:
    """Multipliers, the best dual bound, and the SKU plans met on the way."""
    columns: _Columns = [
        [(c, value_of(t, c), use_of(s, t, c))] for s, t, c in zip(problem.skus, problem.tables, first, strict=True)
    ]
    finite = np.isfinite(problem.limits)
    limits = np.where(finite, problem.limits, 0.0)
    multipliers, best = np.zeros(len(limits)), np.inf
    kept = multipliers
    for _ in range(MOST_ROUNDS):
        bound = float(multipliers @ limits)
        for i in range(len(problem.skus)):
            choice, value = best_response(problem, i, multipliers)
            bound += value
            columns[i].append(
                (choice, value_of(problem.tables[i], choice), use_of(problem.skus[i], problem.tables[i], choice))
            )
        if bound < best:
            best, kept = bound, multipliers
        multipliers, master = master_programme(columns, limits, finite)
        if best - master <= TOLERANCE * max(abs(best), 1.0) or time.monotonic() > until:
            break
    return kept, best, columns


def _round(problem: Problem, multipliers: Floats, columns: _Columns, first: list[Choice], until: float) -> list[Choice]:
    """A feasible plan near the multipliers: greedy units for the priced actions, then local changes of action."""
    actions = [best_response(problem, i, multipliers)[0].action for i in range(len(problem.skus))]
    best = _fill(problem, actions, multipliers) or first
    value = _value(problem, best)
    tried = [{a} for a in actions]
    for i, own in enumerate(columns):  # only actions that some prices made best are worth trying
        tried[i] |= {column[0].action for column in own}
    for _ in range(LOCAL_ROUNDS):
        improved = False
        for i in range(len(problem.skus)):
            if time.monotonic() > until:
                return best
            for action in sorted(tried[i]):
                if action == best[i].action:
                    continue
                other = [c.action for c in best]
                other[i] = action
                plan = _fill(problem, other, multipliers)
                if plan is not None and _value(problem, plan) > value + 1e-9:
                    best, value, improved = plan, _value(problem, plan), True
        if not improved:
            break
    return best


def _value(problem: Problem, choices: list[Choice]) -> float:
    return sum(value_of(t, c) for t, c in zip(problem.tables, choices, strict=True))


def _fill(problem: Problem, actions: list[int], multipliers: Floats) -> list[Choice] | None:
    """Units for fixed actions: in order of priced marginal value while all limits hold; None where none fits.

    A second pass in order of plain marginal value uses what the prices left over.
    """
    least = [problem.tables[i].least[a].copy() for i, a in enumerate(actions)]
    if any(units.sum() > sku.supply_units for units, sku in zip(least, problem.skus, strict=True)):
        return None
    choices = [Choice(a, units) for a, units in zip(actions, least, strict=True)]
    used = _total_use(problem, choices)
    room = with_slack(problem.limits)
    if (used > room).any():
        return None
    offers = _marginals(problem, actions, multipliers)
    for order in (np.argsort(-offers.priced, kind="stable"), np.argsort(-offers.plain, kind="stable")):
        used = _hand_out(problem, choices, offers, order, used, room)
    return choices


@dataclass(frozen=True)
class _Offers:
    """Every unit that could be placed, as flat arrays: SKU, region, its number in the cell, values and uses."""

    sku: Ints
    region: Ints
    number: Ints
    priced: Floats
    plain: Floats
    money: Floats
    promotion: Floats


def _marginals(problem: Problem, actions: list[int], multipliers: Floats) -> _Offers:
    parts: list[list[npt.NDArray[np.float64]]] = []
    for i, a in enumerate(actions):
        sku, tables = problem.skus[i], problem.tables[i]
        regions, most = tables.survival.shape[1:]
        r, q = (index.ravel() for index in np.indices((regions, most)))
        survival = tables.survival[a].ravel()
        discount = max(float(tables.discount[a]), 0.0)
        plain = tables.margin[a] * survival - tables.holding[r]
        price = multipliers[0] * sku.unit_cost + multipliers[1] * discount * survival + multipliers[2 + r]
        worth = plain > 0
        columns = [np.full(len(r), i), r, q, plain - price, plain, np.full(len(r), sku.unit_cost), discount * survival]
        parts.append([np.asarray(column, dtype=np.float64)[worth] for column in columns])
    joined = [np.concatenate([part[k] for part in parts]) for k in range(7)]
    whole = [joined[k].astype(np.int64) for k in range(3)]
    return _Offers(whole[0], whole[1], whole[2], *joined[3:])


def _hand_out(
    problem: Problem, choices: list[Choice], offers: _Offers, order: Ints, used: Floats, room: Floats
) -> Floats:
    """Place units in the given order while they fit; units of a cell only in their own order."""
    totals = [int(c.units.sum()) for c in choices]
    supply = [sku.supply_units for sku in problem.skus]
    sku, region, number = offers.sku[order].tolist(), offers.region[order].tolist(), offers.number[order].tolist()
    money, promotion = offers.money[order].tolist(), offers.promotion[order].tolist()
    stock_left, promo_left = room[0] - used[0], room[1] - used[1]
    space_left = (room[2:] - used[2:]).tolist()
    units = [c.units.tolist() for c in choices]
    for i, r, q, cost, promo in zip(sku, region, number, money, promotion, strict=True):
        if q != units[i][r] or totals[i] >= supply[i] or space_left[r] < 1.0 or cost > stock_left or promo > promo_left:
            continue
        units[i][r] += 1
        totals[i] += 1
        space_left[r] -= 1.0
        stock_left -= cost
        promo_left -= promo
    for choice, row in zip(choices, units, strict=True):
        choice.units[:] = row
    return _total_use(problem, choices)


def _supply_price(problem: Problem, i: int, choice: Choice, multipliers: Floats) -> float:
    """Priced worth of one more unit of the SKU, 0 while supply is left."""
    sku = problem.skus[i]
    if choice.units.sum() < sku.supply_units:
        return 0.0
    return max(
        0.0, float(np.max(next_unit_value(problem, i, choice) - multipliers[0] * sku.unit_cost - multipliers[2:]))
    )


def next_unit_value(problem: Problem, i: int, choice: Choice) -> Floats:
    """Expected profit of one more unit in each region, before any limit's price, shape (regions,)."""
    tables = problem.tables[i]
    most = tables.survival.shape[2]
    padded = np.concatenate([tables.survival[choice.action], np.zeros((len(choice.units), 1))], axis=1)
    survival = padded[np.arange(len(choice.units)), np.minimum(choice.units, most)]
    return np.asarray(tables.margin[choice.action] * survival - tables.holding, dtype=np.float64)
