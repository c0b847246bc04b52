"""What a panel's backtest says: metrics, plots and files."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from flashsale.settings import settings
from ml.demand.files import check_out, read_panel
from ml.demand.series_backtest import MODELS, backtest
from ml.demand.series_panel import KNOWN, Floats, build_panel

FORECASTS, METRICS, PICTURE = "forecasts.parquet", "metrics.json", "backtest.png"
POINT = {"model": "p50"}  # the column judged by absolute error; the mean is judged by its sum


def metrics_of(forecasts: pd.DataFrame) -> dict[str, Any]:
    """Metrics of every model over all periods, those in promotion and the others.

    `wape` is the sum of absolute errors over the sum of units (WMAPE), `bias` the sum of forecasts over that of units,
    less 1 (of the model's mean), `coverage` the share of periods within p10 and p90, `pinball` the mean quantile loss.
    """
    promo = forecasts["promotion"].to_numpy(dtype=bool)
    groups = {"all": np.ones(len(forecasts), dtype=bool), "promotion": promo, "plain": ~promo}
    judged = forecasts.assign(inside=covered(forecasts))  # a part may be of whole units where the panel is not
    return {
        name: {"rows": int(keep.sum()), **{model: _one(judged[keep], model) for model in MODELS}}
        for name, keep in groups.items()
        if keep.any()
    }


def _one(part: pd.DataFrame, model: str) -> dict[str, float | None]:
    units = part["units"].to_numpy(dtype=np.float64)
    total = float(units.sum()) or np.nan  # where nothing was sold no error is a share of it
    point = part[POINT.get(model, model)].to_numpy(dtype=np.float64)
    mean = part["mean" if model == "model" else model].to_numpy(dtype=np.float64)
    found = {"wape": float(np.abs(point - units).sum()) / total, "bias": float(mean.sum()) / total - 1.0}
    if model == "model":
        found |= {
            "wape_of_mean": float(np.abs(mean - units).sum()) / total,
            "bias_of_median": float(point.sum()) / total - 1.0,
            "coverage": float(part["inside"].mean()),
        }
        found |= {
            f"pinball_{name}": pinball(units, part[name].to_numpy(dtype=np.float64), share)
            for name, share in (("p10", 0.1), ("p50", 0.5), ("p90", 0.9))
        }
    return {name: round(value, 6) if np.isfinite(value) else None for name, value in found.items()}


def covered(forecasts: pd.DataFrame) -> pd.Series:
    """Whether each period's units lie within p10 and p90; in a panel of counts the bounds are whole units too."""
    units, low, high = forecasts["units"], forecasts["p10"], forecasts["p90"]
    if (units == units.round()).all():
        low, high = np.floor(low), np.ceil(high)
    return (units >= low) & (units <= high)


def pinball(units: Floats, quantile: Floats, share: float) -> float:
    """Mean quantile loss: share x shortfall, (1 - share) x excess."""
    gap = units - quantile
    return float(np.maximum(share * gap, (share - 1.0) * gap).mean())


def backtest_file(source: Path, out: Path, horizon: int, holdout: int) -> dict[str, Any]:
    """Backtest a panel's file and write `forecasts.parquet`, `metrics.json` and `backtest.png` into `out`.

    Returns the metrics over all periods and in promotions. Each file appears whole or not at all, and no folder where
    the panel is refused.
    """
    check_out(out, folder=True)
    frame = read_panel(source)
    panel = build_panel(frame)
    left = sorted(set(map(str, frame.columns)) - {*KNOWN, *panel.extra})
    if left:
        print(f"columns that hold no numbers are left out: {', '.join(left)}", file=sys.stderr, flush=True)
    forecasts = backtest(panel, horizon, holdout, settings().seed)
    found = {
        "horizon": horizon,
        "holdout": holdout,
        "series": len(panel.series),
        "period": "week" if panel.weekly else "day",
        "first_period": str(forecasts["period_start"].min().date()),
        "last_period": str(forecasts["period_start"].max().date()),
        "further_columns": sorted(panel.extra),
        **metrics_of(forecasts),
    }
    out.mkdir(parents=True, exist_ok=True)
    _put(out / FORECASTS, lambda path: forecasts.to_parquet(path, index=False))
    _put(out / PICTURE, lambda path: picture(forecasts, found, path))
    text = json.dumps(found, indent=1, sort_keys=True) + "\n"
    _put(out / METRICS, lambda path: path.write_text(text, encoding="utf-8"))
    return {"out": str(out), "rows": len(forecasts), **{k: found[k] for k in ("all", "promotion") if k in found}}


def _put(path: Path, write: Any) -> None:
    staged = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(staged)
        os.replace(staged, path)
    finally:
        staged.unlink(missing_ok=True)


def new_figure(inches: tuple[float, float], rows: int, columns: int) -> tuple[Any, Any]:
    """A figure drawn without a display, and its axes, shape (rows, columns)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def save_figure(figure: Any, path: Path) -> None:
    """Write a PNG that holds no version of the software: the same plot is the same bytes."""
    figure.savefig(path, dpi=90, format="png", metadata={"Software": None})


def picture(forecasts: pd.DataFrame, found: dict[str, Any], path: Path) -> None:
    """Four plots in one PNG: units by period, WAPE by model, coverage by size of forecast, forecast against units."""
    figure, axes = new_figure((12, 8), 2, 2)
    _by_period(axes[0, 0], forecasts)
    groups = [name for name in ("all", "promotion", "plain") if name in found]
    for k, model in enumerate(MODELS):
        places = np.arange(len(groups)) + 0.2 * (k - 1.5)
        axes[0, 1].bar(places, [found[g][model]["wape"] or 0.0 for g in groups], 0.2, label=model.replace("_", " "))
    axes[0, 1].set_xticks(np.arange(len(groups)), groups)
    axes[0, 1].set(title="Absolute error over units (WMAPE)")
    axes[0, 1].legend()
    _coverage(axes[1, 0], forecasts)
    _against(axes[1, 1], forecasts)
    save_figure(figure, path)


def _by_period(axis: Any, forecasts: pd.DataFrame) -> None:
    sums = forecasts.groupby("period_start")[["units", "mean", "linear", "seasonal_naive"]].sum()
    for name, style in (("units", "k-"), ("mean", "C0-"), ("linear", "C1--"), ("seasonal_naive", "C2:")):
        axis.plot(sums.index, sums[name], style, label=name.replace("_", " "))
    axis.set(title="Units of all series by period", ylim=(0, None))
    axis.tick_params(axis="x", rotation=30)
    axis.legend()


def _coverage(axis: Any, forecasts: pd.DataFrame) -> None:
    """Share within p10 and p90 by tenth of the forecast's size, apart for promotions."""
    inside = covered(forecasts)
    tenth = pd.qcut(forecasts["p50"].rank(method="first"), min(10, len(forecasts)), labels=False)
    for flag, name in ((False, "plain"), (True, "promotion")):
        own = forecasts["promotion"].to_numpy(dtype=bool) == flag
        if own.any():
            share = inside[own].groupby(tenth[own]).mean()
            axis.plot(share.index + 1, share.to_numpy(), "o-", label=name)
    axis.axhline(0.8, color="k", linewidth=0.8)
    axis.set(title="Share within p10 and p90 (80 % asked)", xlabel="tenth by size of forecast", ylim=(0, 1))
    axis.legend()


def _against(axis: Any, forecasts: pd.DataFrame) -> None:
    promo = forecasts["promotion"].to_numpy(dtype=bool)
    for keep, name in ((~promo, "plain"), (promo, "promotion")):
        axis.plot(forecasts["mean"][keep] + 1, forecasts["units"][keep] + 1, ".", markersize=2, label=name, alpha=0.4)
    most = float(max(forecasts["mean"].max(), forecasts["units"].max())) + 1
    axis.plot([1, most], [1, most], "k-", linewidth=0.8)
    axis.set(title="Mean forecast and units, each + 1", xscale="log", yscale="log", xlabel="forecast", ylabel="units")
    axis.legend()
