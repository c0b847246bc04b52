"""`python -m ml demand …`: correct past sales for stock-outs, train and judge the demand model."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from flashsale.registered import EXPERIMENTS
from flashsale.settings import settings

CANDIDATE = "flashsale-demand-candidate"
NAME = "flashsale-demand"
EXPERIMENT = EXPERIMENTS[NAME]


def add_parser(sub: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group's commands; each sets `func`, which returns what is printed as JSON."""
    group = sub.add_parser("demand", help="unconstrain past sales, train the demand model")
    commands = group.add_subparsers(dest="command", required=True)
    corrected = commands.add_parser("unconstrain", help="demand of past sales without stock-outs")
    corrected.add_argument("--in", dest="source", type=Path, help="hourly panel (Parquet) instead of the warehouse")
    corrected.add_argument("--out", type=Path, help="where the panel's daily demand goes")
    corrected.set_defaults(func=_unconstrain)
    judged = commands.add_parser("backtest", help="forecast the last periods of any weekly or daily panel and judge it")
    judged.add_argument(
        "--panel", type=Path, required=True, help="Parquet or CSV: series_id, period_start, units, price"
    )
    judged.add_argument(
        "--horizon", type=int, required=True, help="periods between the last sales known and a forecast"
    )
    judged.add_argument("--holdout", type=int, required=True, help="last periods that are forecast and judged")
    judged.add_argument("--out", type=Path, required=True, help="folder of forecasts, metrics and plots")
    judged.set_defaults(func=_backtest)
    train = commands.add_parser("train", help="fit, calibrate, backtest; --register hands it to review")
    train.add_argument("--register", action="store_true", help=f"log and register as {CANDIDATE}")
    train.add_argument("--without-text", action="store_true", help="leave the text features out")
    train.add_argument("--out", type=Path, help="also write the model folder here (must not exist)")
    train.set_defaults(func=_train)


def _unconstrain(args: argparse.Namespace) -> dict[str, Any]:
    if args.source or args.out:
        from ml.demand.panel import unconstrain_file

        return unconstrain_file(args.source, args.out)
    from ml.demand import tables

    frame = tables.unconstrained_cells()
    commit = tables.publish_unconstrained(frame)
    return {
        **tables.address(commit),
        "cells": len(frame),
        "censored": int(frame["is_censored"].sum()),
        "units": int(frame["units"].sum()),
        "demand": round(float(frame["demand"].sum()), 1),
        "nothing_learnt": int((frame["method"] == "nothing_learnt").sum()),
    }


def _backtest(args: argparse.Namespace) -> dict[str, Any]:
    from ml.demand.series_report import backtest_file

    return backtest_file(args.panel, args.out, args.horizon, args.holdout)


def _train(args: argparse.Namespace) -> dict[str, Any]:
    from ml.demand import backtest, heads, level, tables

    with_text = not args.without_text
    rows, digest = tables.learning_rows()
    demand = rows["demand"].to_numpy(dtype=float)
    print(f"backtest over {rows['campaign_id'].nunique()} sales", file=sys.stderr)
    report = backtest.backtest(rows, demand, with_text=with_text, seed=settings().seed)
    metrics = report.metrics()
    gate = backtest.gate(metrics, champion_metrics() if args.register else None)
    data = level.training_set(rows, demand)
    fitted = level.fit(data, with_text=with_text, seed=settings().seed)
    fitted.notes.update(metrics=metrics, gate=gate, with_text=with_text, data_hash=digest, trained_until=_until(rows))
    answer: dict[str, Any] = {
        "metrics": metrics,
        "gate": gate,
        "rows": len(rows),
        "with_text": with_text,
        "version": None,
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.out or Path(scratch) / "model"
        heads.save(fitted, folder)
        if args.register:
            answer |= _register(fitted, folder, report, data.frame, Path(scratch))
    return answer


def _until(rows: Any) -> str:
    return str(rows["ends_at"].max().isoformat())


def champion_metrics() -> dict[str, float] | None:
    """Backtest metrics that the champion carries, or None where there is no champion."""
    from ml import registry
    from ml.demand import heads

    if registry.champion(NAME) is None:
        return None
    notes = heads.load(registry.fetch(NAME) / "artifacts" / "model").notes
    found: dict[str, float] = notes.get("metrics", {})
    return found


def _register(fitted: Any, folder: Path, report: Any, frame: Any, scratch: Path) -> dict[str, Any]:
    from ml import registry, tracking
    from ml.demand import heads
    from ml.demand.card import model_card
    from ml.demand.pictures import draw

    notes = fitted.notes
    report.forecasts.to_csv(scratch / "backtest.csv", index=False)
    report.summary.to_csv(scratch / "backtest_summary.csv", index=False)
    example = frame[[*fitted.features, "base_units", "log_price_ratio"]].head(5).fillna(0.0)
    example = example.astype({name: float for name in example.columns if name not in fitted.ridge.encoder.levels})
    version = registry.register_candidate(
        registry.Candidate(
            name=CANDIDATE,
            experiment=EXPERIMENT,
            script=Path(heads.__file__),
            folder=folder,
            card=model_card(notes["metrics"], notes["gate"], notes, with_text=notes["with_text"]),
            input_example=example,
            output_example=fitted.forecast(example),
            requirements=tracking.requirements_of("lightgbm", "numpy", "pandas"),
            params={"with_text": notes["with_text"], "seed": settings().seed, "penalty": fitted.ridge.penalty},
            metrics=notes["metrics"],
            tags={
                "gate_passed": str(notes["gate"]["passed"]),
                "gate_reasons": "; ".join(notes["gate"]["reasons"]),
            },
            digests={"feat_demand": notes["data_hash"]},
            files=[scratch / "backtest.csv", scratch / "backtest_summary.csv", *draw(report, scratch)],
        )
    )
    return version.as_dict()
