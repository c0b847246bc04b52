"""Regimes that deepen the shop: what they plant shows up in the events, and the usual shop has none of it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from flashsale.request import load_request
from marketplace.choice import CLASS_PULLS, CLASS_SHARES, mixed_logit_means
from marketplace.costs import RATIO_LIMITS, cost_paths, passed_on
from marketplace.exam.arrivals import draw_arrivals
from marketplace.exam.judge import Plan, judge
from marketplace.exam.oracle import units_for
from marketplace.exam.running import run_sale
from marketplace.exam.table import make_sale
from marketplace.future import request
from marketplace.marts import build_marts
from marketplace.regimes import REGIMES
from marketplace.shop import Shop, build_shop, play
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


@pytest.fixture(scope="module")
def classed() -> Shop:
    return _shop("customer_classes")


def _bought(shop: Shop) -> pd.DataFrame:
    """Orders in sales with the log of price paid over list price, and whether the customer minds prices (if classed)."""
    orders, catalog = shop.streams["orders"].to_pandas(), shop.streams["catalog"].to_pandas()
    sold = orders[(orders.status == "placed") & orders.campaign_id.notna()]
    listed = sold.sku_id.map(catalog.set_index("sku_id").list_price.astype(float))
    paid = sold.paid_amount.astype(float) / sold.quantity / listed
    return sold.assign(paid=paid.to_numpy(), keen=sold.user_id.str[1:].astype(int) % 2 == 0)


def _habit(bought: pd.DataFrame) -> float:
    """How alike the prices are that a customer pays in different sales: correlation, usual prices of SKUs taken out."""
    own = bought.paid - bought.groupby("sku_id").paid.transform("mean")
    by_sale = own.groupby([bought.user_id, bought.campaign_id]).agg(["sum", "size"])
    whole = by_sale.groupby(level=0).sum()
    pairs = [float((whole[part] ** 2).sum() - (by_sale[part] ** 2).sum()) for part in ("sum", "size")]
    return pairs[0] / pairs[1] / float(own.var())


def test_deep_discounts_draw_those_who_mind_prices_and_customers_keep_habits(usual: Shop, classed: Shop) -> None:
    bought = _bought(classed)
    deep, shallow = bought[bought.paid < 0.75], bought[bought.paid > 0.88]
    assert deep.keen.mean() > shallow.keen.mean() + 0.1
    assert abs(_bought(usual).keen.mean() - 0.5) < 0.03
    assert _habit(bought) > _habit(_bought(usual)) + 0.01


def test_a_mixed_logit_by_hand() -> None:
    listed, ratio, elasticity, market = np.array([30.0, 60.0]), np.array([0.8, 1.0]), np.array([2.0, 2.0]), 400.0
    means = mixed_logit_means(listed, ratio, elasticity, market)
    for k, pull in enumerate(CLASS_PULLS):
        alone = [15.0 * 0.8 ** (-2.0 * pull), 30.0]
        odds = [a / (200.0 - a) for a in alone]
        assert means[k] == pytest.approx([200.0 * o / (1.0 + sum(odds)) for o in odds])
    assert float(CLASS_SHARES @ CLASS_PULLS) == pytest.approx(1.0)
    assert float(CLASS_SHARES.sum()) == 1.0


def test_an_offers_elasticity_grows_with_its_discount_and_a_cheap_rival_takes_the_keen() -> None:
    def means(own: float, rival: float) -> np.ndarray:
        return mixed_logit_means(np.array([20.0, 20.0]), np.array([own, rival]), np.full(2, 2.0), 1e6)

    def elasticity(at: float) -> float:
        up, down = means(at * 1.001, 1.0)[:, 0].sum(), means(at / 1.001, 1.0)[:, 0].sum()
        return float(-np.log(up / down) / np.log(1.001**2))

    assert elasticity(1.0) == pytest.approx(2.0, rel=0.01)
    assert elasticity(0.7) > 2.3
    small = np.array(
        [mixed_logit_means(np.full(2, 90.0), np.array([0.9, p]), np.full(2, 2.0), 600.0) for p in (1.0, 0.7)]
    )
    lost = 1.0 - small[1, :, 0] / small[0, :, 0]
    assert lost[0] > 1.5 * lost[1] > 0


def test_the_examiner_plays_the_same_customers(classed: Shop) -> None:
    """The exam's true means are the events' rule: the sum over classes at the offers' prices."""
    played = play(replace(SIZE, regime=REGIMES["customer_classes"]))
    world, sale = played.world, make_sale(played.world, played.sale, classed.request)
    chosen = sale.managers()
    skus, regions = len(chosen), len(world.region_ids)
    ratio = np.repeat([a[0] for a in chosen] / sale.listed, regions)
    by_class = world.class_means(
        np.repeat(played.sale.sku, regions), np.tile(np.arange(regions), skus), ratio,
        np.repeat([a[1] for a in chosen], regions), np.repeat([a[2] for a in chosen], regions), 24,
        np.repeat(played.sale.shock, regions),
    )  # fmt: skip
    assert sale.means(chosen) == pytest.approx(by_class.sum(axis=0).reshape(skus, regions))
    truth = classed.truth["campaign_cells"].to_pandas()
    assert truth.demanded_units.sum() == pytest.approx(truth.expected_demand.sum(), rel=0.05)


@pytest.fixture(scope="module")
def slow() -> Shop:
    return _shop("slow_delivery")


def test_slow_delivery_loses_customers_and_undoes_orders_in_its_regions_alone(usual: Shop, slow: Shop) -> None:
    world = build_world(replace(SIZE, regime=REGIMES["slow_delivery"]))
    late = world.region_ids[int(np.argmax(world.delay))]
    assert sorted(world.delay) == [0.0, 0.0, 5.0]
    wanted, fates = {}, {}
    for name, shop in (("usual", usual), ("slow", slow)):
        truth = shop.truth["campaign_cells"].to_pandas()
        wanted[name] = truth.groupby(truth.region_id == late).demanded_units.sum()
        orders = shop.streams["orders"].to_pandas()
        share = orders.groupby([orders.region_id == late, "status"]).order_id.nunique().unstack()
        fates[name] = share.div(share["placed"], axis=0)
    assert wanted["slow"][True] / wanted["usual"][True] == pytest.approx(np.exp(-0.06 * 5), abs=0.05)
    assert wanted["slow"][False] / wanted["usual"][False] == pytest.approx(1.0, abs=0.05)
    assert fates["slow"].loc[True, "cancelled"] == pytest.approx(0.12, abs=0.02)
    assert fates["slow"].loc[True, "returned"] == pytest.approx(0.115, abs=0.02)
    for fate, share in (("cancelled", 0.02), ("returned", 0.04)):
        assert fates["slow"].loc[False, fate] == pytest.approx(share, abs=0.01)
        assert fates["usual"].loc[True, fate] == pytest.approx(share, abs=0.01)


def test_the_examiner_pays_nothing_for_orders_that_slow_delivery_undid() -> None:
    played = play(replace(SIZE, regime=REGIMES["slow_delivery"]))
    sale = make_sale(played.world, played.sale, request(played.world, played.sale))
    chosen, regions = sale.managers(), len(played.world.region_ids)
    arrivals = draw_arrivals(np.random.default_rng(0), sale.largest_means(), 4)
    mark = judge(sale, Plan(chosen, np.full((len(chosen), regions), 6)), arrivals)
    demand, money = arrivals.demand(sale.means(chosen)), 0.0
    for s, r, k in itertools.product(range(len(chosen)), range(regions), range(4)):
        sold = min(6, int(demand[s, r, k]))
        undone = sold * 0.035 * played.world.delay[r]
        money += (sold - undone) * chosen[s][0] + (6 - sold + undone) * sale.salvage[s]
        money -= 6 * (sale.cost[s] + sale.shipping[r])
    assert mark["profit"] == pytest.approx(money / 4 / 100)
    run = run_sale(sale, chosen, np.full((len(chosen), regions), 6), arrivals)
    alone = judge(sale, Plan(chosen, np.full((len(chosen), regions), 6)), arrivals.only(0))
    assert run.profit / 100 == pytest.approx(alone["profit"])
    units, _ = units_for(sale, arrivals, chosen)
    known = judge(sale, Plan(chosen, units.units), arrivals)
    assert units.profit / 100 == pytest.approx(known["profit"])
