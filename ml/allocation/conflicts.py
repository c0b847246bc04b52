"""Can minimum service be held at all? If not: which rows of the request conflict, none of which can be left out.

An irreducible set by deletion (Chinneck and Dravnieks 1991): rows are left out one by one, for good where the rest
still cannot hold. Whether rows can hold together is asked of HiGHS: one offer a SKU, each with its least units.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from flashsale.errors import InputError
from ml.allocation.problem import Choice, Problem, use_of, with_slack

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Rows:
    """Rows that are to hold: regions' minimum service, SKUs' supply, coupling rows, by index."""

    services: frozenset[int]
    supplies: frozenset[int]
    limits: frozenset[int]


def least_choices(problem: Problem) -> list[Choice]:
    """A way to hold minimum service within every limit, one choice a SKU.

    Raises InputError naming an irreducible set of rows where there is none.
    """
    rows = _Rows(
        frozenset(r for r, region in enumerate(problem.regions) if region.min_service > 0),
        frozenset(range(len(problem.skus))),
        frozenset(np.flatnonzero(np.isfinite(problem.limits)).tolist()),
    )
    frugal = [int(np.argmin(tables.least.sum(axis=1))) for tables in problem.tables]
    actions: list[int] | None = frugal
    if not _holds(problem, frugal, rows):
        actions = _actions(problem, rows)
    if actions is None:
        raise _conflict(problem, _irreducible(problem, rows))
    return [Choice(a, tables.least[a].copy()) for a, tables in zip(actions, problem.tables, strict=True)]


def _holds(problem: Problem, actions: list[int], rows: _Rows) -> bool:
    total = np.zeros(len(problem.limits))
    for i, a in enumerate(actions):
        if i in rows.supplies and problem.tables[i].least[a].sum() > problem.skus[i].supply_units:
            return False
        total += use_of(problem.skus[i], problem.tables[i], Choice(a, problem.tables[i].least[a]))
    kept = sorted(rows.limits)
    return bool((total[kept] <= with_slack(problem.limits)[kept]).all())


def _actions(problem: Problem, rows: _Rows) -> list[int] | None:
    """An action a SKU with which the rows hold, by mixed-integer programming; None where there is none."""
    from scipy import optimize, sparse

    wanted = np.array([r in rows.services for r in range(len(problem.regions))])
    owner, index, uses, cost = [], [], [], []
    for i, (sku, tables) in enumerate(zip(problem.skus, problem.tables, strict=True)):
        for a in range(len(sku.actions)):
            least = np.where(wanted, tables.least[a], 0)
            if i in rows.supplies and least.sum() > sku.supply_units:
                continue
            owner.append(i)
            index.append(a)
            uses.append(use_of(sku, tables, Choice(a, least)))
            cost.append(float(least.sum()))
    if len(set(owner)) < len(problem.skus):
        return None
    kept = sorted(rows.limits)
    ones = sparse.csr_array((np.ones(len(owner)), (owner, np.arange(len(owner)))))
    constraints = [optimize.LinearConstraint(ones, 1, 1)]
    if kept:
        most = with_slack(problem.limits[kept])
        constraints.append(optimize.LinearConstraint(np.array(uses).T[kept], -np.inf, most))
    answer = optimize.milp(
        np.array(cost), integrality=np.ones(len(cost)), bounds=optimize.Bounds(0, 1), constraints=constraints
    )
    if answer.x is None:
        return None
    chosen = np.flatnonzero(answer.x > 0.5)
    return [index[j] for j in chosen[np.argsort(np.array(owner)[chosen])]]


def _irreducible(problem: Problem, rows: _Rows) -> _Rows:
    """Leave rows out while the rest still cannot hold: first all supplies at once, then one by one."""
    without = replace(rows, supplies=frozenset())
    if _actions(problem, without) is None:
        rows = without
    for kind in ("supplies", "limits", "services"):
        for k in sorted(getattr(rows, kind)):
            fewer = replace(rows, **{kind: getattr(rows, kind) - {k}})
            if _actions(problem, fewer) is None:
                rows = fewer
    return rows


def _conflict(problem: Problem, rows: _Rows) -> InputError:
    services = [problem.regions[r].region_id for r in sorted(rows.services)]
    supplies = [problem.skus[i] for i in sorted(rows.supplies)]
    limits = [(problem.limit_names[k], problem.limits[k]) for k in sorted(rows.limits)]
    capped = [f"supply_units of {sku.sku_id} ({sku.supply_units})" for sku in supplies]
    capped += [f"{name} ({most:.0f})" for name, most in limits]
    first = limits[0][0].split(":")[0] if limits else "supply_units"
    return InputError(
        "sale request",
        f"these cannot all hold, and would without any one of them: min_service of {', '.join(services)}; "
        + "; ".join(capped),
        "lower min_service of one of these regions or raise one of the limits",
        field=first,
        row=limits[0][0].partition(":")[2] or None if limits else supplies[0].sku_id,
    )
