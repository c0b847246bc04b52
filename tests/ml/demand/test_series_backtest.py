"""Backtest of any panel: planted price response is found, intervals cover, nothing later moves a forecast."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flashsale.errors import InputError
from flashsale.settings import settings
from ml.demand.series_backtest import backtest, blocks
from ml.demand.series_features import build_design, trailing_mean
from ml.demand.series_panel import build_panel
from ml.demand.series_report import backtest_file, covered, metrics_of, pinball

HORIZON, HOLDOUT = 4, 12


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small panels: a second thread costs more than it brings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLASHSALE_THREADS", "1")
        settings.cache_clear()
        yield
    settings.cache_clear()


def weekly(seed: int = 0, series: int = 24, weeks: int = 90) -> pd.DataFrame:
    """Weekly sales with elasticity -2.5, deals a quarter of the time, a season, and noise of 25 %."""
    rng = np.random.default_rng(seed)
    parts = []
    for i in range(series):
        deal = rng.random(weeks) < 0.25
        price = 4.0 * (1.0 - np.where(deal, rng.uniform(0.1, 0.4, weeks), 0.0))
        level = 4.5 + 0.5 * rng.standard_normal() + 0.2 * np.sin(2 * np.pi * np.arange(weeks) / 52)
        wanted = np.exp(level - 2.5 * np.log(price / 4.0) + 0.25 * rng.standard_normal(weeks))
        parts.append(
            pd.DataFrame(
                {
                    "series_id": f"s{i:02}",
                    "period_start": pd.date_range("2024-01-01", periods=weeks, freq="7D"),
                    "units": np.round(wanted),
                    "price": price,
                    "promo_type": np.where(deal, "discount", None),
                    "store": i % 4,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def panel() -> pd.DataFrame:
    return weekly()


@pytest.fixture(scope="module")
def forecasts(panel: pd.DataFrame) -> pd.DataFrame:
    return backtest(build_panel(panel), HORIZON, HOLDOUT, seed=1)


def test_beats_the_simple_models_and_keeps_its_word(panel: pd.DataFrame, forecasts: pd.DataFrame) -> None:
    found = metrics_of(forecasts)
    own = {name: found[name]["model"] for name in ("all", "promotion")}
    assert len(forecasts) == panel["series_id"].nunique() * HOLDOUT
    assert own["all"]["wape"] < 0.27  # 25 % of noise leave 0.20
    assert own["all"]["wape"] < min(found["all"][m]["wape"] for m in ("linear", "naive", "seasonal_naive"))
    assert abs(own["all"]["bias"]) < 0.08 and abs(own["promotion"]["bias"]) < 0.10
    assert 0.68 < own["all"]["coverage"] < 0.92 and 0.65 < own["promotion"]["coverage"] < 0.95
    assert (forecasts["p10"] <= forecasts["p50"]).all() and (forecasts["p50"] <= forecasts["p90"]).all()
    assert np.isfinite(forecasts[["mean", "p10", "p50", "p90"]]).all().all()


def test_no_later_record_moves_a_forecast(panel: pd.DataFrame, forecasts: pd.DataFrame) -> None:
    """Sales later than `horizon` before a period, and plans later than the period, are changed: nothing moves."""
    cut = forecasts["period_start"].iloc[0]
    later = panel.copy()
    late = later["period_start"] > cut - pd.Timedelta(days=7 * HORIZON)
    later.loc[late, "units"] = later.loc[late, "units"] * 7 + 50
    after = later["period_start"] > cut
    later.loc[after, "price"] = 1.0
    later.loc[after, "promo_type"] = "bundle"
    moved = backtest(build_panel(later), HORIZON, HOLDOUT, seed=1)
    columns = ["mean", "p10", "p50", "p90", "naive", "seasonal_naive", "linear"]
    first = forecasts["period_start"] == cut
    pd.testing.assert_frame_equal(forecasts.loc[first, columns], moved.loc[first, columns])


def test_no_later_record_moves_a_feature(panel: pd.DataFrame) -> None:
    whole, cut = build_panel(panel), 60
    changed = build_panel(panel)
    changed.units[:, cut - HORIZON + 1 :] *= 3.0
    changed.price[:, cut + 1 :] *= 0.5
    changed.promo[:, cut + 1 :] = 1
    before, after = (build_design(p, HORIZON) for p in (whole, changed))
    for name, values in before.columns.items():
        np.testing.assert_array_equal(values[:, : cut + 1], after.columns[name][:, : cut + 1], err_msg=name)
    np.testing.assert_array_equal(before.base[:, : cut + 1], after.base[:, : cut + 1])


def test_trailing_mean_skips_what_is_unknown() -> None:
    values = np.array([[1.0, np.nan, 3.0, 5.0]])
    np.testing.assert_allclose(trailing_mean(values, 2), [[1.0, 1.0, 3.0, 4.0]])


def test_files_hold_what_was_asked_and_repeat_to_the_byte(panel: pd.DataFrame, tmp_path: Path) -> None:
    small = panel[panel["series_id"] < "s06"].drop(columns="store")
    small.to_parquet(tmp_path / "panel.parquet")
    answers = [backtest_file(tmp_path / "panel.parquet", tmp_path / d, HORIZON, HOLDOUT) for d in ("a", "b")]
    for name in ("forecasts.parquet", "metrics.json", "backtest.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    found = json.loads((tmp_path / "a" / "metrics.json").read_text())
    assert found["all"]["rows"] == answers[0]["rows"] == 6 * HOLDOUT
    table = pd.read_parquet(tmp_path / "a" / "forecasts.parquet")
    own = found["all"]["model"]
    assert own["wape"] == pytest.approx((table.p50 - table.units).abs().sum() / table.units.sum(), abs=1e-6)


def test_daily_panel_with_gaps_and_without_promotions() -> None:
    rng = np.random.default_rng(2)
    days = pd.date_range("2026-01-01", periods=120, freq="D")
    rows = [
        pd.DataFrame(
            {"series_id": n, "period_start": days, "units": rng.poisson(5 + 4 * (days.dayofweek > 4)), "price": 2}
        )
        for n in "abcdefgh"
    ]
    frame = pd.concat(rows, ignore_index=True).sample(frac=0.9, random_state=0)
    found = metrics_of(backtest(build_panel(frame), 7, 28, seed=1))
    assert "promotion" not in found
    assert found["all"]["model"]["wape"] < found["all"]["naive"]["wape"]


def test_bounds_of_counts_are_whole_and_those_of_scaled_units_are_not() -> None:
    frame = pd.DataFrame({"units": [1.0, 3.0], "p10": [1.2, 1.0], "p90": [2.0, 2.6]})
    assert covered(frame).tolist() == [True, True]
    assert covered(frame / 10.0).tolist() == [False, False]


def test_pinball_is_the_quantile_loss() -> None:
    assert pinball(np.array([10.0, 0.0]), np.array([4.0, 4.0]), 0.9) == pytest.approx((0.9 * 6 + 0.1 * 4) / 2)


@pytest.mark.parametrize(("field", "value"), [("units", -1), ("price", 0), ("period_start", "first")])
def test_a_bad_value_is_named_with_its_row(panel: pd.DataFrame, field: str, value: object) -> None:
    bad = panel.copy()
    bad.loc[3, field] = bad.loc[2, "period_start"] if value == "first" else value
    with pytest.raises(InputError) as error:
        build_panel(bad)
    assert (error.value.field, error.value.row) == (field, 3)


def test_too_short_a_panel_is_refused() -> None:
    with pytest.raises(InputError, match="too few"):
        blocks(20, 4, 12)
    parts, begins = blocks(90, HORIZON, HOLDOUT)
    assert begins == 78 and parts[-1][1] == 90 and all(a < b for a, b in parts)
