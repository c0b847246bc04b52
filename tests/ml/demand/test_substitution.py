"""Substitution: a planted sigma is found in simulated sales, shares add up, own elasticities are the heads'."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ml.demand.substitution import (
    PRIOR,
    UNSEEN,
    Market,
    Substitution,
    from_notes,
    learn_substitution,
    market_size,
)
from tests.ml.nested_logit import Shop, nested_logit

LEARNT = Substitution(0.6, 0.05, 90.0, False, 5.0, {"audio": 0.7, "books": 0.8}, 0.75)


@pytest.mark.parametrize(("sigma", "near"), [(0.0, 0.08), (0.3, 0.08), (0.6, 0.08), (0.8, 0.12)])
def test_a_planted_sigma_is_found(sigma: float, near: float) -> None:
    """Near 1 it comes out low: offers that hardly sell beside a favourite count as half a unit."""
    for seed in range(3):
        controls, past = Shop.of(seed, sigma).sales()
        found = learn_substitution(controls, past, ["category"])
        assert not found.refused and found.first_stage_f > 10
        assert found.sigma == pytest.approx(sigma, abs=near)
        assert min(found.reach.values()) > 0 and max(found.reach.values()) <= 1


def test_least_squares_would_call_everything_a_close_substitute() -> None:
    """The bias that the instruments take away: an offer's own luck is in its share of the nest."""
    controls, past = Shop.of(0, 0.0).sales()
    rows = pd.DataFrame({"sale": past.sales, "region": past.regions, "category": controls.category})
    demand = pd.Series(past.base * np.exp(past.lift))
    share = np.log(demand / demand.groupby([rows.sale, rows.region, rows.category]).transform("sum"))
    naive = np.polyfit(share, past.lift - pd.Series(past.lift).groupby([rows.sale, rows.region]).transform("mean"), 1)[
        0
    ]
    assert naive > 0.12
    assert learn_substitution(controls, past, ["category"]).sigma < 0.08


def test_without_enough_movement_the_prior_stands() -> None:
    """Few sales; and every sale the same offers of the same size at one price."""
    controls, past = Shop.of(0, 0.6).sales(5)
    few = learn_substitution(controls, past, ["category"])
    assert few.refused and few.sigma == PRIOR
    controls, past = Shop.of(1, 0.6, sizes_vary=False).sales(same=True)
    flat = replace(past, log_ratio=np.full(len(past.lift), -0.2), base=np.full(len(past.lift), 5.0))
    same = learn_substitution(controls.assign(log_base=np.log(5.0)), flat, ["category"])
    assert same.refused and same.sigma == PRIOR and same.first_stage_f < 10


def _market(sigma: float, seed: int = 0) -> tuple[Market, np.ndarray, np.ndarray]:
    """A market of seven offers in two regions, its reference units and its size."""
    rng = np.random.default_rng(seed)
    units, looks = rng.uniform(5.0, 60.0, (7, 2)), rng.uniform(20.0, 90.0, (7, 2))
    category = np.array(["audio", "books", "audio", "home", "books", "audio", "home"])
    learnt = replace(LEARNT, sigma=sigma)
    return learnt.market(category, units, looks), units, market_size(units, looks, learnt.draw)


@pytest.mark.parametrize("sigma", [0.0, 0.4, 0.85])
def test_shares_are_the_textbooks_at_any_prices(sigma: float) -> None:
    market, units, size = _market(sigma)
    assert market.within.sum(axis=0) == pytest.approx(np.full(2, 3.0))  # three nests
    assert market.share.sum(axis=0) + market.outside == pytest.approx(np.ones(2))
    nest_share = market.share[market.nest]
    # Berry (1994): ln s_i - ln s_0 - sigma ln s_i|g
    utility = np.log(units / size / market.outside) - sigma * np.log(market.within)
    assert nested_logit(utility, market.nest, sigma) * size == pytest.approx(units)
    assert units / size / market.within == pytest.approx(nest_share)
    moved = np.random.default_rng(1).normal(0, 0.5, (7, 2))
    expected = nested_logit(utility + moved, market.nest, sigma) * size
    found = market.multipliers(np.exp(moved / (1 - sigma))) * units
    assert found == pytest.approx(expected)
    assert (found.sum(axis=0) < size).all()


def test_one_offers_move_is_what_moving_all_arrays_gives() -> None:
    market, _, _ = _market(0.6)
    rng = np.random.default_rng(2)
    pull, own = np.exp(rng.normal(0, 0.4, (7, 2))), np.exp(rng.normal(0, 0.4, (3, 2)))
    for i in range(7):
        move = market.move(i, own, pull)
        for a in range(3):
            moved = pull.copy()
            moved[i] = own[a]
            whole = market.multipliers(moved)
            assert move.own[a] == pytest.approx(whole[i])
            for j in set(range(7)) - {i}:
                factor = move.same_nest if market.nest[j] == market.nest[i] else move.other_nests
                assert move.before[j] * factor[a] == pytest.approx(whole[j])


@pytest.mark.parametrize("sigma", [0.0, 0.5, 0.8])
def test_own_elasticity_is_the_heads_where_the_offer_is_as_exposed_as_past_ones(sigma: float) -> None:
    """Offers of one size in nests of one size, and a reach learnt from the like: every offer is the average one."""
    alike = np.repeat(["audio", "books"], 4)
    within, units, looks = 0.25, np.full((8, 1), 20.0), np.full((8, 1), 40.0)
    share = 20.0 / market_size(units, looks, LEARNT.draw)[0]
    reach = 1 - sigma * within - (1 - sigma) * share
    learnt = replace(LEARNT, sigma=sigma, reach={"audio": reach, "books": reach})
    market = learnt.market(alike, units, looks)
    slope, step = -2.3, 1e-5
    own = market.pull(3, np.array([[slope * step]]))
    found = np.log(market.move(3, own, np.ones((8, 1))).own[0, 0]) / step
    assert found == pytest.approx(slope, abs=1e-3)
    lost = np.log(market.move(3, own, np.ones((8, 1))).same_nest[0, 0]) / step
    assert lost == pytest.approx(-slope * (sigma * within + (1 - sigma) * share) / reach, abs=1e-3)


def test_an_offer_that_rules_its_nest_moves_less() -> None:
    units = np.array([[90.0], [10.0]])
    market = replace(LEARNT, sigma=0.7).market(np.array(["audio", "audio"]), units, np.full((2, 1), 400.0))
    cheaper = [market.move(i, market.pull(i, np.array([[0.2]])), np.ones((2, 1))).own[0, 0] for i in (0, 1)]
    assert 1.0 < cheaper[0] < cheaper[1]


def test_market_size_follows_looks_and_is_careful_without() -> None:
    units = np.array([[10.0, 10.0, 10.0, 60.0], [30.0, 30.0, 30.0, 60.0]])
    looks = np.array([[20.0, 20.0, 0.0, 1.0], [60.0, 0.0, 0.0, 1.0]])
    size = market_size(units, looks, 4.0)
    assert size[0] == pytest.approx(320.0)
    assert size[1] == pytest.approx(320.0)  # the unseen offer counts with the looks per unit of the other
    assert size[2] == pytest.approx(UNSEEN * 40.0)
    assert size[3] > 120.0  # looks that cannot be: fewer than buyers


def test_it_survives_json_and_older_models_have_none() -> None:
    controls, past = Shop.of(0, 0.3).sales(10)
    found = learn_substitution(controls, past, ["category"])
    assert from_notes(json.loads(json.dumps({"substitution": found.to_json()}))) == found
    assert from_notes({"response": {}}) is None
