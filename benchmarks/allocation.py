"""Joint price and allocation: our decomposition beside HiGHS's mixed-integer solver, to the same quality.

    python benchmarks/allocation.py [--quick]

Both sides get the same simulated problem (its tables of expected sales made beforehand) and the same task: a plan
proven to lie within 0.5 % of the best. The peer is tuned: pieces of equal marginal value merged into one column, the
model handed over as arrays, the gap told to HiGHS as its stopping rule.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from scipy import optimize, sparse

from benchmarks.harness import compare, parser, write
from ml.allocation.problem import Action, Problem, Region, Sku
from ml.allocation.solve import solve

GAP = 0.005
START = datetime(2026, 11, 11, tzinfo=UTC)


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


def main() -> None:
    """Measure and write `results/allocation.json`."""
    args = parser(__doc__ or "").parse_args()
    sizes = [(4, 2, 3)] if args.quick else [(4, 2, 3), (6, 3, 4), (8, 4, 4)]
    results = []
    for skus, regions, actions in sizes:
        problem = simulated_problem(1, skus, regions, actions)
        name = f"allocate_{skus}_skus_{regions}_regions_{actions}_prices_vs_highs"
        results.append(
            compare(
                name,
                lambda problem=problem: solve(problem),  # type: ignore[misc]
                integer_programme(problem),
                rounds=1 if args.quick else 5,
                same=agree,
            )
        )
    write("allocation", results, quick=args.quick)


if __name__ == "__main__":
    main()
