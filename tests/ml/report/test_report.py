"""The report: the same data gives the same bytes, every figure is inline, a browser opens it without a complaint."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from ml.report.cli import render
from ml.report.data import ReportData
from tests.browser import open_page


def report_data() -> ReportData:
    starts = pd.date_range("2026-01-01", periods=6, freq="5D", tz="UTC")
    names = [f"c{i}" for i in range(6)]
    units = [100.0 + 10 * i for i in range(6)]
    sales = pd.DataFrame(
        {"campaign_id": names, "starts_at": starts, "units": units, "demand": [u * 1.3 for u in units],
         "low": [u * 1.1 for u in units], "high": [u * 1.5 for u in units], "censored": 0.5}
    )  # fmt: skip
    scores = pd.DataFrame(
        {"campaign_id": names, "starts_at": starts, "units_sold": units, "unconstrained_demand": sales["demand"],
         "lost_units": sales["demand"] - sales["units"], "verdict": ["win", "loss", "inconclusive"] * 2, "placebo_p": 0.04,
         "net_margin": 12.0, "smallest_detectable_units": 9.0}
    )  # fmt: skip
    for name in ("incremental_sales", "incremental_demand", "incremental_margin"):
        scores[name], scores[f"{name}_lower"], scores[f"{name}_upper"] = 50.0, 40.0, 60.0
    plan = pd.DataFrame(
        [
            {"sku_id": sku, "region_id": region, "allocate_units": 10 + i, "offer_price": "9.90", "promo_type": "coupon",
             "demand_p10": 5.0, "demand_p50": 9.0, "demand_p90": 14.0, "expected_sales": 8.5, "expected_margin": 21.0,
             "explanation": "<script>alert(1)</script> supply binds", "status": "published", "decided_by": "anna",
             "reason": "fits"}
            for i, (sku, region) in enumerate([("s1", "east"), ("s1", "west"), ("s2", "east")])
        ]
    )  # fmt: skip
    summary = {
        "plan_id": "p1", "request_id": "r1", "currency": "CNY", "units": 33, "expected_sales": 25.5,
        "expected_profit": 63.0, "gap": 0.0004, "with_text": 63.0, "without_text": 51.0, "text_worth": 12.0,
        "text_worth_low": -1.0, "text_worth_high": 25.0, "shadow_prices": {"stock budget": 0.42},
    }  # fmt: skip
    return ReportData(
        sales=sales, scores=scores, plan=plan, summary=summary,
        regions=pd.DataFrame({"region_id": ["east", "west"], "capacity_units": [40, 30]}),
        text_metrics={"sentiment_f1.zh": 0.86, "tfidf.sentiment_f1.zh": 0.85},
        demand_metrics={"wape_model": 0.35, "wape_linear": 0.48}, labels={"text": "t-v1", "demand": "d-v1"},
    )  # fmt: skip


def test_the_same_data_gives_the_same_bytes() -> None:
    assert render(report_data()) == render(report_data())


def test_the_page_says_what_the_plan_says() -> None:
    page = render(report_data())
    for words in ("0.04%", "stock budget (0.42)", "published by anna", "50 (40 to 60)", "It is not clearly above zero"):
        assert words in page, words
    assert "It is not clearly" not in render(
        replace(report_data(), summary=report_data().summary | {"text_worth_low": 3.0})
    )
    assert page.count("<svg") == 6
    assert "<script>alert" not in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)


def test_missing_champions_are_said(home: Path) -> None:
    bare = replace(report_data(), text_metrics={}, demand_metrics={}, notes=["No champion of flashsale-text"])
    page = render(bare)
    assert page.count("<svg") == 4
    assert "No champion of flashsale-text" in page


@pytest.mark.browser
def test_a_browser_opens_it_without_a_complaint(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(render(report_data()), encoding="utf-8")
    errors, text = open_page(path.as_uri(), tmp_path / "report.png")
    assert errors == []
    assert "Demand that empty shelves hid" in text
    assert (tmp_path / "report.png").stat().st_size > 20_000
