"""Which model version's text scores the warehouse reads: a pointer that moves in one step."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from flashsale.errors import InputError
from flashsale.lake import Lake
from flashsale.warehouse_load import SERVED


def scored_versions(lake: Lake) -> list[str]:
    """Model versions that have scored texts, in order."""
    found = lake.partitions("text/scored", depth=2)
    return sorted({name.split("/")[0].removeprefix("model_version=") for name in found})


def serve(lake: Lake, version: str) -> dict[str, Any]:
    """Point the warehouse at `version`; raises InputError where that version has scored nothing."""
    days = lake.partitions(f"text/scored/model_version={version}")
    if not days:
        raise InputError("text scores", f"version {version} has scored nothing", "run process_social_text first")
    done = lake.write(SERVED, "scope=current", pa.table({"model_version": [version]}))
    return {
        "model_version": version,
        "days": len(days),
        "texts": sum(m.rows for m in days.values()),
        "moved": done.changed,
    }
