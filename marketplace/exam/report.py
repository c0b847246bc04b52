"""What an exam says: shares with bootstrap intervals, paired by seed, as JSON, a table and a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from marketplace.choice import Floats
from marketplace.exam.sitting import PLANNERS

DRAWS = 4000
COLUMNS = ("fill", "lost", "leftover", "smallest_fill", "covered")
FORMS = {"of_clairvoyant": ".3f", "of_true_distribution": ".3f", "fill": ".2f", "lost": ".0f", "leftover": ".0f",
         "smallest_fill": ".2f", "covered": ".0%"}  # fmt: skip
LABELS = {"with_text": "platform, with text", "without_text": "platform, without text",
          "shuffled_text": "platform, shuffled text", "last_sale": "last sale × 1.1",
          "true_distribution": "true distribution", "clairvoyant": "clairvoyant (best found)"}  # fmt: skip


def summarise(results: list[dict[str, Any]], facts: dict[str, Any], seed: int = 1) -> dict[str, Any]:
    """Marks of all planners over all shops.

    Args:
        results: of `sitting.sit`, one a seed.
        facts: what the exam was: regime, sizes; kept as they are.
        seed: of the bootstrap.

    Returns:
        `planners`: share of the clairvoyant's and of the true distribution's profit, and the platform's profit over
        theirs (sum over sum), means of the other marks, all with 95 % intervals over shops, and `violations`, the
        number of limits broken in all shops; `text_value`, `shuffled_value`: gain over the plan without text as a
        share of the clairvoyant's profit; `corrected`: WAPE and bias of hidden demand.
    """
    profit = {name: _column(results, name, "profit") for name in PLANNERS}
    picks = np.random.default_rng(seed).integers(0, len(results), (DRAWS, len(results)))
    planners = {}
    for name in PLANNERS:
        row: dict[str, Any] = {
            "of_clairvoyant": _ratio(profit[name], profit["clairvoyant"], picks),
            "of_true_distribution": _ratio(profit[name], profit["true_distribution"], picks),
            "platform_over": _ratio(profit["with_text"], profit[name], picks),
        }
        row |= {mark: _mean(_column(results, name, mark), picks) for mark in COLUMNS}
        row["violations"] = round(float(_column(results, name, "violations").sum()))
        planners[name] = row
    plain, best = profit["without_text"], profit["clairvoyant"]
    whole = {key: sum(r["corrected"][key] for r in results) for key in ("cells", "truth", "error", "absolute")}
    return {
        **facts,
        "simulated": True,
        "seeds": [r["seed"] for r in results],
        "planners": planners,
        "text_value": _ratio(profit["with_text"] - plain, best, picks),
        "shuffled_value": _ratio(profit["shuffled_text"] - plain, best, picks),
        "corrected": {
            "cells": whole["cells"],
            "wape": round(whole["absolute"] / max(whole["truth"], 1.0), 4),
            "bias": round(whole["error"] / max(whole["truth"], 1.0), 4),
        },
    }


def _column(results: list[dict[str, Any]], planner: str, name: str) -> Floats:
    return np.array([r["marks"][planner][name] for r in results], dtype=np.float64)


def _mean(values: Floats, picks: npt.NDArray[np.int64]) -> dict[str, float] | None:
    """Mean over shops with its 95 % bootstrap interval; None for a mark that the planner has not."""
    return None if np.isnan(values).any() else _ratio(values, np.ones(len(values)), picks)


def _ratio(top: Floats, bottom: Floats, picks: npt.NDArray[np.int64]) -> dict[str, float]:
    """Ratio of sums with its 95 % bootstrap interval, seeds drawn together for all planners and marks."""
    drawn = top[picks].sum(axis=1) / bottom[picks].sum(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"value": round(float(top.sum() / bottom.sum()), 4), "low": round(float(low), 4),
            "high": round(float(high), 4)}  # fmt: skip


def table(summary: dict[str, Any]) -> str:
    """The exam as a Markdown table."""
    names = ("planner", "of clairvoyant", "of true distribution", "fill", "lost", "left", "least region's fill",
             "limits broken (total)", "in p10–p90")  # fmt: skip
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for name in PLANNERS:
        row = summary["planners"][name]
        marks = [_words(row[mark], form) for mark, form in FORMS.items()]
        marks.insert(-1, str(row["violations"]))
        lines.append(f"| {LABELS.get(name, name)} | {' | '.join(marks)} |")
    found = summary["corrected"]
    lines += [
        "",
        f"Text is worth {_points(summary['text_value'])} points of the clairvoyant's profit, shuffled text "
        f"{_points(summary['shuffled_value'])}. Hidden demand of {found['cells']} sold-out cells: WAPE "
        f"{found['wape']:.2f}, bias {found['bias']:+.1%}.",
    ]
    return "\n".join(lines) + "\n"


def _words(ratio: dict[str, float] | None, form: str) -> str:
    return "" if ratio is None else "{} ({}–{})".format(*(format(ratio[end], form) for end in ("value", "low", "high")))


def _points(ratio: dict[str, float]) -> str:
    return f"{100 * ratio['value']:+.1f} ({100 * ratio['low']:+.1f} to {100 * ratio['high']:+.1f})"


def picture(summaries: list[dict[str, Any]], path: Path) -> None:
    """Shares of the clairvoyant's profit with their intervals, one panel a regime."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    names = [name for name in PLANNERS if name != "clairvoyant"]
    columns = min(len(summaries), 5)
    rows = -(-len(summaries) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(1.6 + 2.5 * columns, 0.6 + 2.7 * rows), sharey=True,
                                sharex=True, squeeze=False)  # fmt: skip
    for axis in axes.flat[len(summaries) :]:
        axis.axis("off")
    for axis, summary in zip(axes.flat, summaries, strict=False):
        for place, name in enumerate(names):
            share = summary["planners"][name]["of_clairvoyant"]
            ours = name in ("with_text", "without_text", "shuffled_text")
            reach = [[share["value"] - share["low"]], [share["high"] - share["value"]]]
            axis.errorbar(share["value"], place, xerr=reach, fmt="o", capsize=3, color="C0" if ours else "0.45")
        axis.set_title(f"{summary['regime'].replace('_', ' ')} ({len(summary['seeds'])} shops)", fontsize=9)
        axis.grid(axis="x", alpha=0.3)
        axis.set_yticks(range(len(names)), [LABELS.get(n, n.replace("_", " ")) for n in names], fontsize=8)
        axis.tick_params(axis="x", labelsize=8)
    axes[0, 0].invert_yaxis()  # shared by all panels: the table's order
    figure.supxlabel("share of the clairvoyant's profit, 95 % intervals (simulated)", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)


def write(folder: Path, name: str, content: Any) -> None:
    """Write JSON with sorted keys."""
    (folder / name).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
