"""The one reader of the warehouse: read-only SQL on the published snapshot, as Arrow."""

from __future__ import annotations

from collections.abc import Sequence
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
    return _read_duckdb(sql, params)


def _read_duckdb(sql: str, params: Sequence[Any] | None) -> pa.Table:
    import duckdb

    path = settings().snapshot
    if not path.exists():
        raise InputError("warehouse", "no snapshot is published", "run the build_features DAG first")
    with duckdb.connect(str(path), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(sql, list(params or [])).to_arrow_table()


def _read_postgres(sql: str, params: Sequence[Any] | None) -> pa.Table:
    import psycopg

    with psycopg.connect(settings().warehouse_uri) as connection:
        connection.read_only = True
        with connection.cursor() as cursor:
            cursor.execute("SET TIME ZONE 'UTC'")
            cursor.execute(sql.replace("?", "%s").encode(), list(params or []))
            names = [column.name for column in cursor.description or []]
            rows = cursor.fetchall()
    return pa.table({name: [row[i] for row in rows] for i, name in enumerate(names)})
