"""Backtest of any panel: planted price response is found, intervals cover, nothing later moves a forecast."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flashsale.errors import InputError
from flashsale.settings import settings
from ml.demand import series_model
from ml.demand.series_backtest import backtest, blocks
from ml.demand.series_features import build_design, trailing_mean
from ml.demand.series_model import calibrate
from ml.demand.series_panel import NO_PROMO, build_panel
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


@pytest.mark.parametrize("value", ["soon", None])
def test_a_period_that_is_no_date_is_named_with_its_row(panel: pd.DataFrame, value: object) -> None:
    bad = panel.astype({"period_start": object})
    bad.loc[5, "period_start"] = value
    with pytest.raises(InputError, match="no date") as error:
        build_panel(bad)
    assert (error.value.field, error.value.row) == ("period_start", 5)


def test_numbers_of_weeks_are_no_dates(panel: pd.DataFrame) -> None:
    numbered = panel.assign(period_start=panel.groupby("series_id").cumcount())
    with pytest.raises(InputError, match="numbers, not dates"):
        build_panel(numbered)


def test_what_stands_for_no_promotion_is_none(panel: pd.DataFrame) -> None:
    spelt = panel.head(8).assign(promo_type=["", "0", "None", " none", "False", None, "no", "feature"])
    found = build_panel(spelt)
    assert found.promo_names == [NO_PROMO, "feature"]
    assert found.promo.ravel().tolist() == [0] * 7 + [1]


def test_periods_that_nobody_recorded_keep_their_place(panel: pd.DataFrame) -> None:
    """A week that is missing in all series is a gap, so the season and the horizon count it."""
    lost = sorted(panel["period_start"].unique())[40]
    found, whole = build_panel(panel[panel["period_start"] != lost]), build_panel(panel)
    assert found.periods.equals(whole.periods)
    assert not found.there[:, 40].any() and found.there[:, 39].all()


def test_days_are_the_shops_own(panel: pd.DataFrame) -> None:
    """A zoned midnight, across summer time, stays that day; series keep their kind and order of numbers."""
    local = panel.assign(period_start=panel["period_start"].dt.tz_localize("Europe/Berlin"))
    numbered = local.assign(
        series_id=panel["series_id"].str[1:].astype(int) + 95, promo_type=panel["promo_type"].astype("category")
    )
    found, whole = build_panel(numbered), build_panel(panel)
    assert found.periods.equals(whole.periods) and found.weekly and np.array_equal(found.units, whole.units)
    assert found.series.tolist() == list(range(95, 119)) and found.promo_names == whole.promo_names


def test_other_periods_are_refused(panel: pd.DataFrame) -> None:
    late = panel["series_id"] >= "s20"
    moved = panel.assign(period_start=panel["period_start"] + pd.to_timedelta(np.where(late, 6, 0), unit="D"))
    with pytest.raises(InputError, match="field 'period_start', row 1800: begins a week on another day"):
        build_panel(moved)
    hours = panel.assign(
        period_start=pd.Timestamp("2024-01-01") + pd.to_timedelta(panel.groupby("series_id").cumcount(), unit="h")
    )
    with pytest.raises(InputError, match="field 'period_start', row 1: lies less than a day after another"):
        build_panel(hours)


def test_columns_with_gaps_and_decimals_are_numbers(panel: pd.DataFrame) -> None:
    rows = panel.head(90)
    holiday = [None, True, False] * 30
    given = rows.assign(holiday=pd.Series(holiday, dtype=object), fee=[Decimal("1.5")] * 90, note="x", list_price=4.0)
    found = build_panel(given)
    assert sorted(found.extra) == ["fee", "holiday", "store"]
    assert found.extra["holiday"][0, :3].tolist()[1:] == [1.0, 0.0] and np.isnan(found.extra["holiday"][0, 0])
    with pytest.raises(InputError, match="field 'list_price', row 7: is not above zero or no number"):
        build_panel(
            given.astype({"list_price": object}).assign(list_price=lambda f: f["list_price"].where(f.index != 7, "abc"))
        )


def test_a_panel_without_a_sale_or_after_a_long_rest_is_forecast(panel: pd.DataFrame, tmp_path: Path) -> None:
    few = panel[panel["series_id"] < "s04"]
    none = build_panel(few.assign(units=0))
    found = backtest(none, HORIZON, HOLDOUT, seed=1)
    assert (found[["mean", "p10", "p50"]] < 0.5).all(axis=None) and np.isfinite(found["p90"]).all()
    assert metrics_of(found)["all"]["model"]["wape"] is None, "of no sale no error is a share"
    weeks = sorted(few["period_start"].unique())
    rested = few[few["period_start"].isin(weeks[:60] + weeks[-12:])]
    assert np.isfinite(backtest(build_panel(rested), HORIZON, HOLDOUT, seed=1)[["p10", "p90"]]).all(axis=None)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="it is a file"):
        backtest_file(tmp_path / "panel.parquet", tmp_path / "file", HORIZON, HOLDOUT)


def test_a_refused_panel_leaves_no_folder_behind(panel: pd.DataFrame, tmp_path: Path) -> None:
    source, out = tmp_path / "panel.parquet", tmp_path / "new" / "out"
    with pytest.raises(InputError, match="no such file"):
        backtest_file(source, out, HORIZON, HOLDOUT)
    for bad, horizon in ((panel.assign(units=-1.0), HORIZON), (panel, 0)):
        bad.to_parquet(source)
        with pytest.raises(InputError):
            backtest_file(source, out, horizon, HOLDOUT)
    source.with_name("note").write_text("x")
    with pytest.raises(InputError, match="note is no folder"):  # said before the panel is read
        backtest_file(tmp_path / "none.csv", tmp_path / "note" / "out", HORIZON, HOLDOUT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["note", "panel.parquet"]


def test_months_stay_as_they_are() -> None:
    months = pd.date_range("2024-01-01", periods=30, freq="MS")
    frame = pd.DataFrame({"series_id": "a", "period_start": months, "units": 1.0, "price": 1.0})
    assert build_panel(frame).periods.equals(months)


def test_bounds_of_counts_cover_their_share_when_rounded() -> None:
    """Few units: forecasts of nothing but the level, whose plain conformal bounds would cover far more."""
    rng = np.random.default_rng(3)
    n, level = 6000, 6.0
    base, promo, block = np.full(n, level), np.zeros(n, dtype=bool), np.arange(n) // 600
    raw = pd.DataFrame(dict.fromkeys(("q10", "q50", "q90", "tweedie"), base))
    units = rng.poisson(level, n).astype(float)
    late = rng.poisson(level, n).astype(float)
    whole = calibrate(raw, units, base, promo, block, whole=True).apply(raw, base, promo)
    below, above = (late < whole["p10"]).mean(), (late > whole["p90"]).mean()
    assert (whole["p10"] == 3.0).all() and (whole["p90"] == 9.0).all()  # the Poisson law's own tenths
    assert below < 0.1 and above < 0.1


def test_blocks_that_differ_widen_the_bounds() -> None:
    """Errors that a block has in common: with as many rows in few blocks, the next one is missed more."""
    rng = np.random.default_rng(4)
    missed = {}
    for kept in (series_model.LEVELS, series_model.LEVELS[:1]):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(series_model, "LEVELS", kept)
            misses = []
            for _ in range(60):
                block = np.repeat(np.arange(9), 200)
                gap = 0.5 * rng.standard_normal(9)[block] + rng.standard_normal(len(block))
                shift = series_model._shift(gap[block < 8], block[block < 8])
                misses.append((gap[block == 8] < shift).mean())
            missed[len(kept)] = float(np.mean(misses))
    assert missed[6] < missed[1]
    assert missed[6] < 0.115


def odd(kind: str) -> pd.DataFrame:
    """A panel as shops have them, of one oddity."""
    frame = weekly(seed=5, series=10, weeks=60)
    rng = np.random.default_rng(6)
    if kind == "fractions":
        frame["units"] = frame["units"] / 7.3
    elif kind == "zeros":
        frame["units"] = np.where(rng.random(len(frame)) < 0.7, 0.0, frame["units"])
    elif kind == "a series of nothing":
        frame.loc[frame["series_id"] == "s03", "units"] = 0.0
    elif kind == "one price":
        frame = frame.assign(price=2.0).drop(columns="promo_type")
    elif kind == "many promotions":
        frame["promo_type"] = [f"deal {k}" for k in rng.integers(0, 300, len(frame))]
    elif kind == "late and short series":
        week = frame.groupby("series_id").cumcount()
        frame = frame[(frame["series_id"] < "s04") | (week >= 50) | ((frame["series_id"] > "s07") & (week < 20))]
    elif kind == "gaps":
        frame = frame.sample(frac=0.5, random_state=1)
    elif kind == "one series":
        frame = frame[frame["series_id"] == "s00"]
    elif kind == "empty columns":
        frame = frame.assign(list_price=np.nan, shelf=np.nan, display=np.where(rng.random(len(frame)) < 0.5, np.inf, 1))
    return frame


@pytest.mark.parametrize(
    "kind",
    [
        "fractions", "zeros", "a series of nothing", "one price", "many promotions", "late and short series", "gaps",
        "one series", "empty columns",
    ],
)  # fmt: skip
def test_odd_panels_are_forecast_for_every_record(kind: str) -> None:
    frame = odd(kind)
    found = backtest(build_panel(frame), 2, 8, seed=1)
    late = frame[frame["period_start"] >= pd.Timestamp("2024-01-01") + pd.Timedelta(weeks=52)]
    assert len(found) == len(late)
    numbers = found[["mean", "p10", "p50", "p90", "linear", "naive", "seasonal_naive"]].to_numpy()
    assert np.isfinite(numbers).all() and (numbers >= 0).all()
    assert (found["p10"] <= found["p50"]).all() and (found["p50"] <= found["p90"]).all()
    own = metrics_of(found)["all"]
    simple = ("naive",) if kind == "one series" else ("naive", "linear")  # 50 rows are too few for trees
    assert own["model"]["wape"] <= 1.1 * min(own[name]["wape"] for name in simple)


def test_a_large_panel_is_sampled_and_forecast_as_well(
    panel: pd.DataFrame, forecasts: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series_model, "MOST_ROWS", 900)
    sampled = backtest(build_panel(panel), HORIZON, HOLDOUT, seed=1)
    assert not sampled["p50"].equals(forecasts["p50"])
    whole, part = (metrics_of(f)["all"]["model"]["wape"] for f in (forecasts, sampled))
    assert part < 1.15 * whole


@pytest.mark.parametrize(("horizon", "holdout", "field"), [(0, 12, "horizon"), (4, 0, "holdout"), (4, -3, "holdout")])
def test_a_horizon_or_holdout_of_nothing_is_refused(horizon: int, holdout: int, field: str) -> None:
    with pytest.raises(InputError, match="at least 1 period") as error:
        blocks(90, horizon, holdout)
    assert error.value.field == field


@pytest.mark.parametrize(("periods", "holdout"), [(20, 12), (20, 500)])
def test_too_short_a_panel_is_refused(periods: int, holdout: int) -> None:
    with pytest.raises(InputError, match=f"give at least {holdout + 16} periods"):
        blocks(periods, 4, holdout)


def test_parts_cover_the_hold_out() -> None:
    parts, begins = blocks(90, HORIZON, HOLDOUT)
    assert begins == 78 and parts[-1][1] == 90 and all(a < b for a, b in parts)
