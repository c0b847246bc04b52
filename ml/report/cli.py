"""`python -m ml report write`: the report of a plan as one self-contained HTML page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(sub: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the group's command."""
    group = sub.add_parser("report", help="write the report of a plan")
    write = group.add_subparsers(dest="command", required=True).add_parser("write", help="one HTML page")
    write.add_argument("--plan-id", required=True)
    write.add_argument("--out", type=Path, required=True, help="folder of report.html")
    write.set_defaults(func=_write)


def _write(args: argparse.Namespace) -> dict[str, Any]:
    from ml.report.data import gather

    path = args.out / "report.html"
    args.out.mkdir(parents=True, exist_ok=True)
    path.write_text(render(gather(args.plan_id)), encoding="utf-8")
    return {"report": str(path), "bytes": path.stat().st_size}


def render(data: Any) -> str:
    """The page of a `ReportData`; everything in it is inline."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from ml.report import figures

    folder = Path(__file__).parent
    page = Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    plan = data.plan.sort_values(["sku_id", "region_id"]).to_dict("records")
    return page.get_template("page.html").render(
        summary=data.summary,
        status=plan[0]["status"],
        decided_by=plan[0]["decided_by"],
        reason=plan[0]["reason"],
        plan=plan,
        scores=data.scores.tail(12).to_dict("records"),
        censored=float(data.sales["censored"].mean()),
        labels=data.labels,
        notes=data.notes,
        figures={
            "allocation": figures.allocation_by_region(data),
            "demand": figures.demand_raw_and_corrected(data),
            "lift": figures.lift_with_bounds(data),
            "text_worth": figures.worth_of_text(data),
            "text_quality": figures.text_quality(data),
            "demand_quality": figures.demand_quality(data),
        },
    )
