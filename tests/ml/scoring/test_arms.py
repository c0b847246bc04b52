"""Prices by lot: simulated arms whose effect is known, and the lot as the only ground of the interval."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from flashsale.decision_tables import ALLOCATION_RECOMMENDATIONS
from flashsale.lake import Lake
from flashsale.settings import settings
from marketplace.world import Size
from ml.__main__ import main
from ml.scoring.arms import drawn_skus, estimate, readings
from tests.ml.conftest import build_frames, publish_snapshot

GAP = 0.1


def _arms(seed: int, n: int, elasticity: float, chance: np.ndarray | None = None) -> pd.DataFrame:
    """SKUs of very different lift, drawn by lot to the lower price, whose demand answers by an elasticity."""
    rng = np.random.default_rng(seed)
    share = np.full(n, 0.5) if chance is None else chance
    lower = rng.random(n) < share
    mean = 80.0 * np.exp(rng.normal(0, 0.4, n) - elasticity * GAP * lower)
    outcome = np.log((rng.poisson(mean) + 0.5) / 20.0)
    return pd.DataFrame({"lower": lower, "chance": share, "gap": GAP, "outcome": outcome})


def test_the_elasticity_is_recovered_and_its_interval_holds() -> None:
    found = [estimate(_arms(seed, 120, -3.0), 1) for seed in range(40)]
    values = [(a.elasticity, a.elasticity_lower, a.elasticity_upper) for a in found if a is not None]
    assert len(values) == 40
    assert np.mean([v[0] for v in values]) == pytest.approx(-3.0, abs=0.5)
    inside = np.mean([low <= -3.0 <= high for _, low, high in values if low is not None and high is not None])
    assert 0.88 <= inside <= 1.0
    assert np.mean([high - low for _, low, high in values]) < 4.5  # type: ignore[operator]


def test_a_price_without_effect_is_rarely_called_one() -> None:
    p = [a.p for seed in range(120) if (a := estimate(_arms(1000 + seed, 40, 0.0), 1)) is not None]
    assert np.mean(np.array(p) <= 0.05) <= 0.09  # 5 % and two standard errors of 120 draws


def test_unequal_chances_do_not_bias_the_estimate() -> None:
    """The lower price is likelier where the outcome is high: plain means would take that for an effect."""
    rng, effects, naive = np.random.default_rng(5), [], []
    for _ in range(60):
        big = rng.random(100) < 0.5
        chance = np.where(big, 0.8, 0.3)
        lower = rng.random(100) < chance
        outcome = 1.0 * big + 0.2 * lower + rng.normal(0, 0.3, 100)
        answer = estimate(pd.DataFrame({"lower": lower, "chance": chance, "gap": GAP, "outcome": outcome}), 1)
        assert answer is not None
        effects.append(answer.log_ratio)
        naive.append(outcome[lower].mean() - outcome[~lower].mean())
    assert np.mean(effects) == pytest.approx(0.2, abs=0.05)
    assert np.mean(naive) > 0.5


def test_a_handful_of_skus_bounds_nothing() -> None:
    few = pd.DataFrame({"lower": [True, False, True], "chance": 0.5, "gap": GAP, "outcome": [3.0, 0.0, 3.1]})
    answer = estimate(few, 1)
    assert answer is not None
    assert answer.p > 0.3
    assert answer.log_ratio_lower is None and answer.log_ratio_upper is None
    assert estimate(few[few.lower], 1) is None


def _plan(status: str) -> pd.DataFrame:
    start = pd.Timestamp("2026-11-11", tz="UTC")
    rows = [
        ("a", "east", 9.0, "best_price", 0.4, 10.0, 5), ("a", "west", 9.0, "best_price", 0.4, 10.0, 5),
        ("b", "east", 20.0, "neighbour_price", 0.4, 18.0, 5), ("c", "east", 7.0, None, None, None, 5),
        ("d", "east", 7.0, "best_price", 0.5, 8.0, 0),
    ]  # fmt: skip
    names = ["sku_id", "region_id", "offer_price", "experiment_arm", "experiment_propensity", "experiment_other_price",
             "allocate_units"]  # fmt: skip
    return pd.DataFrame(rows, columns=names).assign(plan_id="p1", starts_at=start, status=status)


def test_drawn_skus_are_found_in_their_sale() -> None:
    start = pd.Timestamp("2026-11-11", tz="UTC")
    sold = pd.DataFrame(
        [("a", "east", start, 30.0, 3.5), ("a", "west", start, 9.5, 6.0), ("b", "east", start, 4.5, 4.5),
         ("a", "east", start - pd.Timedelta(days=9), 99.0, 1.0), ("c", "east", start, 5.0, 5.0)],
        columns=["sku_id", "region_id", "starts_at", "demand", "counterfactual_units"],
    )  # fmt: skip
    found = drawn_skus(_plan("published"), sold)
    assert found.sku_id.tolist() == ["a", "b"]
    assert found.lower.tolist() == [True, False]
    assert found.chance.tolist() == pytest.approx([0.4, 0.6])
    assert found.gap.tolist() == pytest.approx(np.log([10 / 9, 20 / 18]))
    assert found.outcome.tolist() == pytest.approx([np.log(40.0 / 10.0), 0.0])
    assert drawn_skus(_plan("approved"), sold).empty


def test_the_command_says_when_there_is_nothing_yet(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scoring", "arms"]) == 0
    said = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert said["skus"] == 0
    assert "no SKU of a published plan" in said["note"]
    start = pd.Timestamp("2026-11-11", tz="UTC").to_pydatetime()
    row = {"plan_id": "p1", "sku_id": "a", "region_id": "east", "status": "published", "experiment_arm": "best_price",
           "experiment_propensity": 0.5, "experiment_other_price": 9.0, "starts_at": start,
           "allocate_units": 3}  # fmt: skip
    table = pa.Table.from_pylist([row], ALLOCATION_RECOMMENDATIONS)
    Lake(settings().lake_uri).write("decisions/allocation_recommendations", "plan_id=p1", table)
    assert main(["scoring", "arms"]) == 0  # drawn, but nothing has been scored
    assert json.loads(capsys.readouterr().out.strip().splitlines()[-1])["skus"] == 0


def test_the_command_reads_published_plans_and_scored_sales(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Plans that drew the prices of six past sales, SKU by SKU in turn to the lower and the higher price."""
    frames = build_frames(Size(seed=4, skus=10, regions=3, sales=14, days=100))
    publish_snapshot(frames)
    names = sorted(set(frames.performance.campaign_id))[6:12]
    assert main(["scoring", "score", "--campaigns", ",".join(names)]) == 0
    lake, drawn = Lake(settings().lake_uri), 0
    for name in names:
        own = frames.performance[(frames.performance.campaign_id == name) & (frames.performance.allocated_units > 0)]
        skus = {sku: i % 2 for i, sku in enumerate(sorted(set(own.sku_id)))}
        drawn += len(skus)
        rows = [
            {"plan_id": name, "sku_id": c.sku_id, "region_id": c.region_id, "status": "published",
             "experiment_arm": "best_price", "experiment_propensity": 0.5, "starts_at": c.starts_at.to_pydatetime(),
             "experiment_other_price": c.offer_price * (1.1 if skus[c.sku_id] else 0.9), "allocate_units": 3,
             "offer_price": Decimal(str(round(c.offer_price, 2)))}
            for c in own.itertuples()
        ]  # fmt: skip
        table = pa.Table.from_pylist(rows, ALLOCATION_RECOMMENDATIONS)
        lake.write("decisions/allocation_recommendations", f"plan_id={name}", table)
    capsys.readouterr()
    assert main(["scoring", "arms"]) == 0
    answer = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert answer["skus"] == drawn
    assert 0 < answer["at_lower_price"] < drawn
    assert answer["log_ratio_lower"] < answer["log_ratio"] < answer["log_ratio_upper"]
    assert 0.0 < answer["p"] <= 1.0
    stored = lake.read("decisions/price_experiments").to_pylist()
    assert [row["plan_id"] for row in stored] == [*names, None] and stored[-1]["level"] == "all"
    assert sum(row["skus"] for row in stored[:-1]) == drawn == stored[-1]["skus"]
    assert stored[-1]["p"] == answer["p"] and answer["plans"] == len(names)


def test_a_plan_with_one_arm_alone_has_counts_and_no_effect() -> None:
    drawn = _arms(1, 40, -3.0).assign(plan_id="two")
    lonely = drawn.head(3).assign(plan_id="one", lower=True)
    one, two, both = readings(pd.concat([drawn, lonely], ignore_index=True), 1)
    assert one == {"level": "plan", "plan_id": "one", "skus": 3, "at_lower_price": 3}
    answer = estimate(drawn, 1)
    assert answer is not None and two == {"level": "plan", "plan_id": "two", **answer.as_dict()}
    assert (both["level"], both["plan_id"], both["skus"]) == ("all", None, 43) and both["p"] > 0
    assert readings(drawn.head(0), 1) == []
