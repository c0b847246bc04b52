"""The hourly panel form of the stock-out correction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flashsale.errors import InputError
from ml.demand.panel import unconstrain_file, unconstrain_panel


def _panel(seed: int = 0) -> tuple[pd.DataFrame, pd.Series]:
    """60 series-days of Poisson sales by hour; on half of them stock ends at noon, whatever was sold."""
    rng = np.random.default_rng(seed)
    rows = []
    for series in range(6):
        for day in range(40):
            end = 12 if (series + day) % 2 else 24
            units = rng.poisson(2.0, 24) * 0.5  # scaled: not whole
            rows.append(
                pd.DataFrame(
                    {
                        "series_id": f"s{series}",
                        "hour_start": pd.Timestamp("2026-01-01", tz="UTC")
                        + pd.to_timedelta(day * 24 + np.arange(24), unit="h"),
                        "full": units,
                        "units": np.where(np.arange(24) < end, units, 0.0),
                        "in_stock": np.arange(24) < end,
                    }
                )
            )
    panel = pd.concat(rows, ignore_index=True)
    truth = panel.groupby(["series_id", panel.hour_start.dt.date]).full.sum()
    return panel.drop(columns="full"), truth


def test_scaled_panel_is_recovered(tmp_path: Path) -> None:
    panel, truth = _panel()
    panel.to_parquet(tmp_path / "in.parquet")
    answer = unconstrain_file(tmp_path / "in.parquet", tmp_path / "out.parquet")
    result = pd.read_parquet(tmp_path / "out.parquet")
    assert answer["rows"] == len(result) == len(truth) == 240
    assert result.units.sum() < 0.8 * truth.sum()
    assert result.demand.sum() == pytest.approx(truth.sum(), rel=0.03)
    assert list(result.columns) == ["series_id", "date", "units", "demand", "demand_p10", "demand_p90", "method"]


def test_missing_column_is_named() -> None:
    with pytest.raises(InputError, match="in_stock"):
        unconstrain_panel(_panel()[0].drop(columns="in_stock"))


def _sales(seed: int, series: int = 300, hours: int = 18) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Short flash sales of Poisson demand, a day a series; stock from a rough forecast ends many of them early."""
    rng = np.random.default_rng(seed)
    curve = np.exp(-np.arange(hours) / 5.0) + 0.1
    curve = curve / curve.sum()
    rows, truth = [], []
    for i in range(series):
        mean = 25.0 * np.exp(0.7 * rng.standard_normal())
        stock = max(2, round(0.8 * mean * np.exp(0.4 * rng.standard_normal())))
        arrivals = rng.choice(hours, rng.poisson(mean), p=curve)
        times = np.sort(arrivals + rng.random(len(arrivals)))
        end = times[stock - 1] if len(times) >= stock else float(hours)
        start = pd.Timestamp("2026-05-01", tz="UTC") + pd.Timedelta(days=i % 50, hours=int(rng.choice([0, 4])))
        rows.append(
            pd.DataFrame(
                {
                    "series_id": f"s{i:03}",
                    "class_id": f"c{i % 3}",
                    "hour_start": start + pd.to_timedelta(np.arange(hours), unit="h"),
                    "units": np.bincount(times[:stock].astype(int), minlength=hours),
                    "in_stock": np.clip(end - np.arange(hours), 0.0, 1.0),
                }
            )
        )
        truth.append((f"s{i:03}", len(times), len(times) >= stock))
    return pd.concat(rows, ignore_index=True), pd.DataFrame(truth, columns=["series_id", "wanted", "censored"])


def test_short_sales_are_recovered_and_uncensored_ones_untouched() -> None:
    panel, truth = _sales(1)
    result = unconstrain_panel(panel).merge(truth, on="series_id")
    hidden, kept = result[result.censored], result[~result.censored]
    assert len(hidden) > 150
    assert (hidden.demand - hidden.wanted).abs().sum() / hidden.wanted.sum() < 0.25
    assert hidden.demand.sum() == pytest.approx(hidden.wanted.sum(), rel=0.05)
    inside = (hidden.wanted >= np.floor(hidden.demand_p10)) & (hidden.wanted <= np.ceil(hidden.demand_p90))
    assert 0.7 < inside.mean() < 0.93
    assert (kept.demand == kept.units).all() and (kept.demand_p90 == kept.units).all()
    assert set(kept.method) == {"observed"}


def test_a_flag_by_the_hour_does_as_well_as_a_share() -> None:
    panel, truth = _sales(2)
    flagged = panel.assign(in_stock=panel["in_stock"] >= 1.0)
    result = unconstrain_panel(flagged).merge(truth[truth.censored], on="series_id")
    assert result.demand.sum() == pytest.approx(result.wanted.sum(), rel=0.06)


def test_a_gap_in_the_middle_of_the_day_is_filled() -> None:
    """Stock missing from 9 to 15 and back afterwards: the hole alone is filled."""
    rng = np.random.default_rng(3)
    hour = np.arange(24)
    full = rng.poisson(2.0, (120, 24))
    gap = (np.arange(120) % 2 == 1)[:, None] & (hour >= 9) & (hour < 15)
    day = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(np.arange(120 * 24), unit="h")
    panel = pd.DataFrame(
        {"series_id": "a", "hour_start": day, "units": np.where(gap, 0, full).ravel(), "in_stock": ~gap.ravel()}
    )
    result = unconstrain_panel(panel)
    holed = result.iloc[1::2]
    assert (result.iloc[::2].demand == result.iloc[::2].units).all()
    assert holed.demand.sum() == pytest.approx(full[1::2].sum(), rel=0.06)
    assert set(holed.method) <= {"curve", "level"}


def test_a_day_without_any_stock_takes_the_level_of_other_days() -> None:
    hours = pd.date_range("2026-03-02", periods=24 * 21, freq="h", tz="UTC")
    out = hours.normalize() == pd.Timestamp("2026-03-12", tz="UTC")
    panel = pd.DataFrame({"series_id": "a", "hour_start": hours, "units": np.where(out, 0, 3), "in_stock": ~out})
    result = unconstrain_panel(panel).set_index("date")
    row = result.loc[pd.Timestamp("2026-03-12").date()]
    assert row.method == "level"
    assert row.demand == pytest.approx(72.0, rel=0.05)


def test_nothing_is_invented_where_nothing_was_seen() -> None:
    hours = pd.date_range("2026-03-02", periods=6, freq="h", tz="UTC")
    rows = [
        pd.DataFrame({"series_id": name, "hour_start": hours, "units": units, "in_stock": stock})
        for name, units, stock in (("gone", 0, 0.0), ("kept", 4, 1.0), ("also", 5, 1.0))
    ]
    result = unconstrain_panel(pd.concat(rows, ignore_index=True)).set_index("series_id")
    assert result.loc["gone", "method"] == "nothing_learnt"
    assert result.loc["gone", "demand"] == result.loc["gone", "demand_p90"] == 0.0
    assert result.loc["kept", "demand"] == 24


def test_order_of_rows_and_repetition_change_nothing() -> None:
    panel, _ = _sales(4, series=80)
    shuffled = panel.sample(frac=1.0, random_state=0)
    pd.testing.assert_frame_equal(unconstrain_panel(panel), unconstrain_panel(panel))
    pd.testing.assert_frame_equal(unconstrain_panel(panel), unconstrain_panel(shuffled))


@pytest.mark.parametrize(
    ("field", "value"), [("units", -1.0), ("units", float("nan")), ("in_stock", 1.5), ("hour_start", "first")]
)
def test_a_bad_value_is_named_with_its_row(field: str, value: object) -> None:
    panel = _panel()[0].astype({"in_stock": float})
    panel.loc[7, field] = panel.loc[6, "hour_start"] if value == "first" else value
    with pytest.raises(InputError) as error:
        unconstrain_panel(panel)
    assert (error.value.field, error.value.row) == (field, 7)


def _hours(series: str, start: str, units: list[float], stock: list[float]) -> pd.DataFrame:
    moments = pd.Timestamp(start, tz="UTC") + pd.to_timedelta(np.arange(len(units)), unit="h")
    return pd.DataFrame({"series_id": series, "hour_start": moments, "units": units, "in_stock": stock})


def test_a_part_of_a_day_is_a_part_of_a_day() -> None:
    """The panel ends at four in the morning: what was missing in three night hours is no whole day's demand."""
    rng = np.random.default_rng(3)
    curve = np.array([0.2] * 8 + [2.4] * 16)
    frames = [
        _hours(f"s{k}", "2026-03-01", list(rng.poisson(np.tile(curve, 30)) * 1.0), [1.0] * 720) for k in range(20)
    ]
    tail = [_hours(f"s{k}", "2026-03-31", [0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]) for k in range(20)]
    found = unconstrain_panel(pd.concat(frames + tail, ignore_index=True))
    last = found[found["date"] == found["date"].max()]
    lost = (last["demand"] - last["units"]).to_numpy()
    assert len(last) == 20 and (lost > 0).all() and lost.max() < 2.0, "0.6 units were to be had in three such hours"


def test_a_day_of_a_long_sale_that_kept_stock_is_observed() -> None:
    rng = np.random.default_rng(4)
    sales = []
    for k in range(60):
        units, ends = rng.poisson(3.0, 48) * 1.0, 30 if k % 2 else 48
        stock = (np.arange(48) < ends) * 1.0
        sales.append(_hours(f"s{k}", "2026-03-01", list(units * stock), list(stock)))
    found = unconstrain_panel(pd.concat(sales, ignore_index=True)).set_index(["series_id", "date"])
    first, second = (found.xs(day, level="date")["method"] for day in sorted(found.index.unique("date")))
    assert (first == "observed").all() and (second == "curve").sum() == 30 == (second == "observed").sum()


def test_a_panel_of_weights_or_without_a_sale_is_read() -> None:
    rng = np.random.default_rng(5)
    frames = []
    for k in range(8):
        stock = np.tile((np.arange(24) < (14 if k % 2 else 24)) * 1.0, 30)
        frames.append(_hours(f"s{k}", "2026-03-01", list(rng.gamma(2.0, 0.7, 720) * stock), list(stock)))
    panel = pd.concat(frames, ignore_index=True)
    found = unconstrain_panel(panel)
    assert np.isfinite(found[["demand", "demand_p10", "demand_p90"]]).all(axis=None)
    nothing = unconstrain_panel(panel.assign(units=0.0, class_id=None))
    assert (nothing[["units", "demand_p10"]] == 0).all(axis=None) and np.isfinite(nothing["demand_p90"]).all()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("units", "x", "field 'units', row 1: is missing, negative or no number"),
        ("in_stock", "yes", "field 'in_stock', row 1"),
        ("hour_start", "05.01.2024 00:00", "field 'hour_start', row 1: is missing or no moment"),
        ("hour_start", "2204-01-01T00:00:00Z", "row 1: lies more than 20 years from the others"),
        ("hour_start", "2026-01-01T00:30:00Z", "row 1: lies in an hour that stands there already"),
    ],
)
def test_faulty_rows_are_named(name: str, value: str, words: str) -> None:
    panel = _panel()[0].astype({"hour_start": str, "units": object, "in_stock": object})
    panel.loc[1, name] = value
    with pytest.raises(InputError, match=words):
        unconstrain_panel(panel)
    with pytest.raises(InputError, match="row 0: is missing or no moment"):
        unconstrain_panel(_panel()[0].assign(hour_start=1_767_225_600))


def test_a_result_is_written_as_its_ending_says(tmp_path: Path) -> None:
    panel, _ = _panel()
    panel.assign(series_id=panel["series_id"].str.replace("s", "000")).to_csv(tmp_path / "in.CSV", index=False)
    for name in ("out.csv", "out.jsonl", "out.parquet"):
        assert unconstrain_file(tmp_path / "in.CSV", tmp_path / name)["rows"] == 240
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "out.csv", dtype={"series_id": str}),
        pd.read_parquet(tmp_path / "out.parquet").astype({"date": str}),
    )
    assert pd.read_csv(tmp_path / "out.csv", dtype={"series_id": str})["series_id"].iloc[0] == "0000"
    with pytest.raises(InputError, match="it is a folder"):
        unconstrain_file(tmp_path / "in.CSV", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.CSV", "out.csv", "out.jsonl", "out.parquet"]
