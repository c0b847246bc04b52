"""dbt as a subprocess: its environment from the settings, its outcome from `run_results.json`.

A subprocess, because dbt's in-process runner keeps the database file locked after it returns.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from flashsale.errors import InputError
from flashsale.settings import Settings, settings

PROJECT = Path(__file__).parents[1] / "dbt_project"


def postgres_environment(uri: str) -> dict[str, str]:
    """The profile's variables of a `postgresql://` address, sockets (`?host=`) included."""
    parts = urlsplit(uri)
    host = parse_qs(parts.query).get("host", [parts.hostname or "localhost"])[0]
    return {
        "FLASHSALE_DBT_TARGET": "postgres",
        "FLASHSALE_DBT_PG_HOST": host,
        "FLASHSALE_DBT_PG_PORT": str(parts.port or 5432),
        "FLASHSALE_DBT_PG_USER": unquote(parts.username or "postgres"),
        "FLASHSALE_DBT_PG_PASSWORD": unquote(parts.password or ""),
        "FLASHSALE_DBT_PG_DATABASE": parts.path.lstrip("/"),
        "PGTZ": "UTC",
    }


def environment(found: Settings) -> dict[str, str]:
    """Variables dbt needs: where to build, where to write its own files."""
    base = {
        "DBT_TARGET_PATH": str(found.home / "dbt" / "target"),
        "DBT_LOG_PATH": str(found.home / "dbt" / "logs"),
        "FLASHSALE_THREADS": str(found.threads),
    }
    if found.warehouse_uri.startswith("postgresql"):
        return base | postgres_environment(found.warehouse_uri)
    return base | {"FLASHSALE_DBT_TARGET": "duckdb", "FLASHSALE_DBT_DUCKDB": str(found.warehouse_path)}


def run(*arguments: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run `dbt <arguments>`; returns the count of each status.

    Raises InputError that names the nodes that failed, with dbt's own words.
    """
    nodes, status = _invoke(arguments, "run_results.json", variables or {})
    failed = [n for n in nodes if n["status"] in ("error", "fail", "runtime error")]
    if failed or status:
        words = "; ".join(f"{n['unique_id']}: {(n.get('message') or '').strip()[:200]}" for n in failed[:5])
        raise InputError("dbt", words or f"exit status {status}", "mend the data or the model, then run again")
    return dict(Counter(str(n["status"]) for n in nodes))


def freshness() -> dict[str, Any]:
    """The streams whose newest record is older than their contract allows, by dbt's own measure and clock.

    Returns `fresh` (a count), `late` (over the contract's hours) and `stale` (over seven times as many), each of these
    two a mapping of stream to the time of its newest record. Raises InputError where a source cannot be read.
    """
    nodes, _ = _invoke(("source", "freshness"), "sources.json", {})
    broken = [n for n in nodes if n["status"] == "runtime error"]
    if broken:
        words = "; ".join(f"{n['unique_id']}: {n.get('error')}" for n in broken)
        raise InputError("dbt source freshness", words, "load the warehouse first")

    def newest(status: str) -> dict[str, str]:
        return {n["unique_id"].rsplit(".", 1)[-1]: n["max_loaded_at"] for n in nodes if n["status"] == status}

    return {"fresh": len(newest("pass")), "late": newest("warn"), "stale": newest("error")}


def _invoke(arguments: tuple[str, ...], written: str, variables: dict[str, Any]) -> tuple[list[dict[str, Any]], int]:
    """Run dbt in a process of its own; the results it wrote and its exit status."""
    found = settings()
    given = json.dumps({"planning_lead_hours": found.planning_lead_hours, **variables})
    program = str(Path(sys.executable).parent / "dbt")
    places = ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT), "--vars", given]
    env = {**os.environ, **environment(found)}
    results = Path(env["DBT_TARGET_PATH"]) / written
    results.unlink(missing_ok=True)
    command = [program, *arguments, *places]
    done = subprocess.run(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(done.stdout, file=sys.stderr)
    if not results.exists():
        raise InputError("dbt", f"did not run: {done.stdout.strip()[-600:]}", "read the lines above")
    return list(json.loads(results.read_text())["results"]), done.returncode
