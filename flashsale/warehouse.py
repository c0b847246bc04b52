"""The one reader of the warehouse: read-only SQL on the published snapshot, as Arrow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from flashsale.errors import InputError
from flashsale.settings import settings


def read(sql: str, params: Sequence[Any] | None = None) -> pa.Table:
    """Rows of a read-only query (`?` placeholders), in the published snapshot's time zone UTC.

    Raises InputError where no snapshot is published yet.
    """
    if settings().warehouse_uri.startswith("postgresql"):
        return _read_postgres(sql, params)
    path = settings().snapshot
    if not path.exists():
        raise InputError("warehouse", "no snapshot is published", "run the build_features DAG first")
    return _read_duckdb(path, sql, params)


def read_build(sql: str) -> pa.Table:
    """Rows of a read-only query on what dbt builds, published or not; no build may run on it."""
    if settings().warehouse_uri.startswith("postgresql"):
        return _read_postgres(sql, None)
    return _read_duckdb(settings().warehouse_path, sql, None)


def _read_duckdb(path: Path, sql: str, params: Sequence[Any] | None) -> pa.Table:
    import duckdb

    with duckdb.connect(str(path), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(sql, list(params or [])).to_arrow_table()


def _read_postgres(sql: str, params: Sequence[Any] | None) -> pa.Table:
    import psycopg

    with psycopg.connect(settings().warehouse_uri) as connection:
        connection.read_only = True
        with connection.cursor() as cursor:
            cursor.execute("SET TIME ZONE 'UTC'")
            if params is None:  # a query without placeholders may hold any character
                cursor.execute(sql.encode())
            else:
                cursor.execute(sql.replace("?", "%s").encode(), list(params))
            names = [column.name for column in cursor.description or []]
            rows = cursor.fetchall()
    return pa.table({name: [row[i] for row in rows] for i, name in enumerate(names)})
