"""`dbt build` of what changed: the days the load step brought in are kept until a build of them has succeeded.

Incremental models rebuild those days alone. A project whose models were edited since the last build is built in full,
because rows of an older model would otherwise stay beside rows of the new one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flashsale import dbt
from flashsale.settings import settings

#: State of the warehouse beside its data: days that wait for a build, those that the running build (or the last one)
#: brings in, which the macro `changed_days` reads, and the project that built it last.
STATE = (
    "CREATE SCHEMA IF NOT EXISTS raw",
    "CREATE TABLE IF NOT EXISTS raw._pending (day text)",
    "CREATE TABLE IF NOT EXISTS raw._building (day text)",
    "CREATE TABLE IF NOT EXISTS raw._built (project text)",
)


@contextmanager
def _warehouse() -> Iterator[Any]:
    """A writing connection whose statements are committed together at the end."""
    if settings().warehouse_uri.startswith("postgresql"):
        import psycopg

        with psycopg.connect(settings().warehouse_uri) as connection:
            yield connection
        return
    import duckdb

    with duckdb.connect(str(settings().warehouse_path)) as connection:
        connection.execute("BEGIN")
        yield connection
        connection.execute("COMMIT")


def project_hash() -> str:
    """A hash over everything in the dbt project that decides what its models hold."""
    digest = hashlib.sha256()
    for folder in ("macros", "models"):
        for path in sorted((dbt.PROJECT / folder).rglob("*.*")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def wait_for_build(connection: Any, days: list[str]) -> None:
    """Remember, within the load's own transaction, that these days have to be built."""
    for statement in STATE:
        connection.execute(statement)
    known = {str(r[0]) for r in connection.execute("SELECT day FROM raw._pending").fetchall()}
    fresh = sorted(set(days) - known)
    if fresh:  # days come from partition names that the lake has parsed as dates
        connection.execute("INSERT INTO raw._pending VALUES " + ", ".join(f"('{day}')" for day in fresh))


def build() -> dict[str, Any]:
    """Build all models and run all tests; returns the count of each status and the days that were rebuilt.

    Raises InputError that names the nodes that failed; their days stay pending and are built by the next run.
    """
    project = project_hash()
    with _warehouse() as connection:
        wait_for_build(connection, [])
        days = [str(r[0]) for r in connection.execute("SELECT day FROM raw._pending ORDER BY day").fetchall()]
        connection.execute("DELETE FROM raw._building")
        connection.execute("INSERT INTO raw._building SELECT day FROM raw._pending")
        known = [str(r[0]) for r in connection.execute("SELECT project FROM raw._built").fetchall()] == [project]
    full = [] if known else ["--full-refresh"]
    counts = dbt.run("build", *full)
    with _warehouse() as connection:
        connection.execute("DELETE FROM raw._pending WHERE day IN (SELECT day FROM raw._building)")
        connection.execute("DELETE FROM raw._built")
        connection.execute(f"INSERT INTO raw._built VALUES ('{project}')")
    return counts | {"full": not known, "days": len(days)}
