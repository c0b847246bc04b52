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
