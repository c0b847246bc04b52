"""Allocation at fixed offers, cell by cell: flat arrays and the compiled passes over them.

With one offer a SKU the problem is a concave one in units: every unit of a cell (SKU x region) has a marginal value
that falls with its number. A million cells are a few arrays here, where `problem.Problem` holds an object a SKU.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from numba import njit, prange

from flashsale.errors import InputError
from ml.allocation.problem import with_slack

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

STOCK, PROMOTION, SPACE = 0, 1, 2  # coupling rows: two budgets, then the space of each region
SUPPLY_STEPS = 30  # halvings of the price of a SKU's supply; ties that are left are dealt out one by one


def _jit(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return cast(Callable[[Callable[..., Any]], Callable[..., Any]], njit(cache=True, nogil=True, **options))


@dataclass(frozen=True)
class Cells:
    """One entry a cell, the cells of a SKU side by side.

    `sku_start` (skus + 1,): first cell of each SKU. `place` (cells,): index of the cell's region. `start` (cells + 1,):
    first unit of each cell in `survival`, which holds P(D >= q + 1) for q = 0, 1, …, falling within a cell; units past
    its end are never worth their cost. `sales` (units + cells,): E min(q, D), from q = 0. `margin` = price - salvage,
    `holding` = unit cost - salvage + shipping, `money` = unit cost and `discount` = list price - price, by cell.
    `least`: units of minimum service. `supply` (skus,). `limits` (2 + regions,): stock budget, promotion budget, space
    by region in units, infinite where there is none.
    """

    sku_start: Ints
    place: Ints
    start: Ints
    survival: Floats
    sales: Floats
    margin: Floats
    holding: Floats
    money: Floats
    discount: Floats
    least: Ints
    supply: Ints
    limits: Floats

    def respond(self, multipliers: Floats) -> Response:
        """Every SKU's best units where each coupling row has a price, shape (2 + regions,)."""
        units = np.empty(len(self.place), dtype=np.int64)
        price, gain = self._priced(multipliers)
        _respond(self.sku_start, self.start, self.survival, gain, price, self.least, self.supply, units)
        return Response(units, gain * self.sold(units) - price * units)

    def _priced(self, multipliers: Floats) -> tuple[Floats, Floats]:
        """What a unit costs and what a sale brings in each cell, the coupling rows' prices counted."""
        price = self.holding + multipliers[STOCK] * self.money + multipliers[SPACE + self.place]
        return price, self.margin - multipliers[PROMOTION] * self.discount

    def sold(self, units: Ints) -> Floats:
        """Expected sales of each cell."""
        return np.asarray(self.sales[self.start[:-1] + np.arange(len(units)) + units])

    def value(self, units: Ints) -> float:
        """Expected profit of a plan, in money."""
        return float((self.margin * self.sold(units) - self.holding * units).sum())

    def use(self, units: Ints) -> Floats:
        """What a plan takes of each coupling row."""
        space = np.bincount(self.place, units, len(self.limits) - SPACE)
        return np.array([self.money @ units, self.discount @ self.sold(units), *space])

    def mend(self, units: Ints, multipliers: Floats) -> Ints:
        """A plan within every limit: units are taken back where a row is overdrawn, then room is filled.

        Both in the order of marginal value less the price of what a unit takes.
        """
        whole = units.copy()
        price, gain = self._priced(multipliers)
        sku = np.repeat(np.arange(len(self.supply)), np.diff(self.sku_start))
        by_place = np.argsort(self.place, kind="stable")
        bounds = np.searchsorted(self.place[by_place], np.arange(len(self.limits) - SPACE + 1))
        for row in np.flatnonzero(self.use(whole) > self.limits):
            mine = np.arange(len(whole)) if row < SPACE else by_place[bounds[row - SPACE] : bounds[row - SPACE + 1]]
            takes = (self.money, self.discount)[row] if row < SPACE else np.ones(len(whole))
            excess = float(self.use(whole)[row] - self.limits[row])
            _take_back(mine, row == PROMOTION, takes, excess, self.start, self.survival, gain, price, self.least, whole)
        room = self.limits - self.use(whole)
        spare = self.supply - np.add.reduceat(whole, self.sku_start[:-1])
        _fill(
            sku, self.place, self.start, self.survival, gain, price, self.margin, self.holding, self.money,
            self.discount, spare, room, whole,
        )  # fmt: skip
        return whole


@dataclass(frozen=True)
class Response:
    """Units and priced value of each cell."""

    units: Ints
    value: Floats


def make_cells(
    demand: npt.NDArray[Any],
    skus: int,
    *,
    price: Floats,
    unit_cost: Floats,
    salvage: Floats,
    shipping: Floats,
    list_price: Floats,
    supply: Ints,
    limits: Floats,
    min_service: Floats | None = None,
) -> Cells:
    """Cells of `skus` SKUs in every region, from scenarios of demand.

    Args:
        demand: whole units, shape (skus * regions, scenarios), the regions of a SKU side by side.
        price, unit_cost, salvage, list_price, supply: by SKU.
        shipping, min_service: by region; the latter is the least share of a cell's expected demand to be served.
        limits: stock budget, promotion budget, space by region.
    """
    regions = len(shipping)
    margin, money = np.repeat(price - salvage, regions), np.repeat(unit_cost, regions)
    holding = np.repeat(unit_cost - salvage, regions) + np.tile(shipping, skus)
    served = np.zeros(regions) if min_service is None else min_service
    wanted = np.tile(served, skus) * demand.mean(axis=1)
    ordered = np.sort(demand, axis=1)
    length, least = np.empty(len(demand), dtype=np.int64), np.empty(len(demand), dtype=np.int64)
    most = np.repeat(supply, regions)
    _measure(ordered, margin, holding, wanted, most, length, least)
    start = np.concatenate([[0], np.cumsum(length)])
    survival = np.empty(start[-1])
    sales = np.empty(start[-1] + len(demand))
    _tabulate(ordered, start, survival, sales)
    return Cells(
        np.arange(skus + 1) * regions, np.tile(np.arange(regions), skus), start, survival, sales, margin, holding,
        money, np.maximum(np.repeat(list_price - price, regions), 0.0), least, supply.astype(np.int64),
        with_slack(limits),
    )  # fmt: skip


def check_least(cells: Cells) -> None:
    """Raise InputError where minimum service alone takes more than a SKU's supply or a coupling row has."""
    asked = np.add.reduceat(cells.least, cells.sku_start[:-1])
    if (asked > cells.supply).any():
        i = int(np.flatnonzero(asked > cells.supply)[0])
        raise InputError(
            "sale request", f"minimum service asks for {asked[i]} units, supply is {cells.supply[i]}",
            "lower min_service of the regions or raise supply_units", field="min_service", row=i,
        )  # fmt: skip
    over = np.flatnonzero(cells.use(cells.least) > cells.limits)
    if len(over):
        row = int(over[0])
        name = ("stock_budget", "promotion_budget")[row] if row < SPACE else "space"
        raise InputError(
            "sale request", f"minimum service alone takes {cells.use(cells.least)[row]:.0f} of {name}, "
            f"which is {cells.limits[row]:.0f}", "lower min_service or raise the limit",
            field=name, row=None if row < SPACE else row - SPACE,
        )  # fmt: skip


@_jit()
def _count_above(survival: Floats, low: int, high: int, threshold: float) -> int:
    """How many of the falling values in [low, high) are above the threshold."""
    begin = low
    while low < high:
        middle = (low + high) // 2
        if survival[middle] > threshold:
            low = middle + 1
        else:
            high = middle
    return low - begin


@_jit(parallel=True)
def _measure(
    ordered: Any, margin: Floats, holding: Floats, wanted: Floats, most: Ints, length: Ints, least: Ints
) -> None:
    """How many units of each cell may be worth their cost, and how many minimum service asks for."""
    scenarios = ordered.shape[1]
    for c in prange(ordered.shape[0]):
        mean_sales, q, below, units = 0.0, 0, 0, -1
        need = 0
        top = ordered[c, scenarios - 1]
        # what minimum service asks for beyond the supply has to be seen, so that it is refused
        while q < most[c] or (mean_sales < wanted[c] - 1e-9 and q < top):
            while below < scenarios and ordered[c, below] < q + 1:
                below += 1
            left = 1.0 - below / scenarios
            if units < 0 and margin[c] * left - holding[c] <= 0:
                units = q
            if mean_sales < wanted[c] - 1e-9:
                need = q + 1
            elif units >= 0:
                break
            mean_sales += left
            q += 1
        if units < 0:
            units = min(q, most[c])
        least[c] = need
        length[c] = max(units, need)


@_jit(parallel=True)
def _tabulate(ordered: Any, start: Ints, survival: Floats, sales: Floats) -> None:
    scenarios = ordered.shape[1]
    for c in prange(ordered.shape[0]):
        below = 0
        total = 0.0
        sales[start[c] + c] = 0.0
        for q in range(start[c + 1] - start[c]):
            while below < scenarios and ordered[c, below] < q + 1:
                below += 1
            survival[start[c] + q] = 1.0 - below / scenarios
            total += survival[start[c] + q]
            sales[start[c] + c + q + 1] = total


@_jit(parallel=True)
def _respond(
    sku_start: Ints, start: Ints, survival: Floats, gain: Floats, price: Floats, least: Ints, supply: Ints, units: Ints
) -> None:
    for i in prange(len(sku_start) - 1):
        total = 0
        highest = 0.0
        for c in range(sku_start[i], sku_start[i + 1]):
            units[c] = _dearer(c, start, survival, gain, price, least, 0.0)
            total += units[c]
            highest = max(highest, gain[c] - price[c])
        if total <= supply[i]:
            continue
        low, high = 0.0, highest + 1.0
        for _ in range(SUPPLY_STEPS):  # the price of this SKU's supply
            middle = (low + high) / 2
            total = 0
            for c in range(sku_start[i], sku_start[i + 1]):
                total += _dearer(c, start, survival, gain, price, least, middle)
            if total > supply[i]:
                low = middle
            else:
                high = middle
        total = 0
        for c in range(sku_start[i], sku_start[i + 1]):
            units[c] = _dearer(c, start, survival, gain, price, least, high)
            total += units[c]
        while total < supply[i]:  # what ties at that price, best first
            best, at = 0.0, -1
            for c in range(sku_start[i], sku_start[i + 1]):
                if start[c] + units[c] < start[c + 1]:
                    marginal = gain[c] * survival[start[c] + units[c]] - price[c]
                    if marginal > best:
                        best, at = marginal, c
            if at < 0:
                break
            units[at] += 1
            total += 1


@_jit()
def _dearer(c: int, start: Ints, survival: Floats, gain: Floats, price: Floats, least: Ints, more: float) -> int:
    """Units of a cell worth more than their price and `more`, minimum service at the least."""
    if gain[c] <= 0:
        return least[c]
    return max(least[c], _count_above(survival, start[c], start[c + 1], (price[c] + more) / gain[c]))


@_jit()
def _take_back(
    mine: Ints, sells: bool, takes: Floats, excess: float, start: Ints, survival: Floats, gain: Floats, price: Floats,
    least: Ints, units: Ints,
) -> None:  # fmt: skip
    """Take units of the cells `mine` back, those worth least for what they take first, until the excess is gone."""
    heap = [(0.0, -1) for _ in range(0)]
    for c in mine:
        if units[c] > least[c] and takes[c] > 0:
            heap.append((_worth(c, units[c] - 1, sells, takes, start, survival, gain, price), c))
    heapq.heapify(heap)
    while excess > 0 and len(heap) > 0:
        _, c = heapq.heappop(heap)
        units[c] -= 1
        excess -= takes[c] * (survival[start[c] + units[c]] if sells else 1.0)
        if units[c] > least[c]:
            heapq.heappush(heap, (_worth(c, units[c] - 1, sells, takes, start, survival, gain, price), c))


@_jit()
def _worth(
    c: int, q: int, sells: bool, takes: Floats, start: Ints, survival: Floats, gain: Floats, price: Floats
) -> float:
    chance = survival[start[c] + q]
    amount = takes[c] * (chance if sells else 1.0)
    return (gain[c] * chance - price[c]) / max(amount, 1e-12)


@_jit()
def _fill(
    sku: Ints, place: Ints, start: Ints, survival: Floats, gain: Floats, price: Floats, margin: Floats,
    holding: Floats, money: Floats, discount: Floats, spare: Ints, room: Floats, units: Ints,
) -> None:  # fmt: skip
    """Add units that are worth something while every row has room, best priced value first."""
    heap = [(0.0, -1) for _ in range(0)]
    for c in range(len(units)):
        at = start[c] + units[c]
        if at == start[c + 1] or spare[sku[c]] <= 0 or room[SPACE + place[c]] < 1.0 or money[c] > room[STOCK]:
            continue
        if margin[c] * survival[at] - holding[c] > 0:
            heap.append((price[c] - gain[c] * survival[at], c))
    heapq.heapify(heap)
    while len(heap) > 0:
        _, c = heapq.heappop(heap)
        at = start[c] + units[c]
        promo = discount[c] * survival[at]
        if spare[sku[c]] <= 0 or room[SPACE + place[c]] < 1.0 or money[c] > room[STOCK] or promo > room[PROMOTION]:
            continue
        units[c] += 1
        spare[sku[c]] -= 1
        room[SPACE + place[c]] -= 1.0
        room[STOCK] -= money[c]
        room[PROMOTION] -= promo
        at += 1
        if at < start[c + 1] and margin[c] * survival[at] - holding[c] > 0:
            heapq.heappush(heap, (price[c] - gain[c] * survival[at], c))
