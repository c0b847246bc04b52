"""Prices of a whole sale: against every combination, the manager and the SKU-by-SKU plan; within limits, fast enough."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from flashsale.errors import InputError
from ml.allocation.experiment import by_lot
from ml.allocation.joint import JointSale, ascend, profile_of, solve_jointly
from ml.allocation.problem import Action, Problem, Region, Sku
from ml.allocation.solve import Solution, solve
from ml.demand.response import learn_response
from ml.demand.substitution import Substitution, learn_substitution
from tests.ml.allocation.test_solve import _problem
from tests.ml.nested_logit import CATEGORIES, REGIONS, SLOPES, Shop

START = datetime(2026, 11, 11, tzinfo=UTC)
LADDER = np.array([0.7, 0.8, 0.9, 1.0])
MIDDLE = 2


def _solved(sale: JointSale, alone: Solution, time_limit_s: float = np.inf) -> Solution:
    plan = solve_jointly(sale, alone, time_limit_s)
    assert plan is not None
    return plan


class _Exam:
    """A small sale of a SIMULATED shop whose best prices are known from trying all of them."""

    def __init__(self, seed: int, sigma: float, offers: int = 5) -> None:
        self.shop, rng = Shop.of(seed, sigma), np.random.default_rng([seed, 3])
        first = np.argsort(rng.permutation(4)[self.shop.kind] + rng.uniform(0, 0.5, 24), kind="stable")
        crowded = rng.random() < 0.5  # all of one or two categories, or any
        self.ids = np.sort(first[:offers] if crowded else rng.choice(24, offers, replace=False))
        self.luck, self.cost = rng.normal(0, 0.4, offers), rng.uniform(0.35, 0.6, offers)
        self.kind = self.shop.kind[self.ids]
        every = [self.profit(np.array(p)) for p in itertools.product(range(len(LADDER)), repeat=offers)]
        self.best = max(every)

    def profit(self, profile: np.ndarray) -> float:
        """True expected profit, nothing short."""
        units = self.shop.demand(self.ids, self.luck, np.log(LADDER[profile]))
        return float(((LADDER[profile] - self.cost)[:, None] * units).sum())

    def learnt(self) -> tuple[Substitution, np.ndarray]:
        """What the platform learns from the shop's past sales: substitution, and each offer's elasticity."""
        controls, past = self.shop.sales()
        found = learn_response(controls, past.lift, past.log_ratio, past.sales, ["category"])
        slopes = [found.by_category[str(c)] for c in CATEGORIES[self.kind]]
        return learn_substitution(controls, past, ["category"]), np.array(slopes)

    def known(self) -> tuple[Substitution, np.ndarray]:
        """The truth in the same form: any reach will do, the elasticity at it is the truth's."""
        sigma = self.shop.sigma
        return Substitution(sigma, 0.0, 99.0, False, 4.0, {}, 0.8), SLOPES[self.kind] * 0.8 / (1 - sigma)

    def shares(self, substitution: Substitution, slopes: np.ndarray) -> dict[str, float]:
        """Of the best true profit: the joint plan, the manager's prices, the SKU-by-SKU plan."""
        sale = self._sale(substitution, slopes)
        alone = solve(sale.problem)
        plans = {"joint": profile_of(_solved(sale, alone)), "manager": sale.reference, "alone": profile_of(alone)}
        return {name: self.profit(profile) / self.best for name, profile in plans.items()}

    def _sale(self, substitution: Substitution, slopes: np.ndarray) -> JointSale:
        middle = np.full(len(self.ids), MIDDLE)
        units = self.shop.demand(self.ids, self.luck, np.log(LADDER[middle]))
        looks = np.tile(self.shop.customers / substitution.draw / len(self.ids), (len(self.ids), 1))
        effect = [np.tile((s * np.log(LADDER / LADDER[MIDDLE]))[:, None], (1, REGIONS)) for s in slopes]

        def given(multipliers: list[np.ndarray]) -> list[np.ndarray]:
            parts = zip(multipliers, units, strict=True)
            return [np.rint(own * part)[:, :, None].astype(np.int64) for part, own in parts]

        actions = [Action(float(p), "discount", START) for p in LADDER]
        wanted = given([np.exp(own) for own in effect])
        skus = [
            Sku(f"s{i}", c, c, 1.0, 10**6, actions, d) for i, (c, d) in enumerate(zip(self.cost, wanted, strict=True))
        ]
        # Leftovers cost nothing but the shipping: units follow demand, and prices alone are in question.
        regions = [Region(f"r{r}", 10**7, 1e-6) for r in range(REGIONS)]
        market = substitution.market(CATEGORIES[self.kind], units, looks)
        return JointSale(Problem(skus, regions), market, effect, middle, given)


def test_with_the_true_model_it_is_at_the_best_in_every_simulated_sale() -> None:
    for seed, sigma in itertools.product(range(7), (0.0, 0.5, 0.8)):
        exam = _Exam(seed, sigma)
        share = exam.shares(*exam.known())
        assert share["joint"] >= 0.98, (seed, sigma)
        assert share["joint"] >= max(share["manager"], share["alone"]) - 1e-3


@pytest.mark.parametrize("sigma", [0.3, 0.6])
def test_with_what_past_sales_teach_it_is_near_the_best_and_above_the_manager(sigma: float) -> None:
    exams = [_Exam(seed, sigma) for seed in range(8)]
    shares = [exam.shares(*exam.learnt()) for exam in exams]
    joint, manager, alone = (np.array([s[name] for s in shares]) for name in ("joint", "manager", "alone"))
    assert joint.mean() >= 0.98 and joint.min() >= 0.93
    assert (joint >= manager - 1e-9).all()
    if sigma == 0.6:  # among close substitutes, looking SKU by SKU is worse than leaving prices to the manager
        assert alone.mean() < manager.mean()


def _sale(problem: Problem, categories: int, sigma: float = 0.6) -> JointSale:
    """Offers of a problem that compete: its scenarios, scaled by what the rivals do."""
    means = [sku.demand.mean(axis=2) for sku in problem.skus]
    middle = np.array([len(own) // 2 for own in means])
    effect = [np.log(np.maximum(own, 1e-3) / np.maximum(own[m], 1e-3)) for own, m in zip(means, middle, strict=True)]
    units = np.stack([own[m] for own, m in zip(means, middle, strict=True)])
    market = Substitution(sigma, 0.0, 99.0, False, 5.0, {}, 0.75).market(
        np.arange(len(means)) % categories, units, units
    )

    def given(multipliers: list[np.ndarray]) -> list[np.ndarray]:
        scale = [part / np.exp(own) for part, own in zip(multipliers, effect, strict=True)]
        return [
            np.rint(sku.demand * s[:, :, None]).astype(np.int64) for sku, s in zip(problem.skus, scale, strict=True)
        ]

    return JointSale(problem, market, effect, middle, given)


@pytest.mark.parametrize("tight", [0.5, 0.9, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_it_is_never_below_the_manager_or_the_sku_by_sku_plan_and_keeps_the_limits(seed: int, tight: float) -> None:
    problem = _problem(seed, skus=8, regions=3, actions=5, mean=20.0, scenarios=80, tight=tight)
    fewer = replace(problem.skus[0], actions=problem.skus[0].actions[:2], demand=problem.skus[0].demand[:2])
    problem = replace(problem, skus=[fewer, *problem.skus[1:]])
    sale, alone = _sale(problem, 3), solve(problem)
    plan = solve_jointly(sale, alone)
    rivals = [value for value in (_value_at(sale, p) for p in (sale.reference, profile_of(alone))) if value is not None]
    if plan is None:
        assert not rivals and tight == 0.5  # minimum service fits neither
        return
    assert plan.value >= max(rivals, default=plan.value) - 1e-9
    assert (plan.use <= problem.limits * (1 + 1e-6)).all()
    assert plan.value <= plan.bound and plan.gap < 0.01
    kept = sale.given_rivals(profile_of(plan))
    for sku, tables, choice in zip(kept.skus, kept.tables, plan.choices, strict=True):
        assert choice.action < len(sku.actions)
        assert choice.units.sum() <= sku.supply_units
        assert (choice.units >= tables.least[choice.action]).all()


def _value_at(sale: JointSale, profile: np.ndarray) -> float | None:
    """The best plan's value at these actions, None where minimum service does not fit."""
    try:
        return sale.units_at(profile).value
    except InputError:
        return None


def test_a_profiles_value_is_what_its_best_units_earn() -> None:
    """What ascent compares, prices of supply in place of units, against the solver's plan at the same actions."""
    problem = _problem(4, skus=6, regions=3, actions=4, mean=40.0, scenarios=200, tight=50.0)
    sale = _sale(problem, 2)
    values, rng = sale.values(np.zeros(len(problem.limits))), np.random.default_rng(0)
    for _ in range(12):
        profile = rng.integers(0, 4, 6)
        exact = sale.units_at(profile).value
        assert values(0, profile)[profile[0]] == pytest.approx(exact, rel=0.01)
        i, a = int(rng.integers(0, 6)), int(rng.integers(0, 4))
        other = profile.copy()
        other[i] = a
        assert values(i, profile)[a] == pytest.approx(values(i, other)[a])


def test_no_sku_alone_could_do_better_for_the_sale() -> None:
    problem = _problem(6, skus=6, regions=2, actions=4, mean=40.0, scenarios=150, tight=0.8)
    sale = _sale(problem, 2)
    plan = _solved(sale, solve(problem))
    for i, a in itertools.product(range(6), range(4)):
        other = profile_of(plan)
        other[i] = a
        value = _value_at(sale, other)
        assert value is None or value <= plan.value * 1.005


@pytest.mark.parametrize("seed", range(4))
def test_within_limits_it_is_near_the_best_of_every_combination(seed: int) -> None:
    problem = _problem(20 + seed, skus=3, regions=2, actions=3, mean=25.0, scenarios=60, tight=0.7)
    sale = _sale(problem, 2, sigma=0.7)
    every = [_value_at(sale, np.array(p)) for p in itertools.product(range(3), repeat=3)]
    assert _solved(sale, solve(problem)).value >= 0.97 * max(value for value in every if value is not None)


def test_rivals_and_nothing_else_make_the_difference() -> None:
    """One offer a category in a huge market: nobody takes anything from anybody, and both plans are one."""
    problem = _problem(2, skus=5, regions=2, actions=4, mean=30.0, scenarios=100, tight=0.8)
    sale = _sale(problem, 5, sigma=0.0)
    units = np.stack([s.demand.mean(axis=2)[m] for s, m in zip(problem.skus, sale.reference, strict=True)])
    vast = Substitution(0.0, 0.0, 99.0, False, 1e7, {}, 1.0).market(np.arange(5), units, units)
    alone = solve(problem)
    plan = _solved(replace(sale, market=vast), alone)
    assert plan.value == pytest.approx(alone.value, rel=2e-3)


def test_ascent_stops_where_nobody_moves() -> None:
    target = np.array([2, 0, 3])

    def values(i: int, profile: np.ndarray) -> np.ndarray:
        return -np.abs(np.arange(4) - target[i]).astype(float)

    assert ascend(np.zeros(3, dtype=int), values).tolist() == target.tolist()
    assert ascend(np.zeros(3, dtype=int), values, until=0.0).tolist() == [0, 0, 0]


def test_a_lot_counts_what_a_price_does_to_rivals() -> None:
    problem = _problem(3, skus=10, regions=3, actions=6, mean=25.0, scenarios=100, tight=0.8)
    sale = _sale(problem, 2)
    best = _solved(sale, solve(problem))
    kept, met = sale.given_rivals(profile_of(best)), 0
    for k in range(8):
        drawn, experiment = by_lot(kept, best, 0.02, 1, f"request-{k}", sale)
        assert drawn.value == pytest.approx(sale.units_at(profile_of(drawn)).value)
        assert drawn.value >= best.value * 0.98 - 1e-9
        assert experiment.cost == pytest.approx(max(best.value - drawn.value, 0.0))
        assert drawn.bound >= best.value
        met += len(experiment.arms)
    assert met > 0


def test_the_same_sale_gives_the_same_plan_and_a_time_limit_a_plan() -> None:
    problem = _problem(5, skus=8, regions=3, actions=5, mean=20.0, scenarios=80, tight=0.7)
    alone = solve(problem)
    plans = [_solved(_sale(problem, 3), alone) for _ in range(2)]
    assert profile_of(plans[0]).tolist() == profile_of(plans[1]).tolist()
    assert all(np.array_equal(a.units, b.units) for a, b in zip(plans[0].choices, plans[1].choices, strict=True))
    hurried = _solved(_sale(problem, 3), alone, time_limit_s=0.0)
    assert (hurried.use <= problem.limits * (1 + 1e-6)).all()
    assert hurried.value <= plans[0].value + 1e-6


def test_a_large_sale_takes_seconds() -> None:
    problem = _problem(1, skus=60, regions=8, actions=12, mean=12.0, scenarios=100, tight=0.7)
    sale, alone = _sale(problem, 5), solve(problem, time_limit_s=0.0)
    begun = time.perf_counter()
    plan = _solved(sale, alone)
    assert time.perf_counter() - begun < 20
    assert plan.value > 1.05 * sale.units_at(sale.reference).value
