"""Allocation beside HiGHS and OR-Tools, to the same proven quality.

    python benchmarks/allocation.py [--quick] [--only joint|cells|memory] [--least CELLS] [--most CELLS]
        [--coupled-most CELLS] [--limit SECONDS]

**Joint price and allocation**: both sides get the same simulated problem (its tables of expected sales made beforehand)
and the same task, a plan proven to lie within 0.5 % of the best. HiGHS gets a mixed-integer programme.

**Units at fixed offers**, 10^3 to 10^6 cells (SKU x region), with one coupling row (the stock budget) and with fifty
(two budgets, the space of 48 regions); every SKU has a supply beside. The task: whole units proven to lie within 0.1 %
of the best. The peers get the linear programme, whose value is the certificate, and round its answer down, which is far
faster than their integer programmes and costs less than a unit a row.

The peers are tuned: pieces of equal marginal value merged into one column, units that are never worth their cost left
out, the model handed over as arrays before the clock starts, the fastest of their methods at 10^4 cells.
A peer that has not ended within its limit is stated with the limit: the ratio is then a lower bound. Each comparison
is written as soon as it is made, and those made before stay, so a run may be stopped and its sizes asked for singly.
Peak memory (`memory_…`, MiB) is of a process a side that makes the problem and solves it, within the same limit.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = str(Path(__file__).parents[1])
sys.path.insert(0, ROOT)

import numpy as np
from scipy import optimize, sparse

from benchmarks.harness import Result, compare, machine, median_interval, parser, write
from ml.allocation.cells import Cells, make_cells
from ml.allocation.problem import Action, Problem, Region, Sku
from ml.allocation.solve import solve
from ml.allocation.units import CellPlan, solve_cells

GAP = 0.005
CELL_GAP = 0.001
LIMIT_S = 600.0
START = datetime(2026, 11, 11, tzinfo=UTC)

Peer = Callable[["Linear", float], Callable[[], tuple[float, float]]]


def simulated_problem(seed: int, skus: int, regions: int, actions: int, tight: float = 0.7) -> Problem:
    """SKUs of different worth, demand that falls with the price, limits that bind; simulated."""
    rng = np.random.default_rng(seed)
    mean, scenarios, items = 25.0, 200, []
    for i in range(skus):
        listed = float(rng.uniform(20, 100))
        cost = listed * float(rng.uniform(0.3, 0.5))
        prices = np.sort(rng.uniform(0.6, 0.95, actions)) * listed
        base = mean * rng.lognormal(0, 0.4, (1, regions, 1)) * rng.lognormal(0, 0.5, (1, 1, scenarios))
        demand = rng.poisson(base * ((prices / listed) ** -2.0)[:, None, None])
        offers = [Action(float(p), "discount", START) for p in prices]
        supply = int(mean * regions * rng.uniform(0.8, 1.8)) + 1
        items.append(Sku(f"s{i}", cost, 0.4 * cost, listed, supply, offers, demand))
    places = [Region(f"r{r}", int(mean * skus * tight * rng.uniform(0.8, 1.2)) + 1, 1.0) for r in range(regions)]
    spend = sum(s.unit_cost for s in items) * mean * regions
    return Problem(items, places, stock_budget=spend * tight, promotion_budget=0.5 * spend * tight)


def integer_programme(problem: Problem) -> Callable[[], tuple[float, float]]:
    """The same problem as arrays for HiGHS; the callable solves it and returns value and bound.

    Columns: one binary an action, one integer a cell (units), one continuous column a piece of equal marginal sales.
    """
    regions = len(problem.regions)
    cost: list[float] = []
    upper: list[float] = []
    whole: list[int] = []
    entries: list[tuple[int, int, float]] = []
    limits: list[tuple[float, float]] = [(-np.inf, float(limit)) for limit in problem.limits]
    for sku, tables in zip(problem.skus, problem.tables, strict=True):
        one, supply = len(limits), len(limits) + 1
        limits += [(1.0, 1.0), (-np.inf, float(sku.supply_units))]
        for a in range(len(sku.actions)):
            choice = len(cost)
            cost, upper, whole = [*cost, 0.0], [*upper, 1.0], [*whole, 1]
            entries.append((one, choice, 1.0))
            for r in range(regions):
                steps, counts = np.unique(tables.survival[a, r], return_counts=True)
                units, balance = len(cost), len(limits)
                cost.append(float(tables.holding[r]))
                upper.append(float(tables.survival.shape[2]))
                whole.append(1)
                limits.append((0.0, 0.0))
                entries += [
                    (balance, units, -1.0),
                    (0, units, sku.unit_cost),
                    (2 + r, units, 1.0),
                    (supply, units, 1.0),
                ]
                for step, count in zip(steps, counts, strict=True):
                    piece, link = len(cost), len(limits)
                    cost.append(-float(tables.margin[a] * step))
                    upper.append(float(count))
                    whole.append(0)
                    limits.append((-np.inf, 0.0))
                    entries += [(balance, piece, 1.0), (link, piece, 1.0), (link, choice, -float(count))]
                    entries.append((1, piece, float(tables.discount[a] * step)))
    rows, columns, values = (np.array(part) for part in zip(*entries, strict=True))
    matrix = sparse.csc_array((values, (rows.astype(int), columns.astype(int))), shape=(len(limits), len(cost)))
    low, high = np.array(limits).T
    constraints = optimize.LinearConstraint(matrix, low, high)

    def run() -> tuple[float, float]:
        answer = optimize.milp(
            np.array(cost),
            integrality=np.array(whole),
            bounds=optimize.Bounds(0, np.array(upper)),
            constraints=constraints,
            options={"mip_rel_gap": GAP, "time_limit": 600},
        )
        return -float(answer.fun), -float(answer.mip_dual_bound)

    return run


def agree(ours: Any, peer: tuple[float, float]) -> bool:
    """Both are proven to lie within `GAP`, and neither contradicts the other's bound."""
    value, bound = peer
    proven = ours.gap <= GAP and (bound - value) <= GAP * abs(bound) * 1.01
    return bool(proven and ours.value <= bound * (1 + 1e-6) and value <= ours.bound * (1 + 1e-6))


def simulated_cells(seed: int, skus: int, regions: int, *, coupled: bool, mean: float = 20.0) -> Cells:
    """Cells at fixed offers with 100 scenarios of demand; budgets, and where coupled also space, bind; simulated."""
    rng = np.random.default_rng(seed)
    listed = rng.uniform(20, 100, skus)
    cost, price = listed * rng.uniform(0.3, 0.5, skus), listed * rng.uniform(0.6, 0.95, skus)
    level = mean * rng.lognormal(0, 0.4, (skus, regions, 1)) * ((price / listed) ** -2.0)[:, None, None]
    demand = np.empty((skus, regions, 100), dtype=np.int32)
    for part in np.array_split(np.arange(skus), max(skus // 2000, 1)):  # floats of all scenarios at once are too many
        demand[part] = rng.poisson(level[part] * rng.lognormal(0, 0.5, (len(part), 1, 100)))
    supply = (mean * regions * rng.uniform(0.8, 1.8, skus)).astype(np.int64) + 1
    spend = float(cost.sum()) * mean * regions * 0.7
    space = np.floor(mean * skus * 0.7 * rng.uniform(0.8, 1.2, regions))
    limits = [spend, 0.5 * spend, *space] if coupled else [spend, np.inf, *np.full(regions, np.inf)]
    return make_cells(
        demand.reshape(skus * regions, 100), skus, price=price, unit_cost=cost, salvage=0.4 * cost,
        shipping=np.ones(regions), list_price=listed, supply=supply, limits=np.array(limits),
    )  # fmt: skip


@dataclass(frozen=True)
class Linear:
    """max value x, 0 <= x <= most, matrix x <= room: one column a run of units of equal worth in a cell."""

    value: Any
    most: Any
    matrix: Any
    room: Any

    def rounded(self, x: Any) -> float:
        """What the answer is worth in whole units, rounded down."""
        return float(self.value @ np.floor(np.asarray(x) + 1e-9))


def linear_programme(cells: Cells) -> Linear:
    """The linear programme of the cells; rows are the SKUs' supplies and the finite coupling rows."""
    cell = np.repeat(np.arange(len(cells.place)), np.diff(cells.start))
    first = np.concatenate([[True], (cell[1:] != cell[:-1]) | (cells.survival[1:] != cells.survival[:-1])])
    at = np.flatnonzero(first)
    own, chance, columns = cell[at], cells.survival[at], np.arange(len(at))
    sku = np.repeat(np.arange(len(cells.supply)), np.diff(cells.sku_start))[own]
    skus = len(cells.supply)
    entries = [
        (sku, np.ones(len(at))),
        (np.full(len(at), skus), cells.money[own]),
        (np.full(len(at), skus + 1), cells.discount[own] * chance),
        (skus + 2 + cells.place[own], np.ones(len(at))),
    ]
    rows, values = (np.concatenate([entry[k] for entry in entries]) for k in range(2))
    room = np.concatenate([cells.supply, cells.limits])
    whole = sparse.csc_matrix((values, (rows, np.tile(columns, 4))), shape=(len(room), len(at)))
    finite = np.isfinite(room)
    return Linear(
        cells.margin[own] * chance - cells.holding[own],
        np.diff(np.append(at, len(cell))).astype(np.float64),
        sparse.csc_matrix(whole[finite]) if not finite.all() else whole,
        room[finite],
    )


def by_highs(linear: Linear, limit_s: float) -> Callable[[], tuple[float, float]]:
    """HiGHS's dual simplex; value in whole units and bound, both NaN where it had not ended."""
    import highspy

    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(linear.value), len(linear.room)
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = -linear.value, np.zeros(len(linear.value)), linear.most
    lp.row_lower_, lp.row_upper_ = np.full(len(linear.room), -np.inf), linear.room
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_, lp.a_matrix_.index_ = linear.matrix.indptr, linear.matrix.indices
    lp.a_matrix_.value_ = linear.matrix.data

    def run() -> tuple[float, float]:
        model = highspy.Highs()
        model.setOptionValue("output_flag", False)
        model.setOptionValue("time_limit", limit_s)
        model.passModel(lp)
        model.run()
        if model.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return float("nan"), float("nan")
        return linear.rounded(model.getSolution().col_value), -model.getInfo().objective_function_value

    return run


def by_ortools(linear: Linear, limit_s: float) -> Callable[[], tuple[float, float]]:
    """OR-Tools' Glop, as `by_highs`."""
    from ortools.linear_solver.python import model_builder_helper as helper

    model = helper.ModelBuilderHelper()
    none = np.full(len(linear.room), -np.inf)
    model.fill_model_from_sparse_data(
        np.zeros(len(linear.value)), linear.most, linear.value, none, linear.room, sparse.csr_matrix(linear.matrix)
    )
    model.set_maximize(True)

    def run() -> tuple[float, float]:
        solver = helper.ModelSolverHelper("GLOP")
        solver.set_time_limit_in_seconds(limit_s)
        solver.solve(model)
        if not solver.has_solution() or solver.status() != helper.SolveStatus.OPTIMAL:
            return float("nan"), float("nan")
        return linear.rounded(solver.variable_values()), float(solver.objective_value())

    return run


PEERS: dict[str, Peer] = {"highs": by_highs, "ortools": by_ortools}


def proven(ours: Any, peer: tuple[float, float]) -> bool:
    """Both within `CELL_GAP`, neither contradicting the other's bound; a peer that was stopped proves nothing."""
    value, bound = peer
    if np.isnan(value):
        return bool(ours.gap <= CELL_GAP)
    close = ours.gap <= CELL_GAP and bound - value <= CELL_GAP * bound
    return bool(close and ours.value <= bound * (1 + 1e-6) and value <= ours.bound * (1 + 1e-6))


def at_fixed_offers(name: str, cells: Cells, peer: Peer, limit_s: float, rounds: int) -> Result:
    """One comparison; where one answer of the peer takes minutes, it is asked once and the interval is of our runs."""
    linear = linear_programme(cells)
    asked = peer(linear, limit_s)

    def ours() -> CellPlan:
        return solve_cells(cells, target=CELL_GAP)

    if rounds:
        return compare(name, ours, asked, rounds=rounds, same=proven)
    ours()  # compiled
    plan, first = timed(ours)
    answer, slow = timed(functools.partial(within, asked, limit_s))
    if not proven(plan, answer):
        raise AssertionError(f"{name}: the two sides do not agree")
    mine = np.array([first, *(timed(ours)[1] for _ in range(4))])
    stopped = " (peer stopped at its limit)" if np.isnan(answer[0]) else ""
    ratio = median_interval(slow / mine)
    return Result(name, *ratio, float(np.median(mine)), slow, f"s{stopped}", machine())


def within(run: Callable[[], tuple[float, float]], limit_s: float) -> tuple[float, float]:
    """A peer's answer from a process that is stopped at the limit: with dense rows HiGHS does not heed its own."""
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)
    child = fork.Process(target=lambda: sender.send(run()), daemon=True)
    child.start()
    sender.close()  # a peer that dies is an error, not one that was stopped
    answer: tuple[float, float] = receiver.recv() if receiver.poll(limit_s) else (float("nan"), float("nan"))
    child.kill()
    child.join()
    return answer


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """The answer and the seconds it took."""
    began = time.perf_counter()
    answer = run()
    return answer, time.perf_counter() - began


def peak_memory(cells: int, coupled: bool, side: str, limit_s: float) -> float:
    """MiB at most of a process that makes the problem and lets one side solve it; the problem itself is part of it."""
    words = [sys.executable, __file__, "--memory-of", side, "--cells", str(cells), "--limit", str(limit_s)]
    words += ["--coupled"] if coupled else []
    found = subprocess.run(words, check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ROOT})
    return float(found.stdout.strip().splitlines()[-1])


def _memory(side: str, cells: int, coupled: bool, limit_s: float) -> None:
    problem = _sized(cells, coupled)
    if side == "ours":
        solve_cells(problem, target=CELL_GAP)
    else:
        within(PEERS[side](linear_programme(problem), limit_s), limit_s)
    # not `ru_maxrss` of this process itself: it remembers the peak of the one that started it
    own = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    print(max(int(own.split()[1]), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024)


def _sized(cells: int, coupled: bool) -> Cells:
    regions = 48 if coupled else 8
    return simulated_cells(1, max(cells // regions, 2), regions, coupled=coupled)


def joint(quick: bool) -> list[Result]:
    """Price and allocation together, beside HiGHS's mixed-integer solver."""
    results = []
    for skus, regions, actions in [(4, 2, 3)] if quick else [(4, 2, 3), (6, 3, 4), (8, 4, 4)]:
        problem = simulated_problem(1, skus, regions, actions)
        ours = functools.partial(solve, problem)
        name = f"allocate_{skus}_skus_{regions}_regions_{actions}_prices_vs_highs"
        results.append(compare(name, ours, integer_programme(problem), rounds=1 if quick else 5, same=agree))
    return results


def main() -> None:
    """Measure and write `results/allocation.json`."""
    words = parser(__doc__ or "")
    words.add_argument("--only", choices=["joint", "cells", "memory"], help="one part")
    words.add_argument("--least", type=int, default=1_000, help="cells of the smallest problem")
    words.add_argument("--most", type=int, default=1_000_000, help="cells of the largest problem with one row")
    words.add_argument("--coupled-most", type=int, default=100_000, help="cells of the largest problem with fifty")
    words.add_argument("--limit", type=float, default=LIMIT_S, metavar="SECONDS", help="of a peer at fixed offers")
    words.add_argument("--memory-of", choices=["ours", *PEERS], help="measure one side's memory and print it")
    words.add_argument("--cells", type=int, default=1000)
    words.add_argument("--coupled", action="store_true")
    args = words.parse_args()
    if args.memory_of:
        _memory(args.memory_of, args.cells, args.coupled, args.limit)
        return
    if args.only in (None, "joint"):
        write("allocation", joint(args.quick), quick=args.quick, others=True)
    if args.only in (None, "cells"):
        _cells(args)
    if args.only in (None, "memory"):
        _memories(args)


def _sizes(args: argparse.Namespace) -> list[tuple[int, bool]]:
    """Powers of ten asked for, with one row and with fifty."""
    most = {False: args.most, True: args.coupled_most}
    return [
        (power, coupled)
        for coupled in (False, True)
        for power in (3, 4, 5, 6)
        if args.least <= 10**power <= (1000 if args.quick else most[coupled])
    ]


def _named(kind: str, peer: str, power: int, coupled: bool) -> str:
    name = f"{kind}_coupled_vs_{peer}" if coupled else f"{kind}_vs_{peer}"
    return name + ("" if coupled and power == 4 else f"_1e{power}")  # the size that the coupled case is known by


def _cells(args: argparse.Namespace) -> None:
    """Units at fixed offers at the sizes asked for; a quick run does without OR-Tools, which `make bench` installs."""
    for peer, asked in PEERS.items() if not args.quick else [("highs", by_highs)]:
        for power, coupled in _sizes(args):
            rounds = 1 if args.quick else {3: 5, 4: 0 if coupled else 3}.get(power, 0)
            name = _named("allocate", peer, power, coupled)
            found = at_fixed_offers(name, _sized(10**power, coupled), asked, args.limit, rounds)
            write("allocation", [found], quick=args.quick, others=True)


def _memories(args: argparse.Namespace) -> None:
    """Peak memory of ours and of HiGHS at the sizes asked for."""
    for power, coupled in _sizes(args):
        ours, peer = (peak_memory(10**power, coupled, side, args.limit) for side in ("ours", "highs"))
        ratio = peer / ours
        found = Result(_named("memory", "highs", power, coupled), ratio, ratio, ratio, ours, peer, "MiB", machine())
        print(f"{found.name}: ours {ours:.0f} MiB, HiGHS {peer:.0f} MiB", flush=True)
        write("allocation", [found], quick=args.quick, others=True)


if __name__ == "__main__":
    main()
