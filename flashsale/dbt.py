"""dbt as a subprocess: its environment from the settings, its outcome from `run_results.json`.

A subprocess, because dbt's in-process runner keeps the database file locked after it returns.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from flashsale.errors import InputError
from flashsale.settings import Settings, settings
from flashsale.warehouse import read_build

PROJECT = Path(__file__).parents[1] / "dbt_project"
PARSED = "partial_parse.msgpack"  # dbt's own name for it


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


def target_path(found: Settings) -> Path:
    """The folder of what dbt makes of the project and of its results."""
    return found.home / "dbt" / "target"


def environment(found: Settings) -> dict[str, str]:
    """Variables dbt needs: where to build (seen from the home, where dbt runs), where to write its own files."""
    base = {
        "DBT_TARGET_PATH": str(target_path(found)),
        "DBT_LOG_PATH": str(found.home / "dbt" / "logs"),
        # a sixth of a build went into its debug log
        "DBT_LOG_LEVEL_FILE": os.environ.get("DBT_LOG_LEVEL_FILE", "info"),
        "FLASHSALE_THREADS": str(found.threads),
    }
    if found.warehouse_uri.startswith("postgresql"):
        return base | postgres_environment(found.warehouse_uri)
    # the same words in every home, since dbt parses anew wherever a variable of its profile has another value
    place = os.path.relpath(found.warehouse_path, found.home)
    return base | {"FLASHSALE_DBT_TARGET": "duckdb", "FLASHSALE_DBT_DUCKDB": place}


def parsed_project() -> Path:
    """Where `scripts/prepare.py` keeps what dbt makes of the project's files, for homes that have not built yet."""
    return Path(sys.prefix) / "dbt-parsed.msgpack"


def run(*arguments: str) -> dict[str, Any]:
    """Run `dbt <arguments>`; returns the count of each status.

    Raises InputError that names the nodes that failed, with dbt's own words and a failed test's first rows.
    """
    nodes, status = _invoke(arguments, "run_results.json")
    failed = [n for n in nodes if n["status"] in ("error", "fail", "runtime error")]
    if failed or status:
        words = "; ".join(
            f"{n['unique_id']}: {(n.get('message') or '').strip()[:200]}{_first_rows(n)}" for n in failed[:5]
        )
        raise InputError("dbt", words or f"exit status {status}", "mend the data or the model, then run again")
    return dict(Counter(str(n["status"]) for n in nodes))


def freshness() -> dict[str, Any]:
    """The streams whose newest record is older than their contract allows, by dbt's own measure and clock.

    Returns `fresh` (a count), `late` (over the contract's hours) and `stale` (over seven times as many), each of these
    two a mapping of stream to the time of its newest record. Raises InputError where a source cannot be read.
    """
    nodes, _ = _invoke(("source", "freshness"), "sources.json")
    broken = [n for n in nodes if n["status"] == "runtime error"]
    if broken:
        words = "; ".join(f"{n['unique_id']}: {n.get('error')}" for n in broken)
        raise InputError("dbt source freshness", words, "load the warehouse first")

    def newest(status: str) -> dict[str, str]:
        return {n["unique_id"].rsplit(".", 1)[-1]: n["max_loaded_at"] for n in nodes if n["status"] == status}

    return {"fresh": len(newest("pass")), "late": newest("warn"), "stale": newest("error")}


def _first_rows(node: dict[str, Any], most: int = 3) -> str:
    """The first rows that a failed data test found, as words; nothing for other nodes."""
    code = node.get("compiled_code")
    if node["status"] != "fail" or not code or not node["unique_id"].startswith("test."):
        return ""
    rows = read_build(f"SELECT * FROM ({code}) AS failing LIMIT {most}").to_pylist()
    return f" (for example {json.dumps(rows, default=str, ensure_ascii=False)})"


def keep_parsed() -> None:
    """Have dbt read the project's files, and keep what it makes of them at `parsed_project()`. Raises InputError."""
    done = _dbt("parse")
    if done.returncode:
        raise InputError("dbt", f"cannot read the project: {done.stdout.strip()[-600:]}", "mend the file that is named")
    shutil.copyfile(target_path(settings()) / PARSED, parsed_project())


def _dbt(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run dbt in a process of its own, in the home."""
    found = settings()
    env = {**os.environ, **environment(found)}
    parsed = target_path(found) / PARSED
    parsed.parent.mkdir(parents=True, exist_ok=True)
    if not parsed.exists() and parsed_project().is_file():  # dbt itself sees what has changed since
        shutil.copyfile(parsed_project(), parsed)
    given = json.dumps({"planning_lead_hours": found.planning_lead_hours})
    command = [str(Path(sys.executable).parent / "dbt"), *arguments, "--vars", given]
    command += ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)]
    done = subprocess.run(command, cwd=found.home, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(done.stdout, file=sys.stderr)
    return done


def _invoke(arguments: tuple[str, ...], written: str) -> tuple[list[dict[str, Any]], int]:
    """Run dbt; the results it wrote and its exit status."""
    results = target_path(settings()) / written
    results.unlink(missing_ok=True)
    done = _dbt(*arguments)
    if not results.exists():
        raise InputError("dbt", f"did not run: {done.stdout.strip()[-600:]}", "read the lines above")
    return list(json.loads(results.read_text())["results"]), done.returncode
