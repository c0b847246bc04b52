"""Requests whose minimum service cannot be held: the rows named conflict, and do not without any one of them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from flashsale.errors import InputError
from ml.allocation.conflicts import least_choices
from ml.allocation.problem import Action, Choice, Problem, Region, Sku, use_of
from ml.allocation.solve import solve

START = datetime(2026, 11, 11, tzinfo=UTC)
PLENTY = 10_000


def _sku(name: str, supply: int, *wanted: int, regions: int = 2) -> Sku:
    """One action for every amount wanted, the same in each region."""
    demand = np.array([np.full((regions, 10), amount) for amount in wanted])
    actions = [Action(40.0 + k, "discount", START) for k in range(len(wanted))]
    return Sku(name, 10.0, 2.0, 50.0, supply, actions, demand)


def _regions(*capacity: int, service: float = 0.5) -> list[Region]:
    return [Region(f"r{k}", most, 0.0, service) for k, most in enumerate(capacity)]


def _message(problem: Problem) -> str:
    with pytest.raises(InputError) as refused:
        solve(problem)
    return str(refused.value)


def test_a_supply_that_is_too_small_is_named_with_both_regions() -> None:
    said = _message(Problem([_sku("a", 20, 30), _sku("b", PLENTY, 30)], _regions(PLENTY, PLENTY)))
    assert "supply_units of a (20)" in said and "r0, r1" in said
    assert "of b" not in said and "space" not in said


@pytest.mark.parametrize("wanted", [(30,), (30, 28)])
def test_one_region_that_needs_more_than_the_supply_is_named_alone(wanted: tuple[int, ...]) -> None:
    """No plan serves nine tenths of thirty units from five: that is refused, at fixed offers and at several alike."""
    alone = [Region("r0", PLENTY, 0.0, 0.9), Region("r1", PLENTY, 0.0)]
    said = _message(Problem([_sku("a", 5, *wanted), _sku("b", PLENTY, 30)], alone))
    assert ("supply_units of a (5)" in said or "supply is 5" in said) and "r1" not in said


def test_a_budget_is_named_without_what_does_not_matter() -> None:
    regions = [Region("r0", 100, 0.0, 0.5), Region("r1", 100, 0.0)]
    said = _message(Problem([_sku("a", 500, 30)], regions, stock_budget=20.0))
    assert "stock_budget (20)" in said and "min_service of r0;" in said
    assert "space" not in said and "supply" not in said


def test_two_rows_that_conflict_only_together_are_both_named() -> None:
    # The dear action sells little but takes much of the promotion budget, the cheap one the other way about.
    few = Sku("a", 10.0, 2.0, 50.0, PLENTY, [Action(5.0, "discount", START), Action(50.0, "discount", START)],
              np.array([np.full((1, 10), 10), np.full((1, 10), 40)]))  # fmt: skip
    problem = Problem([few], _regions(12, service=0.5), promotion_budget=10.0)
    said = _message(problem)
    assert "promotion_budget (10)" in said and "space:r0 (12)" in said
    assert least_choices(replace(problem, promotion_budget=1e6))[0].action == 0
    assert least_choices(replace(problem, regions=_regions(30, service=0.5)))[0].action == 1


@pytest.mark.parametrize("seed", range(12))
def test_against_every_combination_of_offers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    skus = [_sku(f"s{i}", int(rng.integers(8, 30)), *rng.integers(4, 24, 3).tolist()) for i in range(3)]
    problem = Problem(skus, _regions(*rng.integers(8, 30, 2).tolist()), stock_budget=float(rng.integers(150, 500)))
    services, rows = {"r0", "r1"}, {*problem.limit_names, *(f"supply_units of {sku.sku_id}" for sku in skus)}
    if _possible(problem, services, rows):
        assert _fits(problem, tuple(c.action for c in least_choices(problem)), services, rows)
        return
    asked, capped = _message(problem).split("min_service of ")[1].split(". Remedy")[0].split("; ", 1)
    services, rows = set(asked.split(", ")), {part.rsplit(" (", 1)[0] for part in capped.split("; ")}
    assert not _possible(problem, services, rows)
    assert all(_possible(problem, services - {one}, rows) for one in services)
    assert all(_possible(problem, services, rows - {one}) for one in rows)


def _possible(problem: Problem, services: set[str], rows: set[str]) -> bool:
    return any(_fits(problem, actions, services, rows) for actions in itertools.product(range(3), repeat=3))


def _fits(problem: Problem, actions: tuple[int, ...], services: set[str], rows: set[str]) -> bool:
    """These rows alone hold for these offers, counted plainly."""
    total = np.zeros(len(problem.limits))
    served = np.array([region.region_id in services for region in problem.regions])
    for sku, tables, a in zip(problem.skus, problem.tables, actions, strict=True):
        units = np.where(served, tables.least[a], 0)
        if units.sum() > sku.supply_units and f"supply_units of {sku.sku_id}" in rows:
            return False
        total += use_of(sku, tables, Choice(a, units))
    return all(
        used <= most
        for name, used, most in zip(problem.limit_names, total, problem.limits, strict=True)
        if name in rows
    )


@pytest.mark.parametrize("wanted", [(30,), (30, 30)])
def test_minimum_service_may_use_a_budget_up(wanted: tuple[int, ...]) -> None:
    """Sums of a tenth come out a hair above the budget that they are: that is no conflict."""
    skus = [replace(_sku(f"s{k}", PLENTY, *wanted), unit_cost=0.1 + 0.2 * k) for k in range(3)]
    need = sum(sku.unit_cost * 15 * 2 for sku in skus)
    plan = solve(Problem(skus, _regions(PLENTY, PLENTY), stock_budget=round(need, 2)))
    assert [c.units.tolist() for c in plan.choices] == [[15, 15]] * 3
    assert "stock_budget" in _message(Problem(skus, _regions(PLENTY, PLENTY), stock_budget=round(need, 2) - 0.01))
