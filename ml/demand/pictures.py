"""Pictures of the demand model's backtest: does the interval cover, do the quantiles hold, who errs least."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ml.demand.backtest import COVERAGE_BAND, MODELS, Backtest, covered
from ml.demand.heads import KNOWN, NEW, QUANTILES
from ml.demand.series_report import new_figure, save_figure

COVERAGE, CALIBRATION = "coverage.png", "calibration.png"
ASKED = 0.8  # share of rows that p10 to p90 should cover
COLOURS = {"all": "0.4", KNOWN: "C0", NEW: "C1"}
WORDS = {"all": "all", KNOWN: "known in the region", NEW: "new in the region"}


def draw(report: Backtest, folder: Path) -> list[Path]:
    """Write `coverage.png` and `calibration.png` into a folder that exists; nothing where no backtest was made."""
    if report.forecasts.empty:
        return []
    paths = [folder / COVERAGE, folder / CALIBRATION]
    _coverage(report.forecasts, paths[0])
    _calibration(report, paths[1])
    return paths


def coverage_by(forecasts: pd.DataFrame, key: str, model: str = "model") -> pd.DataFrame:
    """Share of rows within p10 and p90 (`share`) and their number (`rows`), by group, `all` one of them, and `key`."""
    own = pd.DataFrame({"key": forecasts[key], "group": forecasts["group"], "inside": covered(forecasts, model)})
    both = pd.concat([own.assign(group="all"), own])
    found = both.groupby(["group", "key"])["inside"].agg(["mean", "size"])
    return found.rename(columns={"mean": "share", "size": "rows"})


def share_at_or_below(forecasts: pd.DataFrame) -> pd.DataFrame:
    """Share of rows whose demand is at or below p10, p50 and p90 (columns), by group (rows); `all` where it is one."""
    wanted = forecasts["demand"].to_numpy(dtype=np.float64)
    names = {"p10": "model_p10", "p50": "model", "p90": "model_p90"}
    below = pd.DataFrame({q: wanted <= forecasts[names[q]].to_numpy(dtype=np.float64) for q in QUANTILES})
    group = forecasts["group"].to_numpy()
    return pd.concat([below.assign(group="all"), below.assign(group=group)]).groupby("group").mean()


def _coverage(forecasts: pd.DataFrame, path: Path) -> None:
    figure, axes = new_figure((12, 4.8), 1, 2)
    _by_sale(axes[0, 0], forecasts)
    _by_origin(axes[0, 1], forecasts)
    figure.suptitle("Share of held-out rows (SKU and region in a sale) whose demand lies within p10 and p90")
    save_figure(figure, path)


def _band(axis: Any) -> None:
    low, high = ASKED - COVERAGE_BAND, ASKED + COVERAGE_BAND
    axis.axhspan(low, high, color="0.9", zorder=0, label=f"accepted, {low:.0%} to {high:.0%}")
    axis.axhline(ASKED, color="k", linewidth=0.8, label=f"asked, {ASKED:.0%}")
    axis.set(ylabel="share covered", ylim=(0, 1.05))


def _legend(axis: Any, drop: float = 0.16) -> None:
    """Below the plot by a share of its height, where it hides no point."""
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -drop), ncols=3, frameon=False, fontsize="small")


def _by_sale(axis: Any, forecasts: pd.DataFrame) -> None:
    """One dot a sale and group, its area by its rows."""
    _band(axis)
    found = coverage_by(forecasts, "sale")
    for name in (KNOWN, NEW):
        if name in found.index:
            own = found.loc[name]
            area = 120.0 * own["rows"] / found["rows"].max() + 8.0
            axis.scatter(own.index + 1, own["share"], s=area, color=COLOURS[name], alpha=0.8, label=WORDS[name])
    axis.set(title="By sale (a dot's area: its rows)", xlabel="sale, in order of time")
    axis.xaxis.get_major_locator().set_params(integer=True)
    _legend(axis)


def _by_origin(axis: Any, forecasts: pd.DataFrame) -> None:
    """Bars by group at each origin, with the number of rows on them."""
    _band(axis)
    found = coverage_by(forecasts, "origin")
    origins = sorted(forecasts["origin"].unique())
    names = [name for name in COLOURS if name in found.index]
    for k, name in enumerate(names):
        own = found.loc[name].reindex(origins)
        places = np.arange(len(origins)) + 0.8 * ((k + 0.5) / len(names) - 0.5)
        axis.bar(places, own["share"].fillna(0.0), 0.8 / len(names), color=COLOURS[name], label=WORDS[name], alpha=0.85)
        for place, rows in zip(places, own["rows"], strict=True):
            if rows > 0:
                axis.text(place, 0.02, f"{rows:.0f}", ha="center", va="bottom", color="w", fontsize="small")
    axis.set_xticks(np.arange(len(origins)), [str(origin) for origin in origins])
    axis.set(title="By origin (in the bars: rows)", xlabel="origin: sales known to the fit")
    _legend(axis)


def _calibration(report: Backtest, path: Path) -> None:
    figure, axes = new_figure((15, 4.8), 1, 3)
    _against(axes[0, 0], report.forecasts)
    _shares(axes[0, 1], report.forecasts)
    _errors(axes[0, 2], report.summary)
    save_figure(figure, path)


def _against(axis: Any, forecasts: pd.DataFrame) -> None:
    guess, wanted = forecasts["model"] + 1.0, forecasts["demand"] + 1.0
    for name in (KNOWN, NEW):
        own = (forecasts["group"] == name).to_numpy()
        if own.any():
            axis.plot(guess[own], wanted[own], ".", markersize=4, alpha=0.5, color=COLOURS[name], label=WORDS[name])
    most = float(max(guess.max(), wanted.max()))
    axis.plot([1, most], [1, most], "k-", linewidth=0.8, label="equal")
    axis.set(title="Median forecast and demand", xscale="log", yscale="log")
    axis.set(xlabel="p50 forecast, units + 1", ylabel="demand without stock-outs, units + 1")
    _legend(axis)


def _shares(axis: Any, forecasts: pd.DataFrame) -> None:
    """Beside the nominal shares; where demand is a few units, several quantiles are one count and lie above theirs."""
    found, asked = share_at_or_below(forecasts), list(QUANTILES.values())
    axis.plot([0, 1], [0, 1], "k-", linewidth=0.8, label="as asked")
    for name in (name for name in COLOURS if name in found.index):
        shares, style = found.loc[name, list(QUANTILES)], "s--" if name == "all" else "o-"
        top = 4 if name == "all" else 3  # it lies on the larger group's line
        axis.plot(asked, shares, style, markersize=5, color=COLOURS[name], label=WORDS[name], zorder=top)
    axis.set_xticks(asked, [f"{name}\n{share:.0%}" for name, share in QUANTILES.items()])
    axis.set(title="Rows at or below each quantile", xlabel="share asked", ylabel="share found", ylim=(0, 1))
    _legend(axis, drop=0.22)


def _errors(axis: Any, summary: pd.DataFrame) -> None:
    found = summary[summary["metric"] == "wape"].set_index("model")["value"]
    names = [name for name in MODELS if name in found.index]
    bars = axis.barh([name.replace("_", " ") for name in names], [found[name] for name in names], color="C0")
    axis.bar_label(bars, fmt="%.3f", padding=3)
    axis.invert_yaxis()
    axis.margins(x=0.15)
    axis.set(title="Absolute error over units wanted (WAPE)", xlabel="WAPE of the point forecast, less is better")
