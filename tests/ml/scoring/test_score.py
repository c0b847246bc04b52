"""Scores of the simulated shop's sales against the sealed truth, and their arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from flashsale.errors import InputError
from ml.demand.unconstrain import CELL, unconstrain
from ml.scoring.panel import build_panel
from ml.scoring.score import ALPHA, score_campaign
from ml.scoring.window import window_of
from tests.ml.scoring.planted import plain_base


def _score(
    shop: Any, performance: pd.DataFrame, hours: pd.DataFrame, daily: pd.DataFrame, names: list[str]
) -> pd.DataFrame:
    cells = performance.merge(shop.products[["sku_id", "category"]])
    wanted = unconstrain(cells, hours)[[*CELL, "demand", "demand_p10", "demand_p90"]]
    offers = performance.merge(wanted, on=CELL)
    panel = build_panel(daily)
    warehouses = shop.regions.set_index("region_id").warehouse_id.to_dict()
    parts = [
        score_campaign(panel, own, shop.signals, shop.products, warehouses).assign(campaign_id=name)
        for name, own in offers.groupby("campaign_id")
        if name in names
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def scores(shop: Any) -> pd.DataFrame:
    return _score(shop, shop.performance, shop.hours, shop.daily, sorted(set(shop.performance.campaign_id)))


def test_incremental_sales_match_the_truth(scores: pd.DataFrame, shop: Any) -> None:
    cells = scores[(scores.level == "cell") & (scores.method != "recent_mean")].merge(shop.truth, on=CELL)
    truth = cells.served_units * 0.98 - cells.baseline_units
    assert len(cells) > 1000
    assert cells.incremental_sales.sum() == pytest.approx(truth.sum(), rel=0.05)
    inside = (truth >= cells.incremental_sales_lower) & (truth <= cells.incremental_sales_upper)
    assert inside.mean() > 0.9
    wanted = cells.demanded_units * 0.98 - cells.baseline_units
    assert cells.incremental_demand.sum() == pytest.approx(wanted.sum(), rel=0.06)


def test_levels_add_up(scores: pd.DataFrame) -> None:
    for name in ("units_sold", "lost_units", "incremental_sales", "incremental_margin", "net_margin", "halo_units"):
        by_level = scores.groupby(["level", "campaign_id"])[name].sum().unstack(0)
        assert np.allclose(by_level["cell"], by_level["campaign"])
        assert np.allclose(by_level["cell"], by_level["sku"])
    assert (scores.groupby("level").size()["campaign"]) == scores.campaign_id.nunique()


def test_verdicts_follow_their_rule(scores: pd.DataFrame) -> None:
    assert set(scores.verdict) <= {"win", "loss", "inconclusive"}
    sure = scores[scores.verdict != "inconclusive"]
    assert (sure.placebo_p <= ALPHA).all()
    assert (sure.loc[sure.verdict == "win", "net_margin"] > 0).all()
    assert (sure.loc[sure.verdict == "loss", "net_margin"] < 0).all()
    assert (scores.loc[scores.method == "recent_mean", "verdict"] == "inconclusive").all()
    assert (sure.loc[sure.verdict == "win", "net_margin_lower"] > 0).all()
    controlled = scores[scores.method.str.contains("synthetic_control") & scores.placebo_p.notna()]
    assert (controlled.placebo_p >= 1.0 / (controlled.donors + 1) - 1e-12).all()


def test_every_cell_says_how_it_was_scored(scores: pd.DataFrame) -> None:
    cells = scores[scores.level == "cell"]
    rough = cells.method == "recent_mean"
    assert rough.mean() < 0.05  # few or no donors are no reason for a rough mean, only a short past is
    assert cells.placebo_p.isna().equals(rough)
    assert cells.smallest_detectable_units.isna().equals(rough)
    few = cells[~rough & (cells.donors < 5)]
    assert len(few) > 100
    assert set(few.method) == {"structural_time_series"}
    assert set(cells.method[~rough & (cells.donors.between(5, 18))]) == {
        "structural_time_series",
        "time_based_regression",
    }


def test_net_bounds_hold_more_than_the_sale_days(scores: pd.DataFrame) -> None:
    """The net figure owns to what is unsure about the days and SKUs around, so it is the less certain one."""
    sure = scores.dropna(subset=["net_margin_lower"])
    net, alone = ((sure[f"{n}_upper"] - sure[f"{n}_lower"]) / 2 for n in ("net_margin", "incremental_margin"))
    assert (net > alone).mean() > 0.95
    assert net.sum() > 1.5 * alone.sum()
    assert np.allclose(sure.net_margin_upper + sure.net_margin_lower, 2 * sure.net_margin)


def test_sales_lift_and_demand_lift_stand_apart(scores: pd.DataFrame) -> None:
    sale = scores[scores.level == "campaign"]
    assert (sale.incremental_demand >= sale.incremental_sales).all()
    short = sale[sale.lost_units > 0.2 * sale.unconstrained_demand]
    assert len(short) > 3
    assert (short.incremental_demand > 1.2 * short.incremental_sales).mean() > 0.8


def test_days_around_show_what_was_pulled_forward(scores: pd.DataFrame, shop: Any) -> None:
    """Planted: 0.15 of a usual day before and 0.73 after, so about 0.9 days of baseline are missing."""
    cells = scores[(scores.level == "cell") & (scores.method != "recent_mean")]
    daily = shop.daily[~shop.daily.in_campaign].groupby(["sku_id", "region_id"]).units.mean()
    usual = daily.loc[list(zip(cells.sku_id, cells.region_id, strict=True))].to_numpy()
    assert cells.pull_forward_units.sum() / usual.sum() == pytest.approx(-0.9, abs=0.3)


def test_sentiment_falls_after_sales_that_ran_short(scores: pd.DataFrame) -> None:
    sku = scores[scores.level == "sku"].dropna(subset=["sentiment_after", "sentiment_before"])
    short = sku.lost_units > 0.3 * sku.unconstrained_demand
    change = sku.sentiment_after - sku.sentiment_before
    assert change[short].mean() < change[~short].mean() - 0.05


def _capped(shop: Any, names: list[str]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The shop, had cells that kept stock been sent half of what they sold: performance, hours, daily, cells capped."""
    cells = shop.performance[
        shop.performance.campaign_id.isin(names) & ~shop.performance.is_sold_out & (shop.performance.units_sold >= 8)
    ][[*CELL, "units_sold", "starts_at", "offer_price"]].assign(cap=lambda c: c.units_sold // 2)
    hours = shop.hours.merge(cells[[*CELL, "cap", "starts_at", "offer_price"]], on=CELL, how="left")
    gone_before = hours.groupby(CELL).units.cumsum() - hours.units
    kept = np.minimum(hours.units, np.maximum(hours.cap.fillna(1e9) - gone_before, 0)).astype("int64")
    lost = hours.units - kept
    open_share = np.where(hours.units > 0, kept / hours.units.clip(lower=1), gone_before < hours.cap.fillna(1e9))
    new_hours = shop.hours.assign(units=kept, in_stock_share=shop.hours.in_stock_share * open_share)
    day = (hours.starts_at + pd.to_timedelta(hours.event_hour, unit="h")).dt.tz_localize(None).dt.normalize()
    away = hours.assign(sales_date=day, lost=lost, paid=lost * hours.offer_price)[lost > 0]
    away = away.groupby(["sku_id", "region_id", "sales_date"])[["lost", "paid"]].sum().reset_index()
    daily = shop.daily.assign(sales_date=pd.to_datetime(shop.daily.sales_date)).merge(away, how="left")
    daily = daily.assign(units=daily.units - daily.lost.fillna(0), revenue=daily.revenue - daily.paid.fillna(0)).drop(
        columns=["lost", "paid"]
    )
    sold = new_hours.groupby(CELL, as_index=False).units.sum().rename(columns={"units": "now"})
    end = hours[gone_before < hours.cap].groupby(CELL).event_hour.max().rename("last_hour").reset_index()
    performance = shop.performance.merge(sold, on=CELL).merge(end, on=CELL, how="left")
    hit = performance.last_hour.notna()
    performance["revenue"] -= (performance.units_sold - performance.now) * performance.offer_price
    performance["units_sold"] = performance.now
    performance.loc[hit, "allocated_units"] = performance.loc[hit, "now"]
    performance.loc[hit, "is_sold_out"] = True
    moment = performance.starts_at + pd.to_timedelta(performance.last_hour + 1, unit="h")
    performance["sold_out_at"] = performance.sold_out_at.where(~hit, moment)
    return performance.drop(columns=["now", "last_hour"]), new_hours, daily, cells


def test_an_artificial_stock_cap_lowers_the_sales_lift_and_leaves_the_demand_lift(
    scores: pd.DataFrame, shop: Any
) -> None:
    names = sorted(set(shop.performance.campaign_id))[8::4]
    performance, hours, daily, cells = _capped(shop, names)
    assert len(cells) > 50
    again = _score(shop, performance, hours, daily, names)
    both = [s[s.level == "cell"].merge(cells[CELL], on=CELL).sort_values(CELL) for s in (scores, again)]
    removed = (cells.units_sold - cells.cap).sum()
    sales, demand = ([float(s[f"incremental_{n}"].sum()) for s in both] for n in ("sales", "demand"))
    assert sales[0] - sales[1] == pytest.approx(removed, rel=0.05)
    assert sales[1] < 0.5 * sales[0]
    assert demand[1] == pytest.approx(demand[0], rel=0.12)


def test_offers_that_start_days_apart_are_each_scored_on_their_own_days() -> None:
    """Thirty units a region on the day of either offer, five days apart: read no worse than had each been a sale."""
    base, days = plain_base(7), {"s01": 90, "s02": 95}
    daily = base.daily
    offers = []
    for name, day in days.items():
        start = pd.Timestamp("2026-01-01", tz="UTC") + pd.Timedelta(days=day)
        sold = (
            (daily.sku_id == name) & (daily.sales_date == start.tz_localize(None)) & daily.region_id.isin(["r0", "r1"])
        )
        daily.loc[sold, ["units", "revenue"]] += (30, 300.0)
        daily.loc[sold, "in_campaign"] = True
        part = daily[sold].rename(columns={"units": "units_sold"})[["sku_id", "region_id", "units_sold", "revenue"]]
        offers.append(part.assign(starts_at=start, ends_at=start + pd.Timedelta(days=1), demand=part.units_sold * 1.0))
    frame = pd.concat(offers).assign(
        unit_cost=9.5, shipping_cost=1.0, list_price=10.0, offer_price=10.0, allocated_units=100, refunds=0.0,
        units_returned=0, is_sold_out=False, demand_p10=lambda f: f.demand, demand_p90=lambda f: f.demand,
    )  # fmt: skip
    signals = pd.DataFrame({"signal_date": pd.to_datetime([]), "sku_id": [], "text_count": [], "sentiment_mean": []})
    panel = build_panel(daily)
    found = score_campaign(panel, frame, signals, base.products, base.warehouses)
    cells = found[found.level == "cell"]
    assert cells.incremental_sales.to_numpy() == pytest.approx(30.0, abs=6.0)
    alone = pd.concat([
        score_campaign(panel, frame[frame.sku_id == sku], signals, base.products, base.warehouses) for sku in days
    ])  # fmt: skip
    single = alone[alone.level == "cell"]
    assert cells.counterfactual_units.to_numpy() == pytest.approx(single.counterfactual_units.to_numpy(), rel=0.35)
    assert cells.smallest_detectable_units.sum() < 1.3 * single.smallest_detectable_units.sum()
    # list price below cost and shipping: what is unsure about units is unsure about money all the same
    assert (cells.net_margin_upper - cells.net_margin_lower > 1.0).all()


def test_a_sale_with_days_that_are_not_in_the_data_is_refused() -> None:
    panel = build_panel(plain_base(7).daily)
    day = pd.Timedelta(days=1)
    first, last = (d.tz_localize("UTC") for d in (panel.days[0], panel.days[-1]))
    assert window_of(panel, last, last + day).during.sum() == 1
    for start in (first - day, last):
        with pytest.raises(InputError, match=r"field 'sales_date': they run from .* to .*, the sale from"):
            window_of(panel, start, start + 2 * day)
