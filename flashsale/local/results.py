"""What the demo leaves behind: tables as Parquet, the report, the snapshot with example queries, a table on screen."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flashsale.errors import InputError
from flashsale.lake import Lake
from flashsale.local.environment import ROOT
from flashsale.local.service import Stack

QUERIES = Path(__file__).with_name("example_queries.sql")


def newest_plan(lake: Lake) -> pa.Table:
    """Rows of the published plan with the latest decision."""
    plans = [lake.read_one(m) for m in lake.partitions("decisions/allocation_recommendations").values()]
    published = [p for p in plans if p.num_rows and p["status"][0].as_py() == "published"]
    if not published:
        raise InputError("plan", "none was approved and published", "approve the plan in Airflow")
    return max(published, key=lambda p: str(p["decided_at"][0].as_py()))


def collect(stack: Stack, home: Path, target: Path) -> dict[str, Any]:
    """Write the results of the run to `target`; returns what was written."""
    target.mkdir(parents=True, exist_ok=True)
    lake = Lake(str(home / "lake"))
    plan, scores = newest_plan(lake), lake.read("decisions/campaign_scores")
    pq.write_table(plan, target / "allocation_recommendations.parquet")
    pq.write_table(scores, target / "campaign_scores.parquet")
    shutil.copyfile(home / "warehouse" / "published.duckdb", target / "warehouse.duckdb")
    shutil.copyfile(QUERIES, target / "example_queries.sql")
    command = [
        sys.executable,
        "-m",
        "ml",
        "report",
        "write",
        "--out",
        str(target),
        "--plan-id",
        plan["plan_id"][0].as_py(),
    ]
    done = subprocess.run(command, env=stack.environment, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise InputError("report", done.stderr.strip()[-800:], "read the lines above")
    return {"plan_rows": plan.num_rows, "score_rows": scores.num_rows, "units": pc.sum(plan["allocate_units"]).as_py()}


def _table(rows: list[dict[str, Any]], columns: list[str], say: Callable[[str], None]) -> None:
    cells = [[_text(r[c]) for c in columns] for r in rows]
    widths = [max(len(c), *(len(row[i]) for row in cells)) if cells else len(c) for i, c in enumerate(columns)]
    say("  ".join(c.ljust(w) for c, w in zip(columns, widths, strict=True)))
    for row in cells:
        say("  ".join(v.ljust(w) for v, w in zip(row, widths, strict=True)))


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return str(value)


def show(target: Path, figures: dict[str, Any], say: Callable[[str], None]) -> None:
    """Print the newest scores, the plan and where to go on."""
    scores = pq.ParquetFile(target / "campaign_scores.parquet").read().to_pylist()
    campaigns = [s for s in scores if s["level"] == "campaign"][-10:]
    say("\nScores of the last ten sales (campaign level)")
    _table(
        campaigns,
        [
            "campaign_id",
            "units_sold",
            "unconstrained_demand",
            "lost_units",
            "incremental_sales",
            "incremental_margin",
            "placebo_p",
            "verdict",
        ],
        say,
    )
    plan = pq.ParquetFile(target / "allocation_recommendations.parquet").read().to_pylist()
    say("\nThe plan for the next sale")
    _table(
        plan[:40],
        [
            "sku_id",
            "region_id",
            "allocate_units",
            "offer_price",
            "promo_type",
            "starts_at",
            "demand_p50",
            "expected_sales",
            "expected_margin",
        ],
        say,
    )
    if len(plan) > 40:
        say(f"… and {len(plan) - 40} more rows in allocation_recommendations.parquet")
    say(
        f"\n{figures['wall_s']:.0f} s in all: tasks {figures['tasks_s']:.0f} s, Airflow and start-up "
        f"{figures['orchestration_s']:.0f} s ({figures['orchestration_share']:.0%}); "
        f"peak memory {figures['peak_memory_mib']} MiB"
    )
    say(
        f"Results in {target}: report.html, allocation_recommendations.parquet, campaign_scores.parquet,\n"
        "  warehouse.duckdb (open it with any DuckDB client; example_queries.sql has three queries), timings.json"
    )
    say("To look around in Airflow, MLflow and the simulated shop: make up, and make down to stop them.")
