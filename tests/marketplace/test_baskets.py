"""A full reduction as a basket threshold: baskets in the orders, and the examiner's money by the same rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from marketplace.baskets import THRESHOLD_CENTS, TOP_UP, basket_rule, settled, with_top_ups
from marketplace.exam.arrivals import draw_arrivals
from marketplace.exam.judge import Plan, judge
from marketplace.exam.running import run_sale
from marketplace.exam.table import Sale, make_sale
from marketplace.future import request
from marketplace.regimes import REGIMES
from marketplace.shop import Shop, build_shop, play
from marketplace.world import Size

SIZE = Size(seed=5, skus=16, regions=3, sales=24, days=160)
THRESHOLD = THRESHOLD_CENTS / 100
BASKETS = replace(SIZE, regime=REGIMES["basket_threshold"])


@pytest.fixture(scope="module")
def shop() -> Shop:
    return build_shop(BASKETS)


def _full(shop: Shop) -> pd.DataFrame:
    """Lines of full reductions as placed, with list price, offer price and the whole order's list value and units."""
    orders, listed = shop.streams["orders"].to_pandas(), shop.streams["catalog"].to_pandas().set_index("sku_id")
    lines = orders[(orders.status == "placed") & (orders.promo_type == "full_reduction")].copy()
    lines["listed"] = lines.sku_id.map(listed.list_price.astype(float))
    offers = shop.streams["campaigns"].to_pandas()[["campaign_id", "sku_id", "region_id", "offer_price"]]
    lines = lines.merge(offers, on=["campaign_id", "sku_id", "region_id"])
    lines["paid"] = lines.paid_amount.astype(float) / lines.quantity
    value = lines.listed * lines.quantity
    lines["total"] = value.groupby(lines.order_id).transform("sum")
    lines["skus"] = lines.groupby("order_id").sku_id.transform("nunique")
    return lines


def test_reduced_prices_are_paid_in_baskets_above_the_threshold_alone(shop: Shop) -> None:
    lines = _full(shop)
    reduced = lines.paid < lines.listed - 0.005
    assert (lines.paid[reduced] - lines.offer_price.astype(float)[reduced]).abs().max() < 0.01
    assert (lines.total[reduced] >= THRESHOLD).all()
    assert 0.1 < reduced.mean() < 0.95
    single = lines[(lines.skus == 1) & (lines.listed < THRESHOLD)]
    assert len(single) > 50 and (single.paid == single.listed).all()
    assert (lines.unit_price.astype(float) == lines.listed).all()


def test_baskets_of_several_skus_appear_around_the_threshold(shop: Shop) -> None:
    usual = _full(build_shop(SIZE))
    assert usual.order_id.is_unique
    lines = _full(shop)
    whole = lines.drop_duplicates("order_id")
    assert (whole.skus == 2).mean() > 0.1 and whole.skus.max() == 2
    pairs = lines[lines.skus == 2]
    assert (pairs.groupby("order_id").user_id.nunique() == 1).all()
    assert (pairs.groupby("order_id").region_id.nunique() == 1).all()
    assert set(pairs.line_no) == {1, 2}
    cheap = lines[lines.listed < THRESHOLD]
    above = (cheap.drop_duplicates("order_id").total >= THRESHOLD).mean()
    assert above > (usual[usual.listed < THRESHOLD].total >= THRESHOLD).mean() + 0.1


def test_the_events_have_the_true_mean_demand(shop: Shop) -> None:
    truth = shop.truth["campaign_cells"].to_pandas()
    assert truth.demanded_units.sum() == pytest.approx(truth.expected_demand.sum(), rel=0.03)


def test_the_rule_by_hand() -> None:
    listed = np.array([20_000, 15_000, 40_000, 5_000])
    rule = basket_rule(np.zeros(4, dtype=int), np.ones(4, dtype=int), listed)
    assert rule.reach.tolist() == [TOP_UP, TOP_UP, 1.0, TOP_UP]
    assert rule.partners.sum(axis=1).tolist() == [2, 2, 0, 1]
    ratio, slope = np.full(4, 0.8), np.full(4, 2.0)
    more = 0.5 * 0.8**-2.0
    assert rule.passing(ratio, slope)[0] == pytest.approx(more / (more + 0.5))
    assert rule.seen_ratio(ratio, slope)[0] ** -2.0 == pytest.approx(more + 0.5)
    assert rule.seen_ratio(ratio, slope)[2] == pytest.approx(0.8)
    added = rule.added(np.array([10.0, 4.0, 7.0, 3.0]))
    assert added == pytest.approx([4.0 / 2, 10.0 / 2, 10.0 / 2 + 4.0 / 2 + 3.0, 0.0])
    plain = basket_rule(np.zeros(4, dtype=int), np.zeros(4, dtype=int), listed)
    assert plain.seen_ratio(ratio, slope) == pytest.approx(ratio) and plain.passing(ratio, slope) == pytest.approx(1.0)


def test_a_basket_that_lost_a_line_pays_list_prices() -> None:
    rule = basket_rule(np.zeros(2, dtype=int), np.ones(2, dtype=int), np.array([20_000, 20_000]))
    count = 400
    lines = {"cell": np.zeros(count, dtype=int), "time_us": np.arange(count), "wanted": np.ones(count, dtype=int),
             "basket": -np.ones(count, dtype=int), "reduced": np.ones(count, dtype=int)}  # fmt: skip
    made = with_top_ups(np.random.default_rng(0), rule, np.array([0.6, 0.6]), lines, 0)
    added = made["cell"] == 1
    assert added.sum() == pytest.approx(240, abs=40)
    assert (np.bincount(made["basket"][made["basket"] >= 0]) == 2).all()
    served = np.where(added & (np.cumsum(added) > 100), 0, made["wanted"])  # the second offer sells out
    reduced = settled(made, served)
    assert reduced[(made["basket"] >= 0) & (served > 0)].sum() == 200
    assert (reduced[made["basket"] < 0] == made["reduced"][made["basket"] < 0]).all()


def _under(sale: Sale) -> list[tuple[int, int, int]]:
    """Every SKU at its dearest price as a full reduction."""
    return [(max(a[0] for a in own), 1, own[0][2]) for own in sale.actions]


def test_the_examiner_takes_list_prices_from_baskets_below_the_threshold() -> None:
    played = play(BASKETS)
    sale = make_sale(played.world, played.sale, request(played.world, played.sale))
    chosen = _under(sale)
    price, paid = np.array([a[0] for a in chosen], dtype=float), sale.paid(chosen)
    alone = sale.listed >= THRESHOLD_CENTS
    assert alone.any() and not alone.all()
    assert paid[alone] == pytest.approx(np.repeat(price[alone, None], paid.shape[1], axis=1))
    assert (paid[~alone] > price[~alone, None] + 1).all() and (paid <= sale.listed[:, None]).all()
    arrivals, units = draw_arrivals(np.random.default_rng(0), sale.largest_means(), 1), np.full(paid.shape, 6)
    sold = np.minimum(arrivals.demand(sale.means(chosen))[:, :, 0], 6)
    money = (sold * paid + (6 - sold) * sale.salvage[:, None]).sum() - 6 * (sale.cost[:, None] + sale.shipping).sum()
    assert judge(sale, Plan(chosen, units), arrivals)["profit"] == pytest.approx(money / 100)
    assert run_sale(sale, chosen, units, arrivals).profit == pytest.approx(money)
    plain = [(p, 0, start) for p, _, start in chosen]
    assert sale.paid(plain) == pytest.approx(np.repeat(price[:, None], paid.shape[1], axis=1))
