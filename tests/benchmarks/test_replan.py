"""Re-planning small simulated sales with their true customers: it pays, and leaves alone what runs as foreseen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks.replan import Planned, plan_shop, play_policy
from marketplace.exam.running import run_sale
from marketplace.world import Size
from ml.allocation.replan import Options, moved_units, replan
from ml.allocation.rest import Decision
from ml.allocation.running import MINUTE

SEEDS, TIMES = (11, 12, 13), 4


@pytest.fixture(scope="module")
def shops() -> list[Planned]:
    size = Size(skus=8, regions=3, sales=20, days=120)
    return [plan_shop(replace(size, seed=seed), TIMES) for seed in SEEDS]


def test_a_re_plan_earns_at_least_what_the_plan_left_alone_does(shops: list[Planned]) -> None:
    alone, units_alone, both = [], [], []
    for shop in shops:
        for k in range(TIMES):
            alone.append(run_sale(shop.sale, shop.chosen, shop.plan.units, shop.arrivals, (), k).profit)
            for most, found in ((0, units_alone), (2, both)):
                run, done = play_policy(shop, (180, 480, 780), Options(shop.seed, changes=most, ask_beyond=False), k)
                assert sum(step["prices"] for step in done) <= most
                assert (run.stock >= 0).all()
                found.append(run.profit)
    assert sum(units_alone) > sum(alone)
    assert sum(both) > 1.005 * sum(alone)


def test_belief_comes_nearer_to_the_demand_that_comes(shops: list[Planned]) -> None:
    before = after = 0.0
    for shop in shops:
        endless = np.full_like(shop.plan.units, 10**5)
        wanted = run_sale(shop.sale, shop.chosen, endless, shop.arrivals).sold.sum(axis=2)
        run = run_sale(shop.sale, shop.chosen, shop.plan.units, shop.arrivals)
        opening = int((max(shop.plan.offers.starts_at) - shop.plan.offers.begins) / MINUTE)
        found = replan(shop.case(run, opening + 360, ()), Options(shop.seed, ask_beyond=False))
        planned = np.exp(shop.plan.log_quantiles[:, :, 1]) - 0.5
        before += float(np.abs(planned - wanted).sum())
        after += float(np.abs(np.median(found.demand, axis=2) - wanted).sum())
        assert (found.demand >= run.sold[:, :, : opening + 360].sum(axis=2)[:, :, None]).all()
    assert after < 0.7 * before


def test_a_sale_in_which_the_plans_median_comes_to_pass_is_hardly_touched(shops: list[Planned]) -> None:
    """Three hours in, every cell has sold its share of the median: nothing, or next to nothing, is worth a change."""
    moved = sent = 0
    for shop in shops:
        opening = int((max(shop.plan.offers.starts_at) - shop.plan.offers.begins) / MINUTE)
        found = replan(shop.case(run_sale(shop.sale, shop.chosen, shop.plan.units, shop.arrivals), opening + 180, ()),
                       Options(shop.seed, ask_beyond=False))  # fmt: skip
        share = found.seen.stocked + np.where(found.seen.ahead > 0, 1 - found.seen.stocked - found.seen.ahead, 0)
        median = np.exp(shop.plan.log_quantiles[:, :, 1]) - 0.5
        sold = np.minimum(np.rint(median * share), shop.plan.units).astype(int)
        rows = [
            {
                "minute": start,
                "sku_id": sku,
                "region_id": region,
                "units": sold[i, r],
                "cancelled_units": 0,
                "on_hand": np.nan,
            }
            for i, (sku, start) in enumerate(zip(shop.plan.offers.sku_ids, shop.plan.offers.starts_at, strict=True))
            for r, region in enumerate(shop.plan.offers.region_ids)
        ]
        clock = {**rows[0], "minute": found.running.clock, "units": 0}
        case = replace(shop.case(run_sale(shop.sale, shop.chosen, shop.plan.units, shop.arrivals), opening + 180, ()),
                       minutes=pd.DataFrame([*rows, clock]))  # fmt: skip
        quiet = replan(case, Options(shop.seed, ask_beyond=False))
        assert (quiet.within.profile == Decision.nothing(quiet.search.rest).profile).all()
        moved += int(moved_units(quiet.within).clip(0).sum())
        sent += int(shop.plan.units.sum())
    assert moved <= 0.01 * sent
