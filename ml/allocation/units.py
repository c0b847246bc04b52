"""How many units to each cell at fixed offers, at any size, with a certified gap.

The coupling rows (budgets, space by region) are priced by Lagrange multipliers; priced, every SKU answers by itself
(`cells.Cells.respond`), and the sum of the answers is an upper bound on every plan. One row: its price is found by
halving. Several: L-BFGS-B on the bound (convex, and the smoother the more cells there are), then, where the gap asks
for more, column generation over groups of SKUs with prices smoothed towards the best known (Wentges 1997). The plan
is the answer at the best prices, mended where it overdraws a row.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numba
import numpy as np

from flashsale.settings import settings
from ml.allocation.cells import SPACE, Cells, Floats, Ints, check_least
from ml.allocation.master import master_programme
from ml.allocation.problem import relative_gap

HALVINGS = 60
DESCENTS = 120  # evaluations that L-BFGS-B may take
GROUPS = 48
MOST_ROUNDS = 80
SMALL = 20_000  # cells below which a pass is over before a second thread has woken up
STAY = 0.6  # how far prices stay at the best known ones, against the jumps of the linear programme


@dataclass(frozen=True)
class CellPlan:
    """Units by cell with their certificate. `multipliers` price one unit of each coupling row; money is expected."""

    units: Ints
    value: float
    bound: float
    multipliers: Floats

    @property
    def gap(self) -> float:
        """Relative distance of the value to the upper bound, at least 0."""
        return relative_gap(self.value, self.bound)


class _Search:
    """The best prices and the best plan met so far."""

    def __init__(self, cells: Cells, until: float) -> None:
        self.cells, self.until = cells, until
        self.finite = np.isfinite(cells.limits)
        self.limits = np.where(self.finite, cells.limits, 0.0)
        self.bound, self.prices = np.inf, np.zeros(len(cells.limits))
        self.answer = self.units = cells.least
        self.value = cells.value(cells.least)

    def ask(self, prices: Floats) -> tuple[float, Floats, Ints, Floats]:
        """The bound at these prices, its slope (room left in each row), the units and priced values of the cells."""
        answer = self.cells.respond(prices)
        bound = float(answer.value.sum() + prices @ self.limits)
        if bound < self.bound:
            self.bound, self.prices, self.answer = bound, prices.copy(), answer.units
        slope = np.where(self.finite, self.limits - self.cells.use(answer.units), 0.0)
        return bound, slope, answer.units, answer.value

    def settle(self) -> None:
        """Mend the answer at the best prices into a plan, and keep it where it is better."""
        units = self.cells.mend(self.answer, self.prices)
        value = self.cells.value(units)
        if value > self.value:
            self.units, self.value = units, value

    def plan(self) -> CellPlan:
        return CellPlan(self.units, self.value, max(self.bound, self.value), self.prices)

    @property
    def late(self) -> bool:
        return time.monotonic() > self.until

    def good(self, target: float) -> bool:
        return self.plan().gap <= target or self.late


def solve_cells(cells: Cells, *, target: float = 1e-4, time_limit_s: float = np.inf) -> CellPlan:
    """The best plan found and an upper bound on every plan.

    Args:
        target: relative gap at which the search may stop.
        time_limit_s: after so many seconds the best plan so far is the answer; with a limit the same input need not
            give the same plan.

    Raises InputError where minimum service does not fit.
    """
    check_least(cells)
    with _threads(len(cells.place)):
        return _solve(cells, target, time.monotonic() + time_limit_s)


@contextlib.contextmanager
def _threads(cells: int) -> Iterator[None]:
    """As many threads of the compiled passes as are worth while; the passes' answers do not depend on them."""
    before = numba.get_num_threads()
    numba.set_num_threads(1 if cells < SMALL else min(settings().threads, before))
    try:
        yield
    finally:
        numba.set_num_threads(before)


def _solve(cells: Cells, target: float, until: float) -> CellPlan:
    search = _Search(cells, until)
    _, slope, units, _ = search.ask(search.prices)
    if (slope >= 0).all():
        search.units, search.value = units, cells.value(units)
        return search.plan()
    if search.finite.sum() == 1:
        _halve(search, int(np.flatnonzero(search.finite)[0]), target)
    else:
        _descend(search, target)
    search.settle()
    if not search.good(target):
        _generate(search, target)
    return search.plan()


def _halve(search: _Search, row: int, target: float) -> None:
    """The price of a single row: where its use passes the limit."""
    low, high = 0.0, _highest_price(search.cells, row)
    prices = np.zeros(len(search.limits))
    for _ in range(HALVINGS):
        prices[row] = (low + high) / 2
        _, slope, _, _ = search.ask(prices)
        if slope[row] < 0:
            low = prices[row]
        else:
            high = prices[row]
        # between the two prices the bound cannot fall by more than the room left times their distance
        if abs(slope[row]) * (high - low) <= 0.1 * target * abs(search.bound) or search.late:
            break


def _highest_price(cells: Cells, row: int) -> float:
    """A price at which nobody takes more than minimum service."""
    worth = cells.margin - cells.holding
    if row < SPACE:
        takes = (cells.money, cells.discount)[row]
        share = worth[takes > 0] / takes[takes > 0] if row == 0 else cells.margin[takes > 0] / takes[takes > 0]
        return float(share.max(initial=0.0))
    return float(worth.max(initial=0.0))


def _descend(search: _Search, target: float) -> None:
    """Lower the bound by L-BFGS-B; prices are scaled by what a row holds."""
    from scipy.optimize import minimize

    rows = np.flatnonzero(search.finite)
    most = np.array([_highest_price(search.cells, int(row)) for row in rows])
    scale = np.maximum(search.limits[rows], 1.0)
    unit = max(abs(search.bound), 1.0)

    def bound(x: Floats) -> tuple[float, Floats]:
        prices = np.zeros(len(search.limits))
        prices[rows] = x * unit / scale
        value, slope, _, _ = search.ask(prices)
        return value / unit, slope[rows] / scale

    def stop(_: Floats) -> None:
        if search.late:
            raise StopIteration  # how SciPy is told to answer with what it has

    box = list(zip(np.zeros(len(rows)), most * scale / unit, strict=True))
    minimize(
        bound, search.prices[rows] * scale / unit, jac=True, method="L-BFGS-B", bounds=box, callback=stop,
        options={"maxfun": DESCENTS, "ftol": 0.01 * target, "gtol": 1e-9},
    )  # fmt: skip


def _generate(search: _Search, target: float) -> None:
    """Column generation over groups of SKUs until the gap is closed, the programme meets the bound, or time is up."""
    cells = search.cells
    skus = len(cells.supply)
    first = np.unique(np.linspace(0, skus, min(GROUPS, skus) + 1).astype(int)[:-1])
    starts = cells.sku_start[first]
    columns = [[column] for column in _columns(cells, starts, cells.least)]
    for k, column in enumerate(_columns(cells, starts, search.units)):
        columns[k].append(column)
    prices = search.prices
    for _ in range(MOST_ROUNDS):
        _, _, units, _ = search.ask(prices)
        for k, column in enumerate(_columns(cells, starts, units)):
            columns[k].append(column)
        found, mixed = master_programme(columns, search.limits, search.finite)
        search.settle()
        if search.good(target) or search.bound - mixed <= 0.1 * target * abs(search.bound):
            return
        prices = STAY * search.prices + (1 - STAY) * found


def _columns(cells: Cells, starts: Ints, units: Ints) -> list[tuple[None, float, Floats]]:
    """Value and use of every group's part of a plan."""
    regions, groups = len(cells.limits) - SPACE, len(starts)
    sold = cells.sold(units)
    group = np.searchsorted(starts, np.arange(len(units)), side="right") - 1
    space = np.bincount(group * regions + cells.place, units, groups * regions).reshape(groups, regions)
    sums = [np.add.reduceat(part, starts) for part in (
        cells.margin * sold - cells.holding * units, cells.money * units, cells.discount * sold)]  # fmt: skip
    return [(None, float(sums[0][k]), np.array([sums[1][k], sums[2][k], *space[k]])) for k in range(groups)]
