"""Regimes that deepen the shop: what they plant shows up in the events, and the usual shop has none of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from flashsale.request import load_request
from marketplace.costs import RATIO_LIMITS, cost_paths, passed_on
from marketplace.marts import build_marts
from marketplace.regimes import REGIMES
from marketplace.shop import Shop, build_shop
from marketplace.world import Size, build_world

SIZE = Size(seed=5, skus=12, regions=3, sales=24, days=160)
CELL = ["campaign_id", "sku_id", "region_id"]


def _shop(name: str) -> Shop:
    return build_shop(replace(SIZE, regime=REGIMES[name]))


@pytest.fixture(scope="module")
def usual() -> Shop:
    return _shop("usual")


@pytest.fixture(scope="module")
def costly() -> Shop:
    return _shop("cost_shock")


def _priced(shop: Shop) -> pd.DataFrame:
    """Offers, one a SKU and sale, with log price over list price, log unit cost at the start, and the shock."""
    performance = build_marts(shop)["performance"]
    rows = performance.merge(shop.truth["campaign_cells"].to_pandas()[[*CELL, "shock"]], on=CELL)
    rows = rows.drop_duplicates(["campaign_id", "sku_id"])
    return rows.assign(price=np.log(rows.offer_price / rows.list_price), cost=np.log(rows.unit_cost))


def test_the_usual_shops_costs_stand_still(usual: Shop) -> None:
    catalog = usual.streams["catalog"].to_pandas()
    assert catalog.sku_id.is_unique
    world = build_world(SIZE)
    assert (world.cost_at(SIZE.end_us) == world.cost_cents).all()


def test_costs_move_in_the_catalogue_and_prices_follow_in_part_but_shocks_do_not(costly: Shop) -> None:
    catalog = costly.streams["catalog"].to_pandas()
    versions = catalog.groupby("sku_id").unit_cost.nunique()
    assert versions.min() > 4
    rows = _priced(costly)
    within = rows[["price", "cost", "shock"]] - rows.groupby("sku_id")[["price", "cost", "shock"]].transform("mean")
    assert within.cost.std() > 0.1
    slope = float((within.cost @ within.price) / (within.cost @ within.cost))
    assert 0.35 < slope < 0.8  # 0.6 is passed on
    left = within.price - slope * within.cost
    f = slope**2 * float(within.cost @ within.cost) / float(left.var())
    assert f > 30
    assert abs(np.corrcoef(within.cost, within.shock)[0, 1]) < 0.15


def test_the_request_has_the_newest_cost(costly: Shop) -> None:
    asked = load_request(dict(costly.request))
    newest = costly.streams["catalog"].to_pandas().sort_values("event_at").groupby("sku_id").unit_cost.last()
    assert all(s.unit_cost == newest[s.sku_id] for s in asked.skus)
    products = build_marts(costly)["products"].set_index("sku_id")
    assert all(products.unit_cost[s.sku_id] == pytest.approx(float(s.unit_cost)) for s in asked.skus)


def test_cost_paths_spread_as_asked_and_a_price_stays_a_sale() -> None:
    usual = np.full(400, 10_000)
    paths = cost_paths(np.random.default_rng(0), usual, 280, 0.2)
    assert np.log(paths / 10_000).std() == pytest.approx(0.2, rel=0.15)
    assert np.corrcoef(paths[:, 5], paths[:, 6])[0, 1] > 0.5
    assert (cost_paths(np.random.default_rng(0), usual, 280, 0.0) == usual[:, None]).all()
    ratio = passed_on(np.array([0.8, 0.95, 0.7]), np.array([121, 200, 30]), np.array([100, 100, 100]), 0.5)
    assert ratio == pytest.approx([0.8 * 1.1, RATIO_LIMITS[1], RATIO_LIMITS[0]])
