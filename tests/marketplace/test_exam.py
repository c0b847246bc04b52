"""The examiner: customers, oracle and marks against figures found another way, and one small exam from end to end."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from benchmarks.harness import RESULTS
from flashsale.request import load_request
from marketplace.cli import main, parser
from marketplace.exam.arrivals import draw_arrivals
from marketplace.exam.judge import Plan, judge
from marketplace.exam.oracle import _whole, best_plan, units_for
from marketplace.exam.report import COLUMNS, summarise, table
from marketplace.exam.rules import last_sale, within_limits
from marketplace.exam.sitting import PLANNERS, Limits, _mark, shuffle_text
from marketplace.exam.table import Sale
from marketplace.future import request as request_of
from tests.conftest import ROOT


def test_customers_are_poisson_and_more_come_to_a_better_offer() -> None:
    rng = np.random.default_rng(0)
    arrivals = draw_arrivals(rng, np.full((1, 2), 60.0), 4000)
    few, many = arrivals.demand(np.array([[8.0, 8.0]])), arrivals.demand(np.array([[40.0, 40.0]]))
    assert few.mean() == pytest.approx(8.0, rel=0.03) and many.mean() == pytest.approx(40.0, rel=0.02)
    # lines are Poisson with mean 8 / 1.12, each of one unit or (12 %) two
    assert few.var() == pytest.approx(8.0 / 1.12 * (0.88 + 0.12 * 4), rel=0.06)
    assert (many >= few).all()


def test_units_match_every_way_of_sending_a_few(sale: Sale) -> None:
    small = replace(sale, supply=np.minimum(sale.supply, 4), space=np.array([5, 3]), service=np.zeros(2),
                    stock_budget=float(sale.cost.sum() * 3.0))  # fmt: skip
    arrivals = draw_arrivals(np.random.default_rng(1), small.largest_means(), 60)
    chosen = small.managers()
    demand = arrivals.demand(small.means(chosen))
    answer, _ = units_for(small, arrivals, chosen)
    price = np.array([a[0] for a in chosen], dtype=float)
    worth = [
        [
            [(price[s] - small.salvage[s]) * np.minimum(q, demand[s, r]).mean() - small.holding[s, r] * q
             for q in range(5)] for r in range(2)
        ] for s in range(len(chosen))
    ]  # fmt: skip
    best = -np.inf
    for flat in itertools.product(range(5), repeat=2 * len(chosen)):
        units = np.array(flat).reshape(-1, 2)
        fits = (units.sum(axis=1) <= small.supply).all() and (units.sum(axis=0) <= small.space).all()
        if fits and (units.sum(axis=1) * small.cost).sum() <= small.stock_budget:
            best = max(best, sum(worth[s][r][units[s, r]] for s in range(len(chosen)) for r in range(2)))
    assert answer.profit <= best + 1e-6
    assert answer.profit > 0.97 * best  # whole units are rounded from the programme's


def test_the_oracle_is_never_below_a_start_and_finds_nearly_the_best_actions(sale: Sale) -> None:
    arrivals = draw_arrivals(np.random.default_rng(2), sale.largest_means(), 40)
    start = sale.managers()
    found = best_plan(sale, arrivals, [start])
    assert found.profit >= units_for(sale, arrivals, start)[0].profit
    prices = [[a for a in own if a[1:] == own[0][1:]] for own in sale.actions]  # prices alone: few enough to try all
    only = replace(sale, actions=prices, _known={})
    every = max(units_for(only, arrivals, list(c))[0].profit for c in itertools.product(*prices))
    reached = best_plan(only, arrivals, [[own[len(own) // 2] for own in prices]]).profit
    assert every * 0.98 <= reached <= every + 1e-6


def test_those_who_know_are_audited_like_everybody(sale: Sale) -> None:
    request = load_request(dict(request_of(sale.world, sale.asked)))
    listed = {ask.sku_id: (cents / 100.0, float("inf")) for ask, cents in zip(request.skus, sale.listed, strict=True)}
    limits, arrivals = Limits(request, listed), draw_arrivals(np.random.default_rng(4), sale.largest_means(), 40)
    answer = best_plan(sale, arrivals, [sale.managers()])
    assert answer.served and limits.audited(sale, answer, arrivals).violations == 0
    greedy = replace(answer, units=answer.units + 10_000)
    asked = len(request.regions) + len(request.skus) + 1  # space, supply, the stock budget
    assert limits.audited(sale, greedy, arrivals).violations >= asked
    nothing = replace(answer, units=np.zeros_like(answer.units))
    cells = len(request.skus) * sum(region.min_service > 0 for region in request.regions)
    assert limits.audited(sale, nothing, arrivals).violations == cells > 0, "minimum service is one of the limits"
    assert limits.audited(sale, replace(nothing, served=False), arrivals).violations == 0, "which nobody could hold"
    cheap = replace(limits, prices={sku: (pair[0], 0.01) for sku, pair in listed.items()})
    assert cheap.audited(sale, answer, arrivals).violations == 1, "no price is that low: the law is broken"
    free = replace(cheap, request=request.model_copy(update={"price_lookback_days": 0}))
    assert free.audited(sale, answer, arrivals).violations == 0, "no days, no law"


def test_the_promotion_budget_of_those_who_know_is_what_they_expect_to_pay(sale: Sale) -> None:
    request = load_request(dict(request_of(sale.world, sale.asked)))
    listed = {ask.sku_id: (cents / 100.0, float("inf")) for ask, cents in zip(request.skus, sale.listed, strict=True)}
    arrivals = draw_arrivals(np.random.default_rng(4), sale.largest_means(), 40)
    answer = best_plan(sale, arrivals, [sale.managers()])
    demand = arrivals.demand(sale.means(answer.chosen))
    sales = np.minimum(answer.units[:, :, None], demand).mean(axis=2)
    paid = float((sale.discounts(answer.chosen)[:, None] * sales).sum()) / 100.0
    sent = float((sale.discounts(answer.chosen)[:, None] * answer.units).sum()) / 100.0
    assert 1.0 < paid < sent - 1.0, "units that stay cost no discount"
    for budget, count in ((paid + 0.5, 0), (paid - 0.5, 1)):
        asked = request.model_copy(update={"promotion_budget": budget})
        assert Limits(asked, listed).audited(sale, answer, arrivals).violations == count


def test_marks_count_what_those_who_know_break(sale: Sale) -> None:
    request = load_request(dict(request_of(sale.world, sale.asked)))
    listed = {ask.sku_id: (cents / 100.0, float("inf")) for ask, cents in zip(request.skus, sale.listed, strict=True)}
    plans = {"last_sale": Plan(sale.managers(), np.full((len(sale.actions), 2), 1), violations=3)}
    broke = request.model_copy(update={"stock_budget": 0.0})  # which the planners do not know of
    for asked, each in ((request, 0), (broke, 1)):
        marks = _mark(sale, plans, Limits(asked, listed), 1)
        assert marks["last_sale"]["violations"] == 3
        assert marks["true_distribution"]["violations"] == each
        assert marks["clairvoyant"]["violations"] == 20 * each, "a plan for each repetition, each audited"


def test_a_unit_follows_those_before_it_in_its_cell() -> None:
    """The second unit alone would fit the budget, but whoever sends one unit sends the first."""
    rows = sparse.csr_matrix(np.array([[10.0, 2.0, 2.0]]))
    gain, step = np.array([5.0, 4.0, 3.0]), np.array([0, 1, 0])
    assert _whole(np.zeros(3), gain, step, rows, np.array([3.0])).tolist() == [2]
    assert _whole(np.zeros(3), gain, step, rows, np.array([12.0])).tolist() == [0, 1]


def test_rules_keep_to_the_limits(sale: Sale) -> None:
    units = within_limits(sale, np.full((len(sale.actions), 2), 1000.0))
    price = np.array([a[0] for a in sale.managers()])
    assert (units.sum(axis=1) <= sale.supply).all() and (units.sum(axis=0) <= sale.space).all()
    assert (units * sale.cost[:, None]).sum() <= sale.stock_budget
    assert (units * (sale.listed - price)[:, None]).sum() <= sale.promotion_budget
    assert units.sum() > 0


def test_a_sku_that_was_in_no_sale_gets_a_multiple_of_its_usual_day(sale: Sale) -> None:
    cells = len(sale.actions) * len(sale.space)
    asked = pd.DataFrame({"base_units_28d": [1.7] * cells, "duration_hours": 12.0})
    known = [None] + [20] * (cells - 1)
    asked["last_sale_units"] = pd.array(known, dtype="Int64")  # whole numbers, one missing: the type takes no fraction
    units = last_sale(sale, asked, pd.DataFrame()).ravel()
    assert units[0] == pytest.approx(1.7 * 8.0 * 0.5 * 1.1) and units[1:] == pytest.approx(22.0)


def test_marks_by_hand(sale: Sale) -> None:
    arrivals = draw_arrivals(np.random.default_rng(3), sale.largest_means(), 3)
    chosen, units = sale.managers(), np.full((len(sale.actions), 2), 7)
    mark = judge(sale, Plan(chosen, units, p10=np.zeros(units.shape), p90=np.full(units.shape, 1e9)), arrivals)
    demand = arrivals.demand(sale.means(chosen))
    profit = []
    for k in range(3):
        money = 0.0
        for s, r in itertools.product(range(len(chosen)), range(2)):
            sold = min(7, demand[s, r, k])
            money += sold * chosen[s][0] + (7 - sold) * sale.salvage[s] - 7 * (sale.cost[s] + sale.shipping[r])
        profit.append(money / 100)
    assert mark["profit"] == pytest.approx(np.mean(profit))
    assert mark["covered"] == 1.0
    assert mark["served"] + mark["lost"] == pytest.approx(mark["demanded"])
    assert mark["served"] + mark["leftover"] == pytest.approx(7 * units.size)


def test_shuffled_texts_stay_in_their_sale_and_leave_all_else() -> None:
    rows = [("request", "q", sku, region, float(k), 5.0) for k, sku in enumerate("abcdef") for region in ("x", "y")]
    frame = pd.DataFrame(rows, columns=["row_kind", "campaign_id", "sku_id", "region_id", "text_count_7d", "views_7d"])
    dealt = shuffle_text(frame.assign(post_count=frame.text_count_7d), 1)
    assert (dealt.pop("post_count") == dealt.text_count_7d).all()
    by_sku = dealt.groupby("sku_id").text_count_7d.agg(["min", "max"])
    assert (by_sku["min"] == by_sku["max"]).all()
    assert sorted(by_sku["min"]) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert list(by_sku["min"]) != sorted(by_sku["min"])
    pd.testing.assert_frame_equal(dealt.drop(columns="text_count_7d"), frame.drop(columns="text_count_7d"))


def _result(seed: int, gain: float) -> dict[str, Any]:
    mark = {"profit": 50.0, "fill": 0.5, "lost": 1.0, "leftover": 1.0, "smallest_fill": 0.4, "violations": 0.0}
    marks = {name: {**mark, "covered": float("nan")} for name in PLANNERS}
    marks["clairvoyant"]["profit"] = 100.0
    marks["with_text"]["profit"] = 50.0 + gain
    marks["with_text"]["covered"] = 0.8
    return {"seed": seed, "marks": marks, "corrected": {"cells": 2, "truth": 10.0, "error": 1.0, "absolute": 2.0}}


def test_the_summary_pairs_by_seed() -> None:
    results = [_result(k, 10.0 + k) for k in range(9)]
    results[3]["marks"]["last_sale"]["violations"] = 1.0
    results[4]["marks"]["last_sale"]["fill"] = 0.95
    summary = summarise(results, {"regime": "usual"})
    assert summary["planners"]["with_text"]["of_clairvoyant"]["value"] == pytest.approx(0.64)
    assert summary["planners"]["with_text"]["covered"] == {"value": 0.8, "low": 0.8, "high": 0.8}
    assert summary["planners"]["last_sale"]["covered"] is None
    fill = summary["planners"]["last_sale"]["fill"]
    assert fill["value"] == pytest.approx(0.55) and fill["low"] == pytest.approx(0.5) and fill["high"] > 0.6
    assert summary["planners"]["last_sale"]["violations"] == 1, "one in nine shops is seen"
    assert summary["planners"]["newsvendor"]["violations"] == 0
    assert "0.55 (0.50–0.65) | 1 (1–1) | 1 (1–1) | 0.40 (0.40–0.40) | 1 |  |" in table(summary)
    assert summary["planners"]["last_sale"]["of_clairvoyant"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    worth = summary["text_value"]
    assert worth["value"] == pytest.approx(0.14) and 0.11 < worth["low"] < 0.14 < worth["high"] < 0.17
    assert summary["shuffled_value"]["value"] == 0.0
    assert summary["corrected"] == {"cells": 18, "wape": 0.2, "bias": 0.1}


def test_the_exam_needs_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    args = parser().parse_args(["exam", "--seeds", "30"])
    assert args.out == Path("exam") and args.seeds == 30
    with pytest.raises(SystemExit):
        parser().parse_args(["exam", "--help"])
    assert "(by default exam)" in " ".join(capsys.readouterr().out.split())


def test_every_mark_is_drawn_with_the_same_shops() -> None:
    results = [_result(k, 0.0) for k in range(12)]
    for k, result in enumerate(results):
        result["marks"]["newsvendor"] |= {"fill": k / 20, "smallest_fill": k / 20, "leftover": 3.0 * k, "lost": 7.0 * k}
        result["marks"]["proportional"] |= {"fill": k / 20}
    planners = summarise(results, {"regime": "usual"})["planners"]
    own = planners["newsvendor"]
    assert own["fill"]["low"] < own["fill"]["value"] < own["fill"]["high"]
    assert own["fill"]["value"] == pytest.approx(0.275)
    assert own["smallest_fill"] == own["fill"] == planners["proportional"]["fill"]
    for end in ("value", "low", "high"):  # a multiple of the same figures, shop by shop, is that multiple at both ends
        assert own["leftover"][end] == pytest.approx(60 * own["fill"][end], abs=0.01)
        assert own["lost"][end] == pytest.approx(140 * own["fill"][end], abs=0.02)


def test_a_small_exam_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = ["--skus", "6", "--regions", "2", "--sales", "10", "--days", "80"]
    assert main(["exam", "--out", str(tmp_path), "--seeds", "1", *size]) == 2
    assert "leaves no interval" in capsys.readouterr().err
    assert main(["exam", "--out", str(tmp_path), "--seeds", "2", *size]) == 0
    shown, last = capsys.readouterr().out.rstrip().rsplit("\n", 1)
    answer = json.loads(last)
    assert "| platform, with text |" in shown
    summary = answer["exam"][0]
    assert answer["simulated"] and summary["seeds"] == [1000, 1001]
    for name in PLANNERS:
        row = summary["planners"][name]
        assert row["violations"] == 0
        assert 0.0 < row["of_clairvoyant"]["value"] <= 1.0
        for mark in COLUMNS:
            found = row[mark]
            assert (found is None) == (mark == "covered" and not name.endswith("text")), (name, mark)
            assert found is None or found["low"] <= found["value"] <= found["high"]
    assert summary["planners"]["true_distribution"]["of_clairvoyant"]["value"] > 0.8
    marks = json.loads((tmp_path / "marks.json").read_text())
    assert all(m["marks"][n]["profit"] <= m["marks"]["clairvoyant"]["profit"] for m in marks for n in PLANNERS)
    assert "| platform, with text |" in (tmp_path / "exam.md").read_text()
    assert (tmp_path / "exam.png").stat().st_size > 10_000
    script = [sys.executable, "benchmarks/decisions.py", "--quick", "--exam", str(tmp_path / "exam.json")]
    subprocess.run(script, cwd=ROOT, check=True, capture_output=True)
    rows = {r["name"]: r for r in json.loads((RESULTS / "quick" / "decisions.json").read_text())}
    worth = rows["plan_vs_last_sale"]
    assert worth["ours"] / worth["peer"] == pytest.approx(worth["ratio"], rel=1e-3)
    assert worth["low"] <= worth["ratio"] <= worth["high"]
