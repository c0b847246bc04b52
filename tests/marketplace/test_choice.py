"""How offers compete: a nested logit that is one, lists that no logit fits, and regimes that do what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pytest

from marketplace.choice import nested_logit_factors, ranked_list_factors
from marketplace.future import next_sale, sale_means
from marketplace.regimes import REGIMES
from marketplace.sales import run_sales, schedule
from marketplace.shop import Shop, build_shop
from marketplace.world import Size, build_world

SMALL = Size(seed=5, skus=10, regions=3, sales=8, days=90)


def test_nested_logit_shares_follow_the_textbook_and_an_offer_alone_keeps_its_demand() -> None:
    alone, category, market, nest = np.array([30.0, 60.0, 45.0]), np.array([0, 0, 1]), 400.0, 0.5
    weight = alone / (market - alone)  # exp of mean utility / nest parameter, read off a market with one offer
    utility = nest * np.log(weight ** (1 / nest))
    top = np.exp(utility / nest)
    sums = np.array([top[:2].sum(), top[2]])
    value = np.exp(nest * np.log(sums))
    expected = market * top / sums[category] * value[category] / (1.0 + value.sum())
    assert alone * nested_logit_factors(alone, category, market, nest) == pytest.approx(expected)
    assert nested_logit_factors(alone[:1], category[:1], market, nest) == pytest.approx([1.0])


def test_rivals_of_a_category_take_more_from_each_other() -> None:
    alone = np.array([30.0, 30.0, 30.0])
    factor = nested_logit_factors(alone, np.array([0, 0, 1]), 1000.0, 0.4)
    assert factor[0] == pytest.approx(factor[1])
    assert factor[0] < 0.8 < factor[2] < 1.0
    same = nested_logit_factors(alone, np.array([0, 0, 1]), 1000.0, 1.0)  # plain logit: nests do not matter
    assert same == pytest.approx(np.full(3, same[0]))


def test_lists_move_customers_to_the_deeper_discount_and_lose_none() -> None:
    alone, ratio = np.array([20.0, 50.0, 10.0]), np.array([0.7, 0.95, 0.8])
    together = alone * ranked_list_factors(alone, ratio, np.array([0, 0, 1]))
    assert together.sum() == pytest.approx(alone.sum())
    assert together[0] > alone[0] and together[1] < alone[1] and together[2] == pytest.approx(alone[2])
    # Half of each SKU's customers look at the other first and ask for up to 40 %: 3/4 of them at 30 %, 1/8 at 5 %.
    assert together[0] == pytest.approx(20 - 20 * 0.5 * 0.125 + 50 * 0.5 * 0.75)


@pytest.mark.parametrize("choice", ["usual", "nested_logit", "ranked_lists"])
def test_a_cheaper_rival_takes_demand_in_every_world(choice: str) -> None:
    world = build_world(replace(SMALL, regime=REGIMES[choice]))
    cells, _ = run_sales(world, schedule(world))
    sale = next_sale(world, cells)
    kind = world.category[sale.sku]
    pair = np.flatnonzero(kind == np.bincount(kind).argmax())[:2]
    price = np.array([ladder[-1] for ladder in sale.prices])
    promo, slot = np.zeros(len(price), dtype=np.int64), np.full(len(price), sale.slots_us[0])
    before = sale_means(world, sale, price, promo, slot)
    price[pair[0]] = sale.prices[pair[0]][0]
    after = sale_means(world, sale, price, promo, slot)
    assert (after[pair[0]] > before[pair[0]]).all()
    assert (after[pair[1]] < before[pair[1]]).all()


def _shop(name: str) -> Shop:
    return build_shop(replace(SMALL, regime=REGIMES[name]))


def test_regimes_move_what_they_name() -> None:
    usual = _shop("usual")
    posts = usual.streams["social_posts"].num_rows
    assert _shop("bot_flood").streams["social_posts"].num_rows > 2 * posts
    sold_out = {
        name: pc.mean(pc.less(t["served_units"], t["demanded_units"]).cast("int8")).as_py()
        for name, t in ((n, _shop(n).truth["campaign_cells"]) for n in ("usual", "heavy_censoring"))
    }
    assert sold_out["heavy_censoring"] > sold_out["usual"] + 0.1
    supply = sum(s["supply_units"] for s in usual.request["skus"])
    assert sum(s["supply_units"] for s in _shop("supply_collapse").request["skus"]) < 0.5 * supply


def test_a_new_region_has_no_history_and_a_cold_start_little() -> None:
    shop = _shop("new_region")
    orders = shop.streams["orders"]
    newest = shop.request["regions"][-1]["region_id"]
    days = (SMALL.end_us - pc.min(orders.filter(pc.equal(orders["region_id"], newest))["event_at"]).value) / 86_400e6
    assert 30 < days <= REGIMES["new_region"].new_region_days + 1
    catalog = _shop("cold_start").streams["catalog"]
    recent = pc.greater(catalog["launched_at"].cast("int64"), SMALL.end_us - 61 * 86_400_000_000)
    assert pc.sum(recent).as_py() == 4
