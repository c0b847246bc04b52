"""From features to a plan on the simulated shop: lawful, within limits, explained, and worth more with text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr

from flashsale.errors import InputError
from flashsale.request import check_known, load_request
from marketplace.world import Size
from ml.allocation.audit import audit_plan
from ml.allocation.folder import inputs_from
from ml.allocation.forecast import ActionDemand, around_mean, scenarios, shocks
from ml.allocation.joint import profile_of
from ml.allocation.ladder import lawful_ladder
from ml.allocation.plan import Inputs, Planned, held_out_profit, make_plan, plan_rows, with_experiment
from ml.allocation.problem import realised_profit
from ml.allocation.solve import solve
from ml.allocation.store import past_lifts
from ml.demand import level
from ml.demand.heads import LevelHeads
from ml.demand.unconstrain import CELL, unconstrain
from tests.ml.conftest import build_frames

SEED = 1
ERRORS = {"bias_model": -0.05, "wape_model": 0.35}  # of a backtest


@pytest.fixture(scope="module")
def inputs(shop: Any) -> Inputs:
    return _inputs(shop)


def _inputs(shop: Any) -> Inputs:
    cells = shop.performance.merge(shop.products[["sku_id", "category"]])
    demand = unconstrain(cells, shop.hours)[[*CELL, "demand"]]
    learnt = shop.features[shop.features.row_kind == "campaign"].merge(demand, on=CELL)
    asked = shop.features[shop.features.row_kind == "request"]
    lowest = asked.groupby("sku_id").lowest_price_30d.min().to_dict()
    shipping = shop.regions.set_index("region_id").shipping_cost.to_dict()
    return Inputs(shop.request, asked, past_lifts(learnt), lawful_ladder(shop.request, lowest), shipping)


@pytest.fixture(scope="module")
def heads(inputs: Inputs) -> dict[bool, LevelHeads]:
    return _heads(inputs)


def _heads(inputs: Inputs) -> dict[bool, LevelHeads]:
    data = level.training_set(inputs.history, inputs.history.demand.to_numpy(dtype=float))
    return {text: level.fit(data, with_text=text, seed=SEED) for text in (True, False)}


@pytest.fixture(scope="module")
def plans(inputs: Inputs, heads: dict[bool, LevelHeads]) -> tuple[dict[bool, Planned], list[np.ndarray]]:
    made = {text: make_plan(inputs, heads[text], SEED) for text in heads}
    return made, held_out_profit(inputs, heads[True], [made[True], made[False]], SEED)


def _prices(inputs: Inputs) -> dict[str, tuple[float, float]]:
    grouped = inputs.rows.groupby("sku_id")
    return {sku: (float(own.list_price.iloc[0]), float(own.lowest_price_30d.min())) for sku, own in grouped}


def test_plan_is_clean_and_nearly_optimal(inputs: Inputs, plans: Any) -> None:
    planned = plans[0][True]
    rows = plan_rows(inputs, planned, plans[0][False])
    assert audit_plan(rows, inputs.request, _prices(inputs)) == []
    assert len(rows) == len(inputs.request.skus) * len(inputs.request.regions)
    assert planned.solution.gap < 0.01
    assert planned.solution.multipliers.max() > 0  # the request's limits bind
    assert rows.binding_constraints.str.len().max() > 0
    assert (rows.demand_p10 <= rows.demand_p90).all()
    assert rows.expected_margin.sum() == pytest.approx(planned.solution.value)
    assert rows.explanation.str.contains("Send").all()
    served = rows[rows.region_id == inputs.request.regions[0].region_id]
    assert (served.allocate_units > 0).all()  # the first region asks for minimum service


def _profit(shop: Any, inputs: Inputs, made: dict[bool, Planned]) -> dict[bool, float]:
    """Profit of the plans with and without text before the true demand of the next sale, which no model has seen."""
    truth = shop.next_truth.assign(price=shop.next_truth.offer_price.astype(float))
    mean = truth.set_index(["sku_id", "region_id", "price", "promo_type", "starts_at"]).mean_units
    rng = np.random.default_rng(0)
    demand = []
    for sku in made[True].problem.skus:
        means = np.array(
            [
                [mean[sku.sku_id, r, a.price, a.promo_type, pd.Timestamp(a.starts_at)] for r in inputs.regions]
                for a in sku.actions
            ]
        )
        demand.append(rng.poisson(means[:, :, None], (*means.shape, 300)))
    return {text: realised_profit(p.problem, p.solution.choices, demand).mean() for text, p in made.items()}


def test_text_is_worth_money_on_the_sealed_truth(inputs: Inputs, plans: Any, shop: Any) -> None:
    """Worth something in the default shop, and 3 % over it and two others: of one alone, luck has the larger part."""
    profits = [_profit(shop, inputs, plans[0])]
    for seed in (1, 2):
        other = build_frames(Size(seed=seed))
        asked = _inputs(other)
        learnt = _heads(asked)
        profits.append(_profit(other, asked, {text: make_plan(asked, learnt[text], SEED) for text in learnt}))
    assert profits[0][True] > profits[0][False] > 0
    assert sum(p[True] for p in profits) > 1.03 * sum(p[False] for p in profits)
    believed = plans[1][0].mean() - plans[1][1].mean()
    assert believed > 0


def test_audit_names_every_kind_of_fault(inputs: Inputs, plans: Any) -> None:
    clean = plan_rows(inputs, plans[0][True], None)
    sku = clean.sku_id[0]

    def faults(**changes: Any) -> str:
        rows = clean.copy()
        rows["allocate_units"] = rows["allocate_units"].astype(float)
        for column, value in changes.items():
            rows.loc[0, column] = value
        return "; ".join(audit_plan(rows, inputs.request, _prices(inputs)))

    assert faults() == ""
    assert "negative" in faults(allocate_units=-1.0)
    assert "fractional" in faults(allocate_units=1.5)
    crowd = faults(allocate_units=1e6)
    assert f"supply of {sku}" in crowd
    assert "space of" in crowd
    assert "stock budget" in crowd
    assert "prices outside the ladder" in faults(offer_price=1.23)
    assert "rows outside the request" in faults(sku_id="sku-999")
    assert "promotion" in faults(promo_type="lottery")
    dear = {name: (listed, 1.0) for name, (listed, _) in _prices(inputs).items()}
    assert "unlawful" in "; ".join(audit_plan(clean, inputs.request, dear))
    served = inputs.request.regions[0].region_id
    first = clean.index[clean.region_id == served][0]
    few = clean.assign(expected_sales=clean.expected_sales.where(clean.index != first, 0.0))
    assert audit_plan(few, inputs.request, _prices(inputs))[0].startswith(
        f"service of {clean.sku_id[first]} in {served}"
    )
    many = clean.assign(expected_sales=1e6)
    assert "promotion budget" in "; ".join(audit_plan(many, inputs.request, _prices(inputs)))


def test_a_model_whose_intervals_do_not_hold_is_planned_for_its_mean(
    inputs: Inputs, heads: dict[bool, LevelHeads], plans: Any
) -> None:
    """Coverage of the backtest decides; the plan says so, in the rule and in every row."""
    assert plans[0][True].rule == "scenarios"
    unsure, sound = (
        replace(heads[True], notes={**heads[True].notes, "metrics": {"coverage_model": share, **ERRORS}})
        for share in (0.5, 0.8)
    )
    assert make_plan(inputs, sound, SEED).rule == "scenarios"
    planned = make_plan(inputs, unsure, SEED)
    assert planned.rule == "mean"
    rows = plan_rows(inputs, planned, None)
    assert audit_plan(rows, inputs.request, _prices(inputs)) == []
    assert rows.explanation.str.contains("Planned for mean demand").all()
    mean = [own.mean() for own in held_out_profit(inputs, heads[True], [planned, plans[0][True]], SEED)]
    assert 0.9 * mean[1] < mean[0] <= mean[1] * 1.001, "in scenarios of a model that is right, its quantiles are better"


def test_a_plan_without_any_time_is_lawful_and_states_its_gap(
    inputs: Inputs, heads: dict[bool, LevelHeads], plans: Any
) -> None:
    hurried = make_plan(inputs, heads[True], SEED, time_limit_s=0.0)
    assert audit_plan(plan_rows(inputs, hurried, None), inputs.request, _prices(inputs)) == []
    assert 0.0 < hurried.solution.value <= hurried.solution.bound
    assert hurried.solution.gap >= plans[0][True].solution.gap


def test_scatter_around_the_mean_is_the_backtests_and_not_the_intervals() -> None:
    """Means are medians less the bias, absolute errors those measured; intervals of any width change nothing."""
    median = np.log(np.array([[[400.5], [2000.5]]]))
    demand = [ActionDemand("a", median + np.array(width)) for width in ([-0.1, 0.0, 0.1], [-3.0, 0.0, 5.0])]
    z = shocks(2, 2, 4000, {}, SEED)[[0, 0]]
    narrow, wide = around_mean(demand, z, bias=-0.2, wape=0.3)
    assert narrow.tolist() == wide.tolist()
    mean = narrow.mean(axis=2)
    assert mean == pytest.approx(np.array([[500.0, 2500.0]]), rel=0.01)
    assert np.abs(narrow / mean[:, :, None] - 1.0).mean(axis=2) == pytest.approx(0.3, rel=0.02)
    assert around_mean(demand, z, bias=0.0, wape=0.0)[0].tolist() == [[[400] * 4000, [2000] * 4000]]


def _request(prices: list[float]) -> Any:
    return load_request(
        {
            "request_id": "r",
            "currency": "CNY",
            "start_slots": ["2026-11-11T00:00:00Z"],
            "duration_hours": 24,
            "regions": [{"region_id": "east", "capacity_units": 10}],
            "skus": [{"sku_id": "a", "supply_units": 5, "unit_cost": 10, "prices": prices}],
        }
    )


def test_unlawful_prices_leave_the_ladder_and_a_sku_without_any_is_refused() -> None:
    ladder = lawful_ladder(_request([40, 50, 60]), {"a": 50.0})
    assert [action.price for action in ladder.actions["a"]] == [40.0, 50.0]
    assert ladder.dropped == [("a", 60.0, 50.0)]
    with pytest.raises(InputError, match=r"row a.*39\.00"):
        lawful_ladder(_request([40, 50]), {"a": 39.0})
    assert len(lawful_ladder(_request([40]), {}).actions["a"]) == 1


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="field 'skus', row a"):
        check_known(_request([40]), {"b"}, {"east"})
    with pytest.raises(InputError, match="field 'regions', row east"):
        check_known(_request([40]), {"a"}, {"west"})


def test_scenarios_have_the_asked_quantiles_and_correlation() -> None:
    z = shocks(2, 2, 20_000, {"sale": 0.1, "sku": 0.5}, seed=3)
    flat = z.reshape(4, -1)
    corr = np.corrcoef(flat)
    assert corr[0, 1] == pytest.approx(0.6, abs=0.03)
    assert corr[0, 2] == pytest.approx(0.1, abs=0.03)
    quantiles = np.log(np.array([20.0, 40.0, 100.0]) + 0.5)
    demand = [ActionDemand(name, np.tile(quantiles, (1, 2, 1))) for name in "ab"]
    units = scenarios(demand, z)[0][0, 0]
    assert np.quantile(units, [0.1, 0.5, 0.9]) == pytest.approx([20, 40, 100], rel=0.05)
    assert np.array_equal(scenarios(demand, shocks(2, 2, 50, {}, 1))[0], scenarios(demand, shocks(2, 2, 50, {}, 1))[0])


def test_few_scenarios_hold_every_part_of_each_shocks_distribution() -> None:
    z = shocks(6, 4, 300, {"sku": 0.5}, seed=3).reshape(24, 300)
    independent = 1 / np.sqrt(300)  # standard error of the mean of independent shocks
    assert np.abs(z.mean(axis=1)).max() < independent / 5
    alone = shocks(6, 4, 300, {}, seed=3).reshape(24, 300)  # one shock a cell and nothing shared
    assert np.array_equal(np.floor(ndtr(np.sort(alone, axis=1)) * 300), np.tile(np.arange(300.0), (24, 1)))
    assert np.abs(np.corrcoef(alone)[np.triu_indices(24, 1)]).max() < 5 * independent


def test_a_plans_demand_has_its_rivals_at_the_plans_prices(inputs: Inputs, plans: Any) -> None:
    planned = plans[0][True]
    whole = planned.whole
    assert whole is not None
    chosen = profile_of(planned.solution)
    for i, sku in enumerate(planned.problem.skus):
        assert len(sku.actions) == len(inputs.ladder.actions[sku.sku_id]) == len(planned.demand[i].log_quantiles)
        moved = planned.demand[i].log_quantiles[:, :, 1] - planned.reference[i].log_quantiles[:, :, 1]
        assert np.exp(moved + whole.effect[i]) == pytest.approx(whole.multipliers(chosen)[i])
    assert planned.problem.tables[0].sales.shape[0] == len(planned.problem.skus[0].actions)
    valued = realised_profit(planned.problem, planned.solution.choices, [sku.demand for sku in planned.problem.skus])
    assert valued.mean() == pytest.approx(planned.solution.value)
    assert planned.solution.value >= whole.units_at(whole.reference).value - 1e-9


def test_a_model_that_knows_nothing_of_rivals_plans_sku_by_sku(inputs: Inputs, heads: dict[bool, LevelHeads]) -> None:
    notes = {name: note for name, note in heads[True].notes.items() if name != "substitution"}
    planned = make_plan(inputs, replace(heads[True], notes=notes), SEED)
    assert planned.whole is None and planned.demand is planned.reference
    alone = solve(planned.problem)
    assert planned.solution.value == alone.value and planned.solution.bound == alone.bound


def test_a_lot_moves_the_demand_with_the_prices(inputs: Inputs, plans: Any) -> None:
    best = plans[0][True]
    drawn = with_experiment(best, inputs.request.model_copy(update={"experiment_share": 0.02}), SEED)
    assert drawn.experiment.arms
    assert drawn.solution.value >= 0.98 * best.solution.value
    assert plan_rows(inputs, drawn, None).expected_margin.sum() == pytest.approx(drawn.solution.value)
    wanted = [sku.demand for sku in drawn.problem.skus]
    assert realised_profit(drawn.problem, drawn.solution.choices, wanted).mean() == pytest.approx(drawn.solution.value)


def test_same_inputs_same_plan(inputs: Inputs, heads: dict[bool, LevelHeads]) -> None:
    few = replace(inputs, request=inputs.request.model_copy(update={"skus": inputs.request.skus[:3]}))
    actions = {s.sku_id: inputs.ladder.actions[s.sku_id] for s in few.request.skus}
    few = replace(few, ladder=replace(inputs.ladder, actions=actions))
    a, b = (plan_rows(few, make_plan(few, heads[True], 5), None) for _ in range(2))
    pd.testing.assert_frame_equal(a, b)


def test_a_folder_knows_the_lowest_price_of_thirty_days_alone(inputs: Inputs) -> None:
    request = inputs.request.model_copy(update={"price_lookback_days": 7})
    with pytest.raises(InputError, match="price_lookback_days.*looks back 7 days"):
        inputs_from(request, {"features": inputs.rows}, inputs.rows)
