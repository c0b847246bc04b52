"""From features, a model and a request to the rows of a plan; pure: frames in, frames out.

Where the model knows how offers compete, prices, promotions and hours of the whole sale are chosen together
(`ml.allocation.joint`). The problem that a plan keeps has every lawful action of every SKU, each with the demand it
would have with the rivals at the actions that were chosen.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from flashsale.request import SaleRequest
from ml.allocation.experiment import NO_EXPERIMENT, PROPENSITY, Experiment, by_lot
from ml.allocation.explain import Facts, explain
from ml.allocation.forecast import ActionDemand, action_demand, around_mean, moved, reference_action, scenarios, shocks
from ml.allocation.joint import JointSale, profile_of, solve_jointly
from ml.allocation.ladder import Ladder
from ml.allocation.problem import Choice, Problem, Region, Sku, realised_profit
from ml.allocation.solve import Solution, next_unit_value, solve
from ml.demand import features as ft
from ml.demand.backtest import calibrated
from ml.demand.heads import LevelHeads
from ml.demand.substitution import from_notes

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SOLVED_ON, VALUED_ON = 300, 600  # scenarios; the second set is drawn anew
SCENARIOS, MEAN = "scenarios", "mean"  # what a plan is solved on
Draw = Callable[[list[ActionDemand]], list[Ints]]
NEARLY = 1e-6  # a multiplier above this share of money counts as binding


@dataclass(frozen=True)
class Inputs:
    """What a plan is made from: the request, its feature rows, past lifts, its lawful ladder, region costs."""

    request: SaleRequest
    rows: pd.DataFrame
    history: pd.DataFrame
    ladder: Ladder
    shipping: dict[str, float]

    @property
    def regions(self) -> list[str]:
        """Regions in the request's order."""
        return [region.region_id for region in self.request.regions]


@dataclass(frozen=True)
class Planned:
    """A solved plan with the demand it was solved on.

    `demand` has rivals at the plan's actions, `reference` at the middle of their ladders. `whole` is the sale whose
    offers compete, None where the model knows nothing of it: then nothing but the reference counts, and the plan's
    bound is one on all plans. With it, the bound is on plans at the same actions: it certifies the units. `rule` says
    whether it was solved on scenarios or, because the model's intervals do not hold, on its mean with the errors
    of the backtest.
    """

    problem: Problem
    solution: Solution
    demand: list[ActionDemand]
    reference: list[ActionDemand]
    whole: JointSale | None = None
    experiment: Experiment = NO_EXPERIMENT
    rule: str = SCENARIOS


def make_plan(inputs: Inputs, heads: LevelHeads, seed: int, time_limit_s: float = np.inf) -> Planned:
    """Solve a request under one demand model; without a time limit the same inputs and seed give the same plan.

    The limit is of both solves: what units at the reference leave of it is left to prices, promotions and hours.
    Where minimum service fits only as long as rivals' prices are left out of account, the SKU-by-SKU plan stands.
    """
    foreseen = foresee(inputs, heads, seed)
    problem, demand, whole = foreseen.problem, foreseen.demand, foreseen.whole
    until = time.monotonic() + time_limit_s
    alone = Planned(problem, solve(problem, time_limit_s=time_limit_s), demand, demand, rule=demand_rule(heads))
    if whole is None or all(len(sku.actions) == 1 for sku in problem.skus):
        return alone
    solution = solve_jointly(whole, alone.solution, max(until - time.monotonic(), 0.0))
    return alone if solution is None else _given_rivals(replace(alone, whole=whole), solution)


@dataclass(frozen=True)
class Foreseen:
    """What a model expects of a request: demand with rivals at the reference, the problem, the sale as a contest."""

    problem: Problem
    demand: list[ActionDemand]
    whole: JointSale | None


def foresee(inputs: Inputs, heads: LevelHeads, seed: int) -> Foreseen:
    """Demand of every action of a request, before anything is chosen."""
    demand = action_demand(heads, inputs.rows, inputs.history, inputs.ladder.actions, inputs.regions)
    draw = _drawing(heads, _shocks(inputs, heads, SOLVED_ON, seed))
    problem = _problem(inputs, draw(demand))
    return Foreseen(problem, demand, _whole_sale(inputs, heads, problem, demand, draw))


def demand_rule(heads: LevelHeads) -> str:
    """`mean` where the model's backtest says that its intervals do not hold, else `scenarios`.

    A quantile of a distribution that is wrong is a worse guide than its mean and the errors it had. A model without a
    backtest is believed.
    """
    return MEAN if calibrated(heads.notes.get("metrics", {})) is False else SCENARIOS


def _drawing(heads: LevelHeads, z: Floats) -> Draw:
    """Whole units by the model's rule: scenarios of its quantiles, or its mean with the backtest's errors."""
    if demand_rule(heads) == SCENARIOS:
        return lambda demand: scenarios(demand, z)
    bias, wape = (float(heads.notes["metrics"][f"{name}_model"]) for name in ("bias", "wape"))
    return lambda demand: around_mean(demand, z, bias, wape)


def demand_given(whole: JointSale, reference: list[ActionDemand], profile: Ints) -> list[ActionDemand]:
    """Demand of every action with the rivals at a profile of actions, shape (skus,)."""
    return moved(reference, _shifts(whole.multipliers(profile), whole.effect))


def _problem(inputs: Inputs, drawn: list[Ints]) -> Problem:
    listed = inputs.rows.groupby("sku_id")["list_price"].first()
    skus = [
        Sku(
            sku_id=ask.sku_id,
            unit_cost=float(ask.unit_cost),
            salvage_value=float(ask.salvage_value),
            list_price=float(listed[ask.sku_id]),
            supply_units=ask.supply_units,
            actions=inputs.ladder.actions[ask.sku_id],
            demand=wanted,
        )
        for ask, wanted in zip(inputs.request.skus, drawn, strict=True)
    ]
    regions = [
        Region(ask.region_id, ask.capacity_units, inputs.shipping.get(ask.region_id, 0.0), ask.min_service)
        for ask in inputs.request.regions
    ]
    stock, promotion = inputs.request.stock_budget, inputs.request.promotion_budget
    return Problem(
        skus, regions, None if stock is None else float(stock), None if promotion is None else float(promotion)
    )


def _whole_sale(
    inputs: Inputs, heads: LevelHeads, problem: Problem, demand: list[ActionDemand], draw: Draw
) -> JointSale | None:
    """The sale as a contest of its offers, as this model sees it; None where the model knows nothing of it."""
    substitution = from_notes(heads.notes)
    if substitution is None:
        return None
    reference = np.array([reference_action(sku.actions) for sku in problem.skus])
    middle = [ActionDemand(d.sku_id, d.log_quantiles[[a]]) for d, a in zip(demand, reference, strict=True)]
    units = np.stack([wanted[0].mean(axis=1) for wanted in draw(middle)])
    names = [sku.sku_id for sku in problem.skus]
    cells = inputs.rows.assign(looks=ft.usual_looks(inputs.rows)).set_index(["sku_id", "region_id"])
    looks = cells["looks"].unstack().loc[names, inputs.regions].to_numpy(dtype=np.float64)
    category = inputs.rows.groupby("sku_id")["category"].first().loc[names].to_numpy()
    medians = [own.log_quantiles[:, :, 1] for own in demand]
    effect = [own - own[a] for own, a in zip(medians, reference, strict=True)]

    def given(multipliers: list[Floats]) -> list[Ints]:
        return draw(moved(demand, _shifts(multipliers, effect)))

    return JointSale(problem, substitution.market(category, units, looks), effect, reference, given)


def _shifts(multipliers: list[Floats], effect: list[Floats]) -> list[Floats]:
    """What is left to add to the log demand of the heads, which hold an action's own effect already."""
    return [np.log(part) - own for part, own in zip(multipliers, effect, strict=True)]


def _given_rivals(planned: Planned, solution: Solution) -> Planned:
    """The plan at another solution's actions: the demand of all actions with the rivals there."""
    whole = planned.whole
    if whole is None:
        return replace(planned, solution=solution)
    profile = profile_of(solution)
    demand = demand_given(whole, planned.reference, profile)
    return replace(planned, problem=whole.given_rivals(profile), solution=solution, demand=demand)


def with_experiment(planned: Planned, request: SaleRequest, seed: int) -> Planned:
    """The plan with near-equal prices drawn by lot, within what the request lets that cost."""
    share, name = request.experiment_share, request.request_id
    solution, experiment = by_lot(planned.problem, planned.solution, share, seed, name, planned.whole)
    moved_plan = planned if solution is planned.solution else _given_rivals(planned, solution)
    return replace(moved_plan, experiment=experiment)


def _shocks(inputs: Inputs, heads: LevelHeads, count: int, seed: int) -> Floats:
    common = heads.notes.get("correlation", {})
    return shocks(len(inputs.request.skus), len(inputs.request.regions), count, common, seed)


def held_out_profit(inputs: Inputs, judge: LevelHeads, plans: list[Planned], seed: int) -> list[Floats]:
    """Profit of several plans in the same new scenarios of one judging model, each of shape (scenarios,)."""
    demand = action_demand(judge, inputs.rows, inputs.history, inputs.ladder.actions, inputs.regions)
    z = _shocks(inputs, judge, VALUED_ON, seed + 1)
    # the plans' offers and their actions are the same
    whole = _whole_sale(inputs, judge, plans[0].problem, demand, lambda own: scenarios(own, z))
    found = []
    for plan in plans:
        drawn = scenarios(demand, z) if whole is None else whole.given(whole.multipliers(profile_of(plan.solution)))
        found.append(realised_profit(plan.problem, plan.solution.choices, drawn))
    return found


def plan_rows(inputs: Inputs, planned: Planned, twin: Planned | None) -> pd.DataFrame:
    """The plan's rows, one a SKU and region in the request's order.

    Args:
        twin: the same request planned without text; what text changes is then said in the explanation.
    """
    records: list[dict[str, Any]] = []
    for i, (sku, choice) in enumerate(zip(planned.problem.skus, planned.solution.choices, strict=True)):
        action = sku.actions[choice.action]
        quantiles = np.maximum(np.exp(planned.demand[i].log_quantiles[choice.action]) - 0.5, 0.0)
        sales = planned.problem.tables[i].sales[choice.action, np.arange(len(choice.units)), choice.units]
        following = next_unit_value(planned.problem, i, choice)
        for r, region in enumerate(planned.problem.regions):
            units = int(choice.units[r])
            margin = (
                (action.price - sku.salvage_value) * float(sales[r])
                - float(planned.problem.tables[i].holding[r]) * units
            )  # fmt: skip
            binding = _binding(planned, i, r, float(following[r]))
            facts = _facts(
                inputs, planned, twin, i, r, choice, quantiles[r], float(sales[r]), float(following[r]), binding
            )
            records.append(
                {
                    "sku_id": sku.sku_id,
                    "region_id": region.region_id,
                    "allocate_units": units,
                    "offer_price": action.price,
                    "promo_type": action.promo_type,
                    "starts_at": pd.Timestamp(action.starts_at),
                    "ends_at": pd.Timestamp(action.starts_at) + pd.Timedelta(hours=inputs.request.duration_hours),
                    "demand_p10": float(quantiles[r, 0]),
                    "demand_p50": float(quantiles[r, 1]),
                    "demand_p90": float(quantiles[r, 2]),
                    "expected_demand": float(sku.demand[choice.action, r].mean()),
                    "expected_sales": float(sales[r]),
                    "expected_margin": margin,
                    "shadow_price": max(float(following[r]), 0.0) if binding else 0.0,
                    "binding_constraints": ",".join(binding),
                    "experiment_arm": planned.experiment.arms.get(i),
                    "experiment_propensity": PROPENSITY if i in planned.experiment.arms else None,
                    "experiment_other_price": planned.experiment.other_price.get(i),
                    "explanation": explain(facts),
                }
            )
    return pd.DataFrame(records)


def _binding(planned: Planned, i: int, r: int, following: float) -> list[str]:
    """Limits that keep this cell from one more unit that would pay."""
    if following <= NEARLY:
        return []
    problem, solution = planned.problem, planned.solution
    found = []
    if solution.choices[i].units.sum() >= problem.skus[i].supply_units:
        found.append("supply")
    names = problem.limit_names
    for k in (0, 1, 2 + r):
        room = problem.limits[k] - solution.use[k]
        step = problem.skus[i].unit_cost if k == 0 else 1.0
        if solution.multipliers[k] > NEARLY or (k != 1 and room < step):
            found.append(names[k])
    return found


def _facts(
    inputs: Inputs, planned: Planned, twin: Planned | None, i: int, r: int, choice: Choice, quantiles: Floats,
    sales: float, following: float, binding: list[str],
) -> Facts:  # fmt: skip
    sku, tables = planned.problem.skus[i], planned.problem.tables[i]
    action = sku.actions[choice.action]
    share = None
    if twin is not None:
        own = planned.reference[i].log_quantiles[choice.action, r, 1]
        share = float(np.exp(own - twin.reference[i].log_quantiles[choice.action, r, 1]) - 1.0)
    return Facts(
        units=int(choice.units[r]),
        price=action.price,
        list_price=sku.list_price,
        p10=float(quantiles[0]),
        p50=float(quantiles[1]),
        p90=float(quantiles[2]),
        expected_sales=sales,
        next_unit=following,
        fractile=float(tables.holding[r] / max(float(tables.margin[choice.action]), 1e-9)),
        bound_by=binding,
        text_share=share,
        other_price=planned.experiment.other_price.get(i),
        currency=inputs.request.currency,
        by_mean=planned.rule == MEAN,
    )
