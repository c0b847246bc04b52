"""Prices by lot: within the ceiling, within the limits, half of the time, and the same for the same request."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ml.allocation import experiment as lots
from ml.allocation.experiment import BEST, NEIGHBOUR, by_lot
from ml.allocation.problem import Problem
from ml.allocation.solve import Solution, solve
from tests.ml.allocation.test_solve import _problem


@pytest.fixture(scope="module")
def solved() -> tuple[Problem, Solution]:
    problem = _problem(3, skus=14, regions=3, actions=7, mean=20.0, scenarios=120, tight=0.7)
    return problem, solve(problem)


@pytest.mark.parametrize("ceiling", [0.002, 0.02])
def test_it_costs_no_more_than_the_ceiling_and_keeps_every_limit(
    solved: tuple[Problem, Solution], ceiling: float
) -> None:
    problem, best = solved
    met = set()
    for k in range(20):
        drawn, experiment = by_lot(problem, best, ceiling, 1, f"request-{k}")
        assert drawn.value >= best.value - ceiling * best.value - 1e-9
        assert experiment.cost == pytest.approx(max(best.value - drawn.value, 0.0))
        assert (drawn.use <= problem.limits * (1 + 1e-6)).all()
        for i, sku in enumerate(problem.skus):
            before, after = (sku.actions[plan.choices[i].action].price for plan in (best, drawn))
            assert after == before or experiment.arms[i] == NEIGHBOUR
            assert drawn.choices[i].units.sum() <= sku.supply_units
        met |= set(experiment.arms)
    assert met


def test_a_neighbour_is_the_next_rung_and_the_other_price_is_the_one_not_drawn(
    solved: tuple[Problem, Solution],
) -> None:
    problem, best = solved
    drawn, experiment = by_lot(problem, best, 0.02, 1, "request-0")
    assert set(experiment.arms.values()) == {BEST, NEIGHBOUR}
    for i, arm in experiment.arms.items():
        ladder = [action.price for action in problem.skus[i].actions]
        own, other = ladder[drawn.choices[i].action], experiment.other_price[i]
        assert abs(ladder.index(own) - ladder.index(other)) == 1
        best_price = ladder[best.choices[i].action]
        assert (own if arm == BEST else other) == best_price


def test_either_arm_has_its_chance_and_who_takes_part_does_not_hang_on_it(solved: tuple[Problem, Solution]) -> None:
    problem, best = solved
    arms = [by_lot(problem, best, 0.02, 1, f"request-{k}")[1].arms for k in range(60)]
    drawn = np.array([arm == NEIGHBOUR for one in arms for arm in one.values()])
    assert len(drawn) > 150
    assert abs(drawn.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(drawn))


def test_a_sku_that_proves_dear_in_some_draws_has_its_chance_all_the_same(
    solved: tuple[Problem, Solution], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A SKU whose other price costs more than is allowed beside any but few others: dear draws alone do not fall out."""
    problem, best = solved
    dear = max(by_lot(problem, best, 0.02, 1, "request-0")[1].arms)

    def drawn(_: Problem, plan: Solution, flipped: dict[int, int], __: None) -> Solution:
        share = (0.012 if dear in flipped else 0.0) + 0.002 * len(flipped)
        return replace(plan, value=plan.value * (1 - share))

    monkeypatch.setattr(lots, "_drawn", drawn)
    found = [by_lot(problem, best, 0.02, 1, f"request-{k}")[1].arms for k in range(300)]
    arms = np.array([one[dear] == NEIGHBOUR for one in found if dear in one])
    assert 60 < len(arms) < 290
    assert abs(arms.mean() - 0.5) < 3 * 0.5 / np.sqrt(len(arms))


def test_the_same_request_draws_the_same_and_no_share_draws_nothing(solved: tuple[Problem, Solution]) -> None:
    problem, best = solved
    first, again, other = (by_lot(problem, best, 0.02, 1, name)[1] for name in ("a", "a", "b"))
    assert first == again != other
    plan, none = by_lot(problem, best, 0.0, 1, "a")
    assert plan is best and not none.arms
