"""Pictures of the report as inline SVG; the same data gives the same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ml.report.data import ReportData

INK, SOFT, BLUE, ORANGE, GREEN, RED = "#1f2933", "#9aa5b1", "#2b6cb0", "#dd6b20", "#2f855a", "#c53030"
VERDICT = {"win": GREEN, "loss": RED, "inconclusive": SOFT}
STYLE = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": SOFT,
    "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK, "svg.fonttype": "none",
    "svg.hashsalt": "flashsale", "figure.constrained_layout.use": True, "legend.frameon": False,
}  # fmt: skip


def svg(figure: Figure, words: str) -> str:
    """The figure as an SVG element that a screen reader can name."""
    sink = io.StringIO()
    figure.savefig(sink, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = sink.getvalue()
    element = text[text.index("<svg") :]
    return element.replace("<svg", f'<svg role="img" aria-label="{words}"', 1)


def _figure(height: float, draw: Callable[[Any], None], words: str, width: float = 9.0) -> str:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        draw(figure.subplots())
        return svg(figure, words)


def _sale_ticks(axes: Any, sales: pd.DataFrame) -> None:
    step = max(1, len(sales) // 12)
    axes.set_xticks(range(0, len(sales), step), [f"{d:%m-%d}" for d in sales["starts_at"].iloc[::step]])
    axes.set_xlabel("start of the sale")


def demand_raw_and_corrected(data: ReportData) -> str:
    """Units sold beside demand corrected for stock-outs, with its 80 % interval, sale by sale."""
    sales = data.sales

    def draw(axes: Any) -> None:
        x = np.arange(len(sales))
        axes.bar(x, sales["units"], color=SOFT, width=0.7, label="sold")
        spread = [(sales["demand"] - sales["low"]).clip(lower=0), (sales["high"] - sales["demand"]).clip(lower=0)]
        axes.errorbar(
            x, sales["demand"], yerr=spread, fmt="o", ms=3.5, color=BLUE, lw=1, label="demand, corrected (80 %)"
        )
        axes.set_ylabel("units")
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper left", ncols=2)
        _sale_ticks(axes, sales)

    return _figure(2.9, draw, "Units sold and corrected demand of every past sale")


def lift_with_bounds(data: ReportData) -> str:
    """Incremental units of every sale with bounds: what it sold, and what it could have sold."""
    scores = data.scores.reset_index(drop=True)

    def draw(axes: Any) -> None:
        x = np.arange(len(scores))
        for name, shift, marker, words in (
            ("incremental_sales", -0.15, "o", "sales the sale brought"),
            ("incremental_demand", 0.15, "D", "demand the sale brought"),
        ):
            value = scores[name]
            spread = [(value - scores[f"{name}_lower"]).clip(lower=0), (scores[f"{name}_upper"] - value).clip(lower=0)]
            colors = [VERDICT[v] for v in scores["verdict"]] if name == "incremental_sales" else [BLUE] * len(scores)
            axes.errorbar(x + shift, value, yerr=spread, fmt="none", ecolor=SOFT, lw=0.8)
            axes.scatter(x + shift, value, c=colors, s=16, marker=marker, zorder=3, label=words)
        axes.axhline(0, color=INK, lw=0.8)
        for name, color in VERDICT.items():
            axes.scatter([], [], c=color, s=16, label=f"verdict {name}")
        axes.set_ylabel("units")
        axes.legend(loc="upper left", ncols=3, fontsize=8)
        _sale_ticks(axes, scores)

    return _figure(3.1, draw, "Lift of every past sale with bounds")


def allocation_by_region(data: ReportData) -> str:
    """Units of the plan by SKU, a bar a region, with the space of each region."""
    table = data.plan.pivot_table(index="region_id", columns="sku_id", values="allocate_units", aggfunc="sum").fillna(0)
    space = data.regions.set_index("region_id")["capacity_units"].reindex(table.index)
    palette = mpl.colormaps["tab20"]

    def draw(axes: Any) -> None:
        left = np.zeros(len(table))
        y = np.arange(len(table))
        for i, sku in enumerate(table.columns):
            axes.barh(y, table[sku], left=left, color=palette(i % 20), height=0.6, label=sku)
            left += table[sku].to_numpy()
        axes.scatter(space, y, marker="|", s=260, color=RED, label="space", zorder=3)
        axes.set_yticks(y, table.index)
        axes.invert_yaxis()
        axes.set_xlabel("units")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7, ncols=1 + len(table.columns) // 14)

    return _figure(0.9 + 0.55 * len(table), draw, "Units by region and SKU")


def worth_of_text(data: ReportData) -> str:
    """Profit of the plans made with and without text, in scenarios neither was solved on."""
    found = data.summary

    def draw(axes: Any) -> None:
        values = [found["without_text"], found["with_text"]]
        axes.barh(["without text", "with text"], values, color=[SOFT, BLUE], height=0.5)
        half = (found["text_worth_high"] - found["text_worth_low"]) / 2
        axes.errorbar([found["with_text"]], [1], xerr=[half], color=INK, lw=1, capsize=3)
        for y, value in enumerate(values):
            axes.annotate(f" {value:,.0f}", (max(value, 0), y), va="center", xytext=(14, 0), textcoords="offset points")
        axes.set_xlabel(f"expected profit, {found['currency']}")
        axes.margins(x=0.18)

    return _figure(1.5, draw, "Expected profit with and without text", width=6.5)


def _bars(rows: list[tuple[str, dict[str, float]]], words: str, label: str, *, percent: bool) -> str:
    """Grouped horizontal bars: one group a row, one bar a model."""
    names = list(dict.fromkeys(name for _, group in rows for name in group))
    colors = dict(zip(names, [BLUE, SOFT, ORANGE, GREEN, RED], strict=False))

    def draw(axes: Any) -> None:
        height = 0.8 / len(names)
        for i, name in enumerate(names):
            values = [group.get(name, np.nan) for _, group in rows]
            y = np.arange(len(rows)) + i * height - 0.4 + height / 2
            bars = axes.barh(y, values, height=height * 0.9, color=colors[name], label=name)
            axes.bar_label(bars, [f"{v:.1%}" if percent else f"{v:.2f}" for v in values], padding=3, fontsize=8)
        axes.set_yticks(range(len(rows)), [group for group, _ in rows])
        axes.invert_yaxis()
        axes.set_xlabel(label)
        axes.margins(x=0.12)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)

    return _figure(0.8 + 0.22 * len(rows) * len(names), draw, words, width=7.5)


def text_quality(data: ReportData) -> str | None:
    """Scores of the text model on its frozen test sets beside the TF-IDF baseline; None without a champion."""
    rows = []
    for name, value in sorted(data.text_metrics.items()):
        twin = data.text_metrics.get(f"tfidf.{name}")
        if "_f1." in name and not name.startswith("tfidf."):
            group = {"BERT": value} if twin is None else {"BERT": value, "TF-IDF": twin}
            rows.append((name.replace("_", " ").replace(".", " "), group))
    return _bars(rows, "Quality of the text model", "F1 on the frozen test set", percent=False) if rows else None


def demand_quality(data: ReportData) -> str | None:
    """Backtest error of the demand model beside its baselines; None without a champion."""
    errors = {n.removeprefix("wape_"): v for n, v in sorted(data.demand_metrics.items()) if n.startswith("wape_")}
    rows = [("weighted error", {k.replace("_", " "): v for k, v in errors.items()})]
    return _bars(rows, "Error of the demand model", "WAPE, sales it had not seen", percent=True) if errors else None
