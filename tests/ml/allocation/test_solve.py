"""The allocation solver against HiGHS on small instances, and its certificate on larger ones."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import highspy
import numpy as np
import pytest

from ml.allocation.problem import Action, Choice, Problem, Region, Sku, realised_profit, use_of
from ml.allocation.solve import solve

START = datetime(2026, 11, 11, tzinfo=UTC)


def _problem(seed: int, skus: int, regions: int, actions: int, mean: float, scenarios: int, tight: float) -> Problem:
    rng = np.random.default_rng(seed)
    items = []
    for i in range(skus):
        listed = float(rng.uniform(20, 100))
        cost = listed * float(rng.uniform(0.3, 0.5))
        prices = sorted(rng.uniform(0.6, 0.95, actions) * listed)
        base = mean * rng.lognormal(0, 0.4, (1, regions, 1)) * rng.lognormal(0, 0.5, (1, 1, scenarios))
        pull = np.array([(p / listed) ** -2.0 for p in prices])[:, None, None]
        demand = rng.poisson(base * pull)
        items.append(
            Sku(
                f"s{i}",
                cost,
                0.4 * cost,
                listed,
                int(mean * regions * rng.uniform(0.8, 1.8)) + 1,
                [Action(p, "discount", START) for p in prices],
                demand,
            )
        )
    total = mean * skus
    places = [
        Region(f"r{r}", int(total * tight * rng.uniform(0.8, 1.2)) + 1, 1.0, 0.2 if r == 0 else 0.0)
        for r in range(regions)
    ]
    spend = sum(s.unit_cost for s in items) * mean * regions
    return Problem(items, places, stock_budget=spend * tight, promotion_budget=0.5 * spend * tight)


def _oracle(problem: Problem) -> float:
    """The same problem as one mixed-integer programme, unit by unit, solved by HiGHS."""
    model = highspy.Highs()
    model.setOptionValue("output_flag", False)
    model.setOptionValue("mip_rel_gap", 0.0)
    stock, promotion = [], []
    space: list[list] = [[] for _ in problem.regions]
    objective = []
    for sku, tables in zip(problem.skus, problem.tables, strict=True):
        chosen = [model.addBinary() for _ in sku.actions]
        model.addConstr(sum(chosen) == 1)
        supply = []
        for a, u in enumerate(chosen):
            for r in range(len(problem.regions)):
                units = [
                    model.addVariable(lb=0, ub=1, type=highspy.HighsVarType.kInteger)
                    for _ in range(tables.survival.shape[2])
                ]
                for q, z in enumerate(units):
                    model.addConstr(z <= u)
                    if q < tables.least[a, r]:
                        model.addConstr(z >= u)
                    sold = float(tables.survival[a, r, q])
                    objective.append((float(tables.margin[a]) * sold - float(tables.holding[r])) * z)
                    stock.append(sku.unit_cost * z)
                    promotion.append(float(tables.discount[a]) * sold * z)
                    space[r].append(1.0 * z)
                    supply.append(1.0 * z)
        model.addConstr(sum(supply) <= sku.supply_units)
    model.addConstr(sum(stock) <= problem.stock_budget)
    model.addConstr(sum(promotion) <= problem.promotion_budget)
    for region, used in zip(problem.regions, space, strict=True):
        model.addConstr(sum(used) <= region.capacity_units)
    model.maximize(sum(objective))
    return float(model.getInfo().objective_function_value)


@pytest.mark.parametrize("seed", range(8))
def test_value_and_bound_enclose_highs(seed: int) -> None:
    problem = _problem(seed, skus=3, regions=2, actions=2, mean=5.0, scenarios=40, tight=0.7)
    ours, exact = solve(problem), _oracle(problem)
    assert ours.value <= exact + 1e-6
    assert ours.bound >= exact - 1e-6
    assert ours.value >= exact - 0.03 * abs(exact)


@pytest.mark.parametrize("tight", [0.4, 0.8, 3.0])
def test_plan_keeps_every_limit_and_certifies_a_small_gap(tight: float) -> None:
    problem = _problem(1, skus=15, regions=4, actions=6, mean=30.0, scenarios=150, tight=tight)
    begun = time.perf_counter()
    plan = solve(problem)
    assert time.perf_counter() - begun < 20
    assert (plan.use <= problem.limits * (1 + 1e-6)).all()
    for sku, tables, choice in zip(problem.skus, problem.tables, plan.choices, strict=True):
        assert choice.units.sum() <= sku.supply_units
        assert (choice.units >= tables.least[choice.action]).all()
    assert 0 <= plan.gap < 0.01
    if tight == 3.0:
        assert not plan.multipliers[0]


def test_without_limits_it_is_the_newsvendor() -> None:
    rng = np.random.default_rng(3)
    demand = rng.poisson(40, (1, 2, 2000))
    sku = Sku("a", 30.0, 10.0, 80.0, 10_000, [Action(60.0, "discount", START)], demand)
    problem = Problem([sku], [Region("r0", 10_000, 0.0), Region("r1", 10_000, 2.0)])
    units = solve(problem).choices[0].units
    for r, shipping in enumerate((0.0, 2.0)):
        over = 30.0 - 10.0 + shipping
        fractile = (60.0 - 30.0 - shipping) / (60.0 - 30.0 - shipping + over)
        assert abs(units[r] - np.quantile(demand[0, r], fractile)) <= 1


def test_multiplier_is_the_price_of_more_budget() -> None:
    problem = _problem(5, skus=12, regions=3, actions=3, mean=25.0, scenarios=200, tight=0.5)
    plan = solve(problem)
    assert plan.multipliers[0] > 0 or plan.multipliers[2:].max() > 0
    more = 0.02 * problem.stock_budget
    richer = solve(Problem(problem.skus, problem.regions, problem.stock_budget + more, problem.promotion_budget))
    assert richer.bound - plan.bound <= plan.multipliers[0] * more * 1.01 + 1e-6


def test_value_agrees_with_profit_counted_scenario_by_scenario() -> None:
    problem = _problem(2, skus=3, regions=2, actions=2, mean=8.0, scenarios=60, tight=1.0)
    plan = solve(problem)
    demand = [sku.demand for sku in problem.skus]
    assert realised_profit(problem, plan.choices, demand).mean() == pytest.approx(plan.value)
    by_hand = 0.0
    for sku, choice in zip(problem.skus, plan.choices, strict=True):
        price = sku.actions[choice.action].price
        for w in range(60):
            for r, region in enumerate(problem.regions):
                q, d = int(choice.units[r]), int(sku.demand[choice.action, r, w])
                sold = min(q, d)
                by_hand += price * sold - sku.unit_cost * q + sku.salvage_value * (q - sold) - region.shipping_cost * q
    assert by_hand / 60 == pytest.approx(plan.value)


def test_a_time_limit_answers_with_a_plan_and_its_gap() -> None:
    problem = _problem(1, skus=15, regions=4, actions=6, mean=30.0, scenarios=150, tight=0.5)
    hurried, patient = solve(problem, time_limit_s=0.0), solve(problem)
    assert (hurried.use <= problem.limits * (1 + 1e-6)).all()
    assert hurried.value <= patient.value <= hurried.bound
    assert hurried.gap > patient.gap


def test_same_problem_same_plan() -> None:
    plans = [solve(_problem(7, 6, 3, 4, 20.0, 120, 0.6)) for _ in range(2)]
    for a, b in zip(plans[0].choices, plans[1].choices, strict=True):
        assert a.action == b.action
        assert np.array_equal(a.units, b.units)


def test_use_counts_money_promotion_and_space() -> None:
    sku = Sku("a", 10.0, 2.0, 50.0, 100, [Action(40.0, "discount", START)], np.full((1, 2, 10), 3))
    problem = Problem([sku], [Region("r0", 9, 0.0), Region("r1", 9, 0.0)])
    assert use_of(sku, problem.tables[0], Choice(0, np.array([2, 3]))).tolist() == [50.0, 50.0, 2.0, 3.0]
