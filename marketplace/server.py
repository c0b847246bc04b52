"""The simulated shop's HTTP source: `GET /v1/<stream>?from=…&to=…&cursor=…&limit=…`.

Pages hold `{"records": [...], "next_cursor": str | null}`; `from` and `to` are ISO 8601 moments on
`event_at`, half-open. Decimals are strings, moments end in `Z`. With `MARKETPLACE_TOKEN` set,
every `/v1` request needs `Authorization: Bearer <token>`.
"""

from __future__ import annotations

import hmac
import os
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from fastapi import Depends, FastAPI, Header, HTTPException, Query

from flashsale.contracts import STREAMS
from flashsale.errors import InputError
from flashsale.times import parse_utc

DEFAULT_LIMIT = 5_000
MAX_LIMIT = 50_000


class Folder:
    """A written shop in memory: one table a stream, ordered by `event_at`."""

    def __init__(self, folder: Path) -> None:
        self.tables: dict[str, pa.Table] = {}
        self.moments: dict[str, np.ndarray] = {}
        for stream in STREAMS:
            path = folder / f"{stream}.parquet"
            if not path.exists():
                raise InputError(
                    f"simulated shop {folder}",
                    f"{path.name} is missing",
                    "write it with `python -m marketplace write --out DIR`",
                )
            table = pq.ParquetFile(path).read()
            self.tables[stream] = table
            self.moments[stream] = pc.cast(table["event_at"], pa.int64()).to_numpy()
        self.request = yaml.safe_load((folder / "sale_request.yaml").read_text(encoding="utf-8"))

    def page(
        self, stream: str, start: datetime | None, end: datetime | None, cursor: int, limit: int
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Records `cursor` to `cursor + limit` of a window, and the next cursor (None on the last page)."""
        moments = self.moments[stream]
        low = 0 if start is None else int(np.searchsorted(moments, _micros(start)))
        high = len(moments) if end is None else int(np.searchsorted(moments, _micros(end)))
        first = min(low + cursor, max(high, low))
        last = min(first + limit, max(high, first))
        records = _plain(self.tables[stream].slice(first, last - first)).to_pylist()
        return records, str(cursor + limit) if last < high else None


def _micros(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


def _plain(table: pa.Table) -> pa.Table:
    """Decimals and moments as text, so that JSON loses nothing."""
    for i, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            text = pc.strftime(table[field.name], format="%Y-%m-%dT%H:%M:%SZ")
            table = table.set_column(i, field.name, text)
        elif pa.types.is_decimal(field.type):
            table = table.set_column(i, field.name, table[field.name].cast(pa.string()))
    return table


def _moment(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return parse_utc(text)
    except ValueError as error:
        raise HTTPException(400, f"{name}: {text!r} is not an ISO 8601 moment") from error


def _authorised(authorization: Annotated[str | None, Header()] = None) -> None:
    token = os.environ.get("MARKETPLACE_TOKEN")
    if token and not hmac.compare_digest((authorization or "").encode(), f"Bearer {token}".encode()):
        raise HTTPException(401, "send Authorization: Bearer <token>")


def create_app(folder: Path) -> FastAPI:
    """The HTTP application over one written folder; raises InputError where a stream's file is missing."""
    data = Folder(folder)
    app = FastAPI(title="Simulated shop", docs_url=None, redoc_url=None)

    @app.get("/healthz")
    def health() -> dict[str, Any]:
        return {"status": "ok", "simulated": True}

    @app.get("/v1/sale_request", dependencies=[Depends(_authorised)])
    def sale_request() -> dict[str, Any]:
        return dict(data.request)

    @app.get("/v1/{stream}", dependencies=[Depends(_authorised)])
    def page(
        stream: str,
        start: Annotated[str | None, Query(alias="from")] = None,
        end: Annotated[str | None, Query(alias="to")] = None,
        cursor: str = "0",
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = DEFAULT_LIMIT,
    ) -> dict[str, Any]:
        if stream not in data.tables:
            raise HTTPException(404, f"no stream {stream!r}; there are {', '.join(data.tables)}")
        if not cursor.isdecimal():
            raise HTTPException(400, f"cursor: {cursor!r} was not given out by this server")
        records, following = data.page(stream, _moment("from", start), _moment("to", end), int(cursor), limit)
        return {"records": records, "next_cursor": following}

    return app
