"""Prices, promotions and hours of a whole sale at once: what one offer gains is set against what its rivals lose.

Demand of an action is the heads' forecast moved by the nested logit of `ml.demand.substitution`; the forecast itself
stands for rivals at the reference, the middle of their ladders. Coordinate ascent: SKU by SKU the action that gives
the whole sale most is taken, until none moves. Units are not searched for on the way: expected profit of the best
units is linear in a cell's demand (the newsvendor scales), so a SKU's value at any demand is the least, over prices
of its supply, of that price's rent and the cells' values at it (Lagrange duality; the values are concave). Coupling
rows are charged at multipliers. Offers that start at different hours compete in full: it is one sale.

The profiles found are given units by `solve`, multipliers are taken from there, and the best plan of all rounds
stands. The manager's prices and the SKU-by-SKU plan are among the candidates, so that no plan is below either by its
own model.

No bound on all joint choices is known: coordinate ascent may stop at a plan that only two SKUs together could better.
The tests hold it against every combination of small sales and against `price_set` on larger ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from flashsale.errors import InputError
from ml.allocation.problem import Choice, Problem
from ml.allocation.solve import Solution, solve
from ml.demand.substitution import Market

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST_SWEEPS = 20
ROUNDS = 3  # of multipliers
LEVELS = 16  # prices of a SKU's supply that are looked at
WORTH = 1e-9  # relative gain below which nobody moves


def ascend(start: Ints, values: Callable[[int, Ints], Floats], until: float = np.inf) -> Ints:
    """Coordinate ascent: one action a SKU, shape (skus,).

    Args:
        start: first profile of actions.
        values: of a SKU's actions to the whole sale, the others as in the profile given, shape (actions,).
        until: moment of the monotonic clock after which no further SKU is asked.
    """
    profile = start.copy()
    for _ in range(MOST_SWEEPS):
        moved = False
        for i in range(len(profile)):
            if time.monotonic() > until:
                return profile
            own = values(i, profile)
            best = int(np.argmax(own))
            if own[best] > own[profile[i]] + WORTH * abs(float(own[profile[i]])):
                profile[i], moved = best, True
        if not moved:
            break
    return profile


@dataclass(frozen=True)
class JointSale:
    """A sale whose offers compete.

    Args:
        problem: demand of every action with all rivals at the reference.
        market: shares at the reference.
        effect: by SKU, change of log demand of its actions against its reference action, its rivals staying at
            theirs, as the heads have it; shape (actions, regions).
        reference: action of each SKU that its forecast takes its rivals to have, shape (skus,).
        given: scenarios of every action (as in `problem`) once its demand is multiplied by the arrays given, each of
            shape (actions, regions), relative to the reference demand.
    """

    problem: Problem
    market: Market
    effect: list[Floats]
    reference: Ints
    given: Callable[[list[Floats]], list[Ints]]

    @cached_property
    def pull(self) -> list[Floats]:
        """By SKU, k of its actions (see `ml.demand.substitution`), shape (actions, regions)."""
        return [self.market.pull(i, own) for i, own in enumerate(self.effect)]

    @cached_property
    def orders(self) -> Orders:
        """Sorted demand at the reference, once for all multipliers."""
        return Orders.of(self.problem)

    def chosen(self, profile: Ints) -> Floats:
        """k of each SKU's action, shape (skus, regions)."""
        return np.stack([own[a] for own, a in zip(self.pull, profile, strict=True)])

    def multipliers(self, profile: Ints) -> list[Floats]:
        """By SKU, demand of every action over the reference, its rivals at the profile; shape (actions, regions)."""
        pull = self.chosen(profile)
        return [self.market.move(i, own, pull).own for i, own in enumerate(self.pull)]

    def given_rivals(self, profile: Ints) -> Problem:
        """The problem in which every SKU keeps its actions, and their demand has its rivals at the profile."""
        demand = self.given(self.multipliers(profile))
        skus = [replace(sku, demand=wanted) for sku, wanted in zip(self.problem.skus, demand, strict=True)]
        return replace(self.problem, skus=skus)

    def units_at(self, profile: Ints, time_limit_s: float = np.inf) -> Solution:
        """The best units at these actions, with a bound on all plans at these actions.

        Raises InputError where minimum service does not fit.
        """
        demand = self.given(self.multipliers(profile))
        parts = zip(self.problem.skus, profile, demand, strict=True)
        fixed = [replace(sku, actions=[sku.actions[a]], demand=wanted[[a]]) for sku, a, wanted in parts]
        found = solve(replace(self.problem, skus=fixed), time_limit_s=time_limit_s)
        choices = [Choice(int(a), c.units) for a, c in zip(profile, found.choices, strict=True)]
        return replace(found, choices=choices)

    def values(self, multipliers: Floats) -> Callable[[int, Ints], Floats]:
        """Value of a SKU's actions to the whole sale at multipliers of the coupling rows, for `ascend`."""
        return _Values(self, multipliers)


def solve_jointly(sale: JointSale, separable: Solution, time_limit_s: float = np.inf) -> Solution | None:
    """The best plan found over all SKUs' actions at once; its `bound` is on plans at the same actions.

    None where minimum service, which moves with demand, does not fit at any of the actions tried.

    Args:
        separable: the plan that takes every rival to be at the reference.
    """
    until = time.monotonic() + time_limit_s
    starts = [sale.reference, profile_of(separable)]
    tried: dict[tuple[int, ...], Solution | None] = {}
    for profile in starts:
        _settle(sale, profile, tried, until)
    for _ in range(ROUNDS):
        best, known = _best(tried), len(tried)
        values = sale.values((best or separable).multipliers)
        for start in [*starts, *([profile_of(best)] if best else [])]:
            _settle(sale, ascend(start, values, until), tried, until)
        if len(tried) == known:
            break
    return _best(tried)


def profile_of(plan: Solution) -> Ints:
    """The plan's action of each SKU, shape (skus,)."""
    return np.array([choice.action for choice in plan.choices])


def _settle(sale: JointSale, profile: Ints, tried: dict[tuple[int, ...], Solution | None], until: float) -> None:
    """Give a profile its units, unless that has been done."""
    key = tuple(profile.tolist())
    if key in tried:
        return
    try:
        tried[key] = sale.units_at(profile, max(until - time.monotonic(), 0.0))
    except InputError:
        tried[key] = None


def _best(tried: dict[tuple[int, ...], Solution | None]) -> Solution | None:
    plans = [plan for plan in tried.values() if plan is not None]
    return max(plans, key=lambda plan: plan.value, default=None)


@dataclass(frozen=True)
class Orders:
    """Sorted demand of every action at the reference, padded to the most actions a SKU has.

    `ordered`, `summed` (skus, actions, regions, scenarios + 1): order statistics from 0 and their running sums.
    `least` (skus, actions, regions): index of the first that serves the region's minimum. `real` marks true actions.
    """

    ordered: Floats
    summed: Floats
    least: Ints
    real: npt.NDArray[np.bool_]

    @staticmethod
    def of(problem: Problem) -> Orders:
        most = max(len(sku.actions) for sku in problem.skus)
        index = [np.minimum(np.arange(most), len(sku.actions) - 1) for sku in problem.skus]
        demand = np.stack([sku.demand[own] for sku, own in zip(problem.skus, index, strict=True)])
        ordered = np.sort(demand, axis=3).astype(np.float64)
        ordered = np.concatenate([np.zeros((*ordered.shape[:3], 1)), ordered], axis=3)
        summed = np.cumsum(ordered, axis=3)
        count = ordered.shape[3] - 1
        sold = (summed + (count - np.arange(count + 1)) * ordered) / count
        service = np.array([region.min_service for region in problem.regions])
        least = (sold < service[:, None] * sold[..., -1:] - 1e-9).sum(axis=3)
        real = np.array([np.arange(most) < len(sku.actions) for sku in problem.skus])
        return Orders(ordered, summed, least, real)

    def worth(self, gain: Floats, cost: Floats) -> Floats:
        """Expected profit of the best units of a cell, the reference demand, shape as `cost`.

        Args:
            gain: of a sale, shape (skus, actions).
            cost: of a unit, shape (skus, actions, regions, levels).
        """
        count = self.ordered.shape[3] - 1
        each = gain[:, :, None, None]
        share = 1.0 - cost / np.maximum(each, 1e-9)
        wanted = np.clip(np.ceil(count * share - 1e-9), 0, count).astype(np.int64)
        taken = np.maximum(wanted, self.least[..., None])
        units, below = (np.take_along_axis(table, taken, axis=3) for table in (self.ordered, self.summed))
        return np.asarray(each * (below + (count - taken) * units) / count - cost * units, dtype=np.float64)


class _Values:
    """Joint value of one SKU's actions at given multipliers.

    `cells` (skus, actions, regions, levels): a cell's value per unit of relative demand at each price of the SKU's
    supply; `rent` (skus, levels): that price x the supply.
    """

    def __init__(self, sale: JointSale, multipliers: Floats) -> None:
        problem = sale.problem
        self.market, self.real = sale.market, sale.orders.real
        most = self.real.shape[1]
        index = [np.minimum(np.arange(most), len(own) - 1) for own in sale.pull]
        self.pull, effect = _padded(sale.pull, index), _padded(sale.effect, index)
        margin = _padded([tables.margin for tables in problem.tables], index)
        discount = _padded([tables.discount for tables in problem.tables], index)
        holding = np.stack([tables.holding for tables in problem.tables])
        unit_cost = np.array([sku.unit_cost for sku in problem.skus])
        gain = margin - multipliers[1] * np.maximum(discount, 0.0)
        cost = holding + multipliers[0] * unit_cost[:, None] + multipliers[2:]
        dearest = np.maximum(gain.max(axis=1) - cost.min(axis=1), 0.0)
        supply_price = dearest[:, None] * np.linspace(0.0, 1.0, LEVELS) ** 2
        worth = sale.orders.worth(gain, cost[:, None, :, None] + supply_price[:, None, None, :])
        self.cells = worth / np.exp(effect)[..., None]
        self.rent = supply_price * np.array([sku.supply_units for sku in problem.skus])[:, None]

    def __call__(self, i: int, profile: Ints) -> Floats:
        everyone = np.arange(len(profile))
        move = self.market.move(i, self.pull[i], self.pull[everyone, profile])
        near = (self.market.nest == self.market.nest[i])[:, None, None]
        demand = move.before[:, None, :] * np.where(near, move.same_nest, move.other_nests)
        rivals = (demand @ self.cells[everyone, profile] + self.rent[:, None, :]).min(axis=2)
        rivals[i] = 0.0
        own = (move.own[:, None, :] @ self.cells[i])[:, 0, :] + self.rent[i]
        return np.where(self.real[i], own.min(axis=1) + rivals.sum(axis=0), -np.inf)


def _padded(parts: list[Floats], index: list[Ints]) -> Floats:
    """One array of all SKUs, the last action of those that have fewer repeated."""
    return np.stack([part[at] for part, at in zip(parts, index, strict=True)])
