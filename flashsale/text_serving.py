"""Which model version's text scores the warehouse reads: a pointer that moves in one step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from flashsale.errors import InputError
from flashsale.lake import Lake
from flashsale.warehouse_load import SERVED


def model_version(folder: Path) -> str:
    """Name of a fetched model version in tables and paths: its label and the run that made it.

    The run is part of it, because a registry that is made anew starts again at version 1.
    """
    path = folder / "version.json"
    if not path.is_file():
        raise InputError(f"model folder {folder.name}", "has no version.json", "fetch it: python -m ml registry fetch")
    found = json.loads(path.read_text(encoding="utf-8"))
    return f"{found['label']}-{found['run_id'][:8]}"


def serve(lake: Lake, version: str) -> dict[str, Any]:
    """Point the warehouse at `version`; a shop without any text has nothing to point at.

    Raises InputError where there are clean texts and that version has scored none of them.
    """
    days = lake.partitions(f"text/scored/model_version={version}")
    if not days and not lake.partitions("text/clean"):
        return {"model_version": version, "days": 0, "texts": 0, "moved": False}
    if not days:
        raise InputError("text scores", f"version {version} has scored nothing", "run process_social_text first")
    done = lake.write(SERVED, "scope=current", pa.table({"model_version": [version]}))
    texts = sum(m.rows for m in days.values())
    return {"model_version": version, "days": len(days), "texts": texts, "moved": done.changed}
