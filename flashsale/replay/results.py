"""The files a replay leaves; each appears whole or not at all, and its bytes depend on the input alone."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flashsale.errors import InputError
from flashsale.lake import Lake
from flashsale.replay.commands import Commands

PLAN, INPUTS = "plan.json", "plan_inputs"
RECOMMENDATIONS, SCORES = "allocation_recommendations.parquet", "campaign_scores.parquet"


def check_out(out: Path) -> None:
    """Before the work: InputError where something else stands in the folder's place, or in that of one of its files."""
    there = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not there.is_dir():
        raise InputError(f"folder {out}", f"{there.name} is no folder", "give --out a folder")
    for name in (RECOMMENDATIONS, SCORES, INPUTS, PLAN):
        there = out / name
        if there.exists() and there.is_dir() != (name == INPUTS):
            raise InputError(f"folder {out}", "something of another kind has this name", "move it away", field=name)


def write(commands: Commands, found: dict[str, Any], out: Path) -> None:
    """Put the plan's rows, the scores of past sales, the plan's inputs and `plan.json` into `out`.

    Everything is staged inside `out` first and then moved; `plan.json` comes last.
    """
    lake = Lake(commands.lake_uri)
    plan_id = found["plan"]["plan_id"]
    tables = {
        RECOMMENDATIONS: lake.read("decisions/allocation_recommendations", [f"plan_id={plan_id}"]),
        SCORES: lake.read("decisions/campaign_scores"),
    }
    staged = out / f".replay-{os.getpid()}"
    staged.mkdir(parents=True)
    try:
        for name, table in tables.items():
            _table(table, staged / name)
        shutil.copytree(commands.home / INPUTS, staged / INPUTS)
        text = json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False)
        (staged / PLAN).write_text(text + "\n", encoding="utf-8")
        (out / PLAN).unlink(missing_ok=True)
        shutil.rmtree(out / INPUTS, ignore_errors=True)
        for name in (*tables, INPUTS, PLAN):
            os.replace(staged / name, out / name)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _table(table: pa.Table, path: Path) -> None:
    pq.write_table(table.replace_schema_metadata(None).combine_chunks(), path, compression="zstd")
