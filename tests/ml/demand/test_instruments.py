"""Slopes from what moved a price besides expected demand: costs, lots, and how they are pooled with the observed one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from marketplace.regimes import REGIMES
from marketplace.world import Size
from ml.demand import features, level
from ml.demand.instruments import LEAST_DRAWN, Evidence, Moves, combined, from_costs, from_lots, lot_moves
from ml.demand.response import PRIOR, learn_response
from ml.demand.unconstrain import CELL, unconstrain
from tests.ml.conftest import build_frames

SLOPE = -2.0
Sales = tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray, Moves]


def _sales(seed: int, *, cost_swing: float = 0.15, lots: int = 0, follows_list: bool = False) -> Sales:
    """SIMULATED offers of 20 SKUs in 50 sales, 3 regions each; the manager knows a shock that no control holds.

    Args:
        lots: number of sales, the last ones, in which a coin moves the price by a step of 8 %.
        follows_list: unit costs are a fixed share of list prices that move for reasons of demand.
    """
    rng = np.random.default_rng(seed)
    sku, sale = (index.ravel() for index in np.meshgrid(np.arange(20), np.arange(50)))
    known, hidden = rng.normal(0, 0.3, (2, len(sku)))
    taste = rng.normal(0, 0.5, 20)[sku]
    cost = rng.normal(0, cost_swing, len(sku)) if cost_swing else np.zeros(len(sku))
    listed = 0.3 * hidden if follows_list else np.zeros(len(sku))
    centre = -0.2 + 0.1 * known + 0.12 * hidden + 0.6 * cost + rng.normal(0, 0.05, len(sku))
    drawn = np.where(sale >= 50 - lots, np.where(rng.random(len(sku)) < 0.5, 0.04, -0.04), np.nan)
    price = centre + np.nan_to_num(drawn)
    lift = 1.0 + known + hidden + taste + SLOPE * price
    rows = np.repeat(np.arange(len(sku)), 3)
    lift = lift[rows] + rng.normal(0, 0.2, len(rows))
    controls = pd.DataFrame({"known": known[rows], "taste": taste[rows], "category": np.array(["a", "b"])[sku % 2][rows],
                             "margin_share": -cost[rows]})  # fmt: skip
    moves = Moves((listed if follows_list else cost)[rows], listed[rows], sku[rows], drawn[rows],
                  np.where(np.isfinite(drawn), centre, np.nan)[rows])  # fmt: skip
    return controls, lift, price[rows], sale[rows], moves


def _learn(sales: Sales):  # type: ignore[no-untyped-def]
    controls, lift, price, sale, moves = sales
    return learn_response(controls, lift, price, sale, ["category"], moves)


def test_costs_and_lots_give_the_planted_slope_and_honest_errors() -> None:
    for name, options in (("costs", {}), ("lots", {"cost_swing": 0.0, "lots": 25})):
        found = [_learn(_sales(seed, **options)).evidence[name] for seed in range(20)]
        slopes, errors = np.array([e["slope"] for e in found]), np.array([e["se"] for e in found])
        assert slopes.mean() == pytest.approx(SLOPE, abs=3.0 * slopes.std() / np.sqrt(20))
        assert 0.6 < errors.mean() / slopes.std() < 1.6
        assert (np.abs(slopes - SLOPE) <= 1.96 * errors).mean() >= 0.8
        assert min(e["f"] for e in found) > 10


def test_the_observed_slope_is_biased_and_pooling_brings_it_nearer_to_the_planted_one() -> None:
    for options in ({}, {"cost_swing": 0.0, "lots": 25}):
        found = [_learn(_sales(seed, **options)) for seed in range(12)]
        assert np.mean([f.observational for f in found]) > SLOPE + 0.5
        error = np.mean([abs(f.pooled - SLOPE) for f in found])
        assert error < 0.4 * np.mean([abs(f.observational - SLOPE) for f in found])
        for category in "ab":
            assert np.mean([f.by_category[category] for f in found]) == pytest.approx(SLOPE, abs=0.3)


def test_a_cost_that_follows_the_list_price_or_never_moves_is_no_instrument() -> None:
    assert _learn(_sales(0, cost_swing=0.0, follows_list=True)).evidence == {}
    controls, lift, price, sale, moves = _sales(0, cost_swing=0.0)
    still = learn_response(controls, lift, price, sale, ["category"], moves)
    assert still == learn_response(controls, lift, price, sale, ["category"])
    controls, lift, price, sale, moves = _sales(0)
    unknown = replace(moves, cost=np.full(len(lift), np.nan))
    assert from_costs(controls, lift, price, sale, unknown, ["category"]) is None
    weak = replace(moves, cost=np.random.default_rng(1).normal(0, 0.1, len(lift)))  # moves, but no price follows
    assert from_costs(controls, lift, price, sale, weak, ["category"]) is None


def test_a_handful_of_draws_says_nothing_yet() -> None:
    _, lift, price, sale, moves = _sales(0, lots=25)
    few = np.flatnonzero(np.isfinite(moves.lot))[: 3 * (LEAST_DRAWN - 1)]
    lot, centre = np.full(len(lift), np.nan), np.full(len(lift), np.nan)
    lot[few], centre[few] = moves.lot[few], moves.centre[few]
    assert from_lots(lift, price, sale, replace(moves, lot=lot, centre=centre)) is None
    assert from_lots(lift, price, sale, moves) is not None
    one_arm = np.where(np.isfinite(moves.lot), 0.04, np.nan)
    assert from_lots(lift, price, sale, replace(moves, lot=one_arm)) is None


def test_a_refused_head_takes_what_the_lots_say_and_the_prior_with_it() -> None:
    controls, _, _, sale, moves = _sales(3, cost_swing=0.0, lots=25)
    centre = 0.3 * controls["known"].to_numpy()
    price = centre + np.nan_to_num(moves.lot)
    lift = SLOPE * price + np.random.default_rng(4).normal(0, 0.2, len(price))
    assert learn_response(controls, lift, centre, sale, ["category"]).pooled == PRIOR
    drawn = replace(moves, centre=np.where(np.isfinite(moves.lot), centre, np.nan))
    found = learn_response(controls, lift, price, sale, ["category"], drawn)
    assert not found.refused and found.observational == PRIOR and found.first_stage_f < 10
    assert found.pooled == pytest.approx(SLOPE, abs=0.25)
    slope, se = combined(PRIOR, 1.0, [Evidence(-2.4, 0.5, 50.0, 100)], biased=False)
    assert slope == pytest.approx((-1.5 + 4 * -2.4) / 5) and se == pytest.approx(5**-0.5)


def test_pooling_is_by_precision_and_a_far_observed_slope_loses_its_weight() -> None:
    clean = [Evidence(-2.0, 0.2, 99.0, 100)]
    near, _ = combined(-1.9, 0.1, clean)  # within chance of the other: plain precision weights
    assert near == pytest.approx((-1.9 / 0.01 - 2.0 / 0.04) / (1 / 0.01 + 1 / 0.04))
    far, se = combined(-0.5, 0.1, clean)
    bias = 1.5**2 - 0.1**2 - 0.2**2
    assert far == pytest.approx((-0.5 / (0.01 + bias) - 2.0 / 0.04) / (1 / (0.01 + bias) + 1 / 0.04))
    assert 0.19 < se < 0.2
    assert combined(-1.0, 0.3, []) == (-1.0, 0.3)


def test_moves_of_a_lot_have_mean_zero_over_its_arms() -> None:
    one, two = np.array([9.0, 10.0]), np.array([10.0, 9.0])
    lot, centre = lot_moves(one, two, np.array([0.3, 0.7]), np.array([12.0, 12.0]))
    assert 0.3 * lot[0] + 0.7 * lot[1] == pytest.approx(0.0)
    assert centre[0] == pytest.approx(centre[1])
    assert (lot + centre)[0] == pytest.approx(np.log(9.0 / 12.0))


def test_a_simulated_shops_costs_are_a_strong_instrument_and_mend_the_elasticity() -> None:
    """Without texts the manager knows much that the features do not hold: the observed slope is half the planted one."""
    frames = build_frames(Size(seed=1, regime=REGIMES["cost_shock"]))
    cells = frames.performance.merge(frames.products[["sku_id", "category"]])
    demand = unconstrain(cells, frames.hours)[[*CELL, "demand"]]
    past = frames.features[frames.features.row_kind == "campaign"].merge(demand, on=CELL)
    data = level.training_set(past, past.demand.to_numpy(dtype=float))
    found = level.response_of(level.fit(data, with_text=False, seed=1))
    planted = -float(frames.elasticity.set_index("sku_id").elasticity.reindex(past.sku_id).mean())
    assert found.evidence["costs"]["f"] > 50
    assert found.observational is not None
    assert abs(found.pooled - planted) < 0.5 * abs(found.observational - planted)
    assert set(features.LOT).isdisjoint(past.columns)
