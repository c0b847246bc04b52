"""Scores of the simulated shop's sales against the sealed truth, and their arithmetic."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.demand.unconstrain import CELL, unconstrain
from ml.scoring.panel import build_panel
from ml.scoring.score import ALPHA, score_campaign


@pytest.fixture(scope="module")
def scores(shop: Any) -> pd.DataFrame:
    cells = shop.performance.merge(shop.products[["sku_id", "category"]])
    wanted = unconstrain(cells, shop.hours)[[*CELL, "demand", "demand_p10", "demand_p90"]]
    offers = shop.performance.merge(wanted, on=CELL)
    panel = build_panel(shop.daily)
    warehouses = shop.regions.set_index("region_id").warehouse_id.to_dict()
    begun = time.perf_counter()
    parts = [
        score_campaign(panel, own, shop.signals, shop.products, warehouses, 1).assign(campaign_id=name)
        for name, own in offers.groupby("campaign_id")
    ]
    assert time.perf_counter() - begun < 60
    return pd.concat(parts, ignore_index=True)


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
    assert (scores.placebo_p.dropna() >= 1.0 / (scores.loc[scores.placebo_p.notna(), "donors"] + 1) - 1e-12).all()


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
