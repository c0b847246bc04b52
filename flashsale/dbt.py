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
    found = settings()
    given = json.dumps({"planning_lead_hours": found.planning_lead_hours, **(variables or {})})
    command = [
        str(Path(sys.executable).parent / "dbt"),
        *arguments,
        "--project-dir",
        str(PROJECT),
        "--profiles-dir",
        str(PROJECT),
        "--vars",
        given,
    ]
    env = {**os.environ, **environment(found)}
    results = Path(env["DBT_TARGET_PATH"]) / "run_results.json"
    results.unlink(missing_ok=True)
    done = subprocess.run(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(done.stdout, file=sys.stderr)
    if not results.exists():
        raise InputError("dbt", f"did not run: {done.stdout.strip()[-600:]}", "read the lines above")
    nodes = json.loads(results.read_text())["results"]
    failed = [n for n in nodes if n["status"] in ("error", "fail", "runtime error")]
    if failed or done.returncode:
        words = "; ".join(f"{n['unique_id']}: {(n.get('message') or '').strip()[:200]}" for n in failed[:5])
        raise InputError("dbt", words or f"exit status {done.returncode}", "mend the data or the model, then run again")
    return dict(Counter(str(n["status"]) for n in nodes))
