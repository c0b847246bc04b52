"""Pictures of the demand model's backtest show the numbers that the metrics hold."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml import registry
from ml.demand import card, cli, pictures
from ml.demand.backtest import MODELS, Backtest, covered, summarise
from ml.demand.heads import KNOWN, NEW

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def report() -> Backtest:
    """SIMULATED: 12 sales of 40 rows at 3 origins, a quarter of them new, exact quantiles for the known ones alone."""
    rng = np.random.default_rng(0)
    sale = np.repeat(np.arange(20, 32), 40)
    fresh = rng.random(len(sale)) < 0.25
    middle = rng.normal(3.0, 0.8, len(sale))
    demand = np.round(np.exp(middle + rng.normal(0, 0.4, len(sale)) * np.where(fresh, 2.0, 1.0)) * 10)
    guess = {name: np.exp(middle) * 10 * (1.0 + 0.2 * k) for k, name in enumerate(MODELS)}
    frame = pd.DataFrame({"demand": demand, "sale": sale, "origin": sale // 4 * 4, **guess})
    frame["group"] = np.where(fresh, NEW, KNOWN)
    for name in MODELS[:2]:
        for quantile, z in (("p10", -1.2816), ("p90", 1.2816)):
            frame[f"{name}_{quantile}"] = np.exp(middle + 0.4 * z) * 10
    return Backtest(frame, summarise(frame))


def test_two_pictures_that_repeat_to_the_byte(report: Backtest, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        assert [path.name for path in pictures.draw(report, tmp_path / name)] == ["coverage.png", "calibration.png"]
    for name in ("coverage.png", "calibration.png"):
        content = (tmp_path / "a" / name).read_bytes()
        assert content.startswith(PNG) and content == (tmp_path / "b" / name).read_bytes()
    assert (tmp_path / "a" / "coverage.png").read_bytes() != (tmp_path / "a" / "calibration.png").read_bytes()


def test_no_backtest_no_picture(tmp_path: Path) -> None:
    assert pictures.draw(Backtest(pd.DataFrame(), pd.DataFrame()), tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_a_shop_without_new_skus_is_drawn(report: Backtest, tmp_path: Path) -> None:
    known = report.forecasts[report.forecasts["group"] == KNOWN]
    assert len(pictures.draw(Backtest(known, summarise(known)), tmp_path)) == 2


def test_coverage_by_group_is_the_share_of_its_rows(report: Backtest) -> None:
    found = pictures.coverage_by(report.forecasts, "origin")
    whole = found.loc["all"]
    total = report.metrics()["coverage_model"]
    assert (whole["share"] * whole["rows"]).sum() / whole["rows"].sum() == pytest.approx(total, abs=1e-6)
    assert list(whole.index) == [20, 24, 28] and (whole["rows"] == 160).all()
    part = report.forecasts[(report.forecasts["origin"] == 24) & (report.forecasts["group"] == NEW)]
    assert found.loc[(NEW, 24), "share"] == pytest.approx(covered(part).mean())
    assert found.loc[NEW, "share"].mean() < 0.7 < found.loc[KNOWN, "share"].min()


def test_shares_at_or_below_are_those_asked_where_the_quantiles_are_right(report: Backtest) -> None:
    found = pictures.share_at_or_below(report.forecasts)
    assert found.loc[KNOWN].tolist() == pytest.approx([0.1, 0.5, 0.9], abs=0.06)
    assert found.loc[NEW, "p10"] > 0.17 and found.loc[NEW, "p90"] < 0.83
    everyone = report.forecasts["demand"] <= report.forecasts["model"]
    assert found.loc["all", "p50"] == pytest.approx(everyone.mean())


def test_a_registered_model_carries_tables_and_pictures(
    report: Backtest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: dict[str, int] = {}

    def register(candidate: Any) -> Any:
        logged.update({path.name: path.stat().st_size for path in candidate.files})
        return SimpleNamespace(as_dict=lambda: {"version": "1"})

    monkeypatch.setattr(registry, "register_candidate", register)
    monkeypatch.setattr(card, "model_card", lambda *_, **__: "# Demand model")
    notes = {"metrics": {}, "gate": {"passed": True, "reasons": []}, "with_text": False, "data_hash": "abc"}
    ridge = SimpleNamespace(encoder=SimpleNamespace(levels={}), penalty=1.0)
    fitted = SimpleNamespace(notes=notes, features=["x"], ridge=ridge, forecast=lambda frame: frame)
    frame = pd.DataFrame({"x": [1.0], "base_units": [1.0], "log_price_ratio": [0.0]})
    assert cli._register(fitted, tmp_path, report, frame, tmp_path) == {"version": "1"}
    assert set(logged) == {"backtest.csv", "backtest_summary.csv", "coverage.png", "calibration.png"}
    assert min(logged.values()) > 100
