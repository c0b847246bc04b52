"""Units at fixed offers: HiGHS's exact answer lies between the plan's value and its bound, at every shape."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt
import pytest
from scipy import optimize, sparse

from ml.allocation import units
from ml.allocation.cells import Cells, make_cells
from ml.allocation.units import solve_cells


def _cells(seed: int, skus: int, regions: int, tight: float, *, coupled: bool, service: float = 0.0) -> Cells:
    rng = np.random.default_rng(seed)
    listed = rng.uniform(20, 100, skus)
    cost, price = listed * rng.uniform(0.3, 0.5, skus), listed * rng.uniform(0.6, 0.95, skus)
    demand = rng.poisson(12 * rng.lognormal(0, 0.4, (skus * regions, 1)) * rng.lognormal(0, 0.5, (1, 60)))
    spend = float(cost.sum()) * 12 * regions * tight
    space = np.floor(12 * skus * tight * rng.uniform(0.8, 1.2, regions))
    limits = [spend, 0.4 * spend, *space] if coupled else [spend, np.inf, *np.full(regions, np.inf)]
    return make_cells(
        demand, skus, price=price, unit_cost=cost, salvage=0.4 * cost, shipping=rng.uniform(0, 2, regions),
        list_price=listed, supply=(12 * regions * rng.uniform(0.5, 1.5, skus)).astype(np.int64),
        limits=np.array(limits), min_service=np.full(regions, service),
    )  # fmt: skip


def _exact(cells: Cells) -> float:
    """The same by mixed-integer programming, unit by unit."""
    cell = np.repeat(np.arange(len(cells.place)), np.diff(cells.start))
    number = np.arange(len(cell)) - cells.start[cell]
    sku = np.repeat(np.arange(len(cells.supply)), np.diff(cells.sku_start))[cell]
    columns = np.arange(len(cell))
    worth = cells.margin[cell] * cells.survival - cells.holding[cell]

    def rows(index: npt.NDArray[np.int64], values: npt.NDArray[np.float64], count: int) -> sparse.csr_array:
        return sparse.csr_array((values, (index, columns)), shape=(count, len(cell)))

    ones, zero = np.ones(len(cell)), np.zeros(len(cell), dtype=np.int64)
    matrix = sparse.vstack([
        rows(sku, ones, len(cells.supply)), rows(zero, cells.money[cell], 1),
        rows(zero, cells.discount[cell] * cells.survival, 1), rows(cells.place[cell], ones, len(cells.limits) - 2),
    ])  # fmt: skip
    least = (number < cells.least[cell]).astype(float)
    answer = optimize.milp(
        -worth, integrality=ones, bounds=optimize.Bounds(least, 1),
        constraints=optimize.LinearConstraint(matrix, -np.inf, np.concatenate([cells.supply, cells.limits])),
        options={"mip_rel_gap": 1e-9},
    )  # fmt: skip
    assert answer.success
    return -float(answer.fun)


def _check(cells: Cells, units: npt.NDArray[np.int64]) -> None:
    assert (units >= cells.least).all()
    assert (np.add.reduceat(units, cells.sku_start[:-1]) <= cells.supply).all()
    assert (cells.use(units) <= cells.limits + 1e-6).all()


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("service", [0.0, 0.2])
@pytest.mark.parametrize("seed", range(6))
def test_value_and_bound_enclose_the_exact_answer(seed: int, coupled: bool, service: float) -> None:
    cells = _cells(seed, 8, 3, 0.6, coupled=coupled, service=service)
    plan, exact = solve_cells(cells, target=1e-6), _exact(cells)
    _check(cells, plan.units)
    assert plan.value <= exact + 1e-6 <= plan.bound + 2e-6
    assert plan.value >= 0.995 * exact
    assert plan.value == pytest.approx(cells.value(plan.units))


@pytest.mark.parametrize(("skus", "regions", "coupled"), [(2000, 5, False), (150, 40, True)])
def test_the_gap_closes_with_size(skus: int, regions: int, coupled: bool) -> None:
    cells = _cells(3, skus, regions, 0.6, coupled=coupled)
    plan = solve_cells(cells, target=1e-3)
    _check(cells, plan.units)
    assert plan.multipliers.max() > 0
    assert plan.gap <= 1e-3


def test_room_for_everything_costs_nothing() -> None:
    cells = _cells(1, 10, 3, 50.0, coupled=True)
    plan = solve_cells(cells)
    assert plan.gap < 1e-12 and not plan.multipliers.any()


@pytest.mark.parametrize("coupled", [False, True])
def test_no_time_still_gives_a_plan_within_the_limits(coupled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = _cells(2, 30, 6, 0.5, coupled=coupled, service=0.1)
    passes: list[Cells] = []
    ask = units._Search.ask

    def counted(search: units._Search, prices: npt.NDArray[np.float64]) -> object:
        passes.append(search.cells)
        return ask(search, prices)

    monkeypatch.setattr(units._Search, "ask", counted)
    plan = solve_cells(cells, target=0.0, time_limit_s=0.0)
    _check(cells, plan.units)
    assert plan.value < plan.bound
    hurried = len(passes)
    solve_cells(cells, target=0.0)
    assert 3 * hurried < len(passes) - hurried, "time counts within the search for prices too"


def test_the_same_cells_give_the_same_plan() -> None:
    first, second = (solve_cells(_cells(4, 40, 6, 0.6, coupled=True)) for _ in range(2))
    assert np.array_equal(first.units, second.units) and first.bound == second.bound


def test_threads_change_neither_the_plan_nor_what_comes_after(monkeypatch: pytest.MonkeyPatch) -> None:
    cells, before = _cells(2, 40, 6, 0.7, coupled=True), numba.get_num_threads()
    alone = solve_cells(cells)
    monkeypatch.setattr(units, "SMALL", 0)
    beside = solve_cells(cells)
    np.testing.assert_array_equal(alone.units, beside.units)
    assert alone.bound == beside.bound
    assert numba.get_num_threads() == before


def test_small_problems_run_on_one_thread_and_large_ones_on_those_asked_for() -> None:
    before = numba.get_num_threads()
    with units._threads(units.SMALL - 1):
        assert numba.get_num_threads() == 1
    with units._threads(units.SMALL):
        assert numba.get_num_threads() == min(units.settings().threads, before)
    assert numba.get_num_threads() == before
