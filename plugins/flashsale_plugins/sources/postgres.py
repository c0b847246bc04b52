"""A PostgreSQL source: one table a stream, read by its `event_at`."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.rows import dict_row

from flashsale.contracts import load_contract
from flashsale.errors import InputError
from flashsale.times import Window
from flashsale_plugins.sources.text import column, joined

BATCH_ROWS = 50_000


class PostgresSource:
    """Tables `<schema>.<stream>` of a database; a row of `sale_requests(request json)` is a request."""

    def __init__(self, uri: str, *, schema: str = "public") -> None:
        self.uri, self.schema = uri, schema

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        try:
            connection = psycopg.connect(self.uri, connect_timeout=10)
        except psycopg.OperationalError as error:
            raise InputError("source postgresql", f"cannot be reached ({error})", "check the connection") from error
        connection.read_only = True
        connection.execute("SET TIME ZONE 'UTC'")
        return connection

    def _has(self, connection: psycopg.Connection[tuple[Any, ...]], table: str) -> bool:
        found = connection.execute("SELECT to_regclass(%s)", [f"{self.schema}.{table}"]).fetchone()
        return found is not None and found[0] is not None

    def read(self, stream: str, window: Window) -> pa.Table | None:
        """Rows with `event_at` in the window, fetched in batches by a server-side cursor; None without the table."""
        with self._connect() as connection:
            if not self._has(connection, stream):
                return None
            query = sql.SQL(
                "SELECT * FROM {} WHERE event_at >= %s AND event_at < %s OR event_at IS NULL"
                " ORDER BY event_at, event_id"
            ).format(sql.Identifier(self.schema, stream))
            batches = []
            with connection.cursor(name="flashsale_pull") as cursor:
                try:
                    cursor.execute(query, [window.start, window.end])
                except (psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedFunction) as error:
                    raise InputError(
                        f"stream {stream}",
                        f"{error.diag.message_primary}",
                        "the table needs event_id, and event_at as timestamp",
                        field="event_at",
                    ) from error
                known = set(load_contract(stream).arrow_schema().names)
                names = {c.name: i for i, c in enumerate(cursor.description or []) if c.name in known}
                while rows := cursor.fetchmany(BATCH_ROWS):
                    batches.append(pa.table({name: column([row[i] for row in rows]) for name, i in names.items()}))
        return joined(batches) if batches else pa.table({name: pa.nulls(0) for name in names})

    def sale_requests(self) -> list[dict[str, Any]]:
        """Requests stored in `sale_requests.request` (json or text), in the order of their ids."""
        with self._connect() as connection:
            if not self._has(connection, "sale_requests"):
                return []
            with connection.cursor(row_factory=dict_row) as cursor:
                query = sql.SQL("SELECT request FROM {}").format(sql.Identifier(self.schema, "sale_requests"))
                rows = cursor.execute(query).fetchall()
        found = [_request(row["request"]) for row in rows]
        return sorted(found, key=lambda item: str(item.get("request_id")) if isinstance(item, dict) else "")


def _request(stored: Any) -> Any:
    try:
        return json.loads(stored) if isinstance(stored, str) else stored
    except (ValueError, RecursionError) as error:
        raise InputError(
            "table sale_requests", f"a request is not JSON ({error})", "mend or delete the row", field="request"
        ) from error
