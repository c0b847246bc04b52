"""Sources of raw events: a folder, an HTTP endpoint, PostgreSQL tables. `open_source(uri)` picks by address."""

from __future__ import annotations

import os
from typing import Any, Protocol

import pyarrow as pa

from flashsale.errors import InputError
from flashsale.times import Window

#: Column of a raw table that carries a source's own complaint about a record (a line that is not JSON).
FAULT_COLUMN = "__fault__"


class Source(Protocol):
    """Where raw events come from."""

    def read(self, stream: str, window: Window) -> pa.Table | None:
        """Records of the stream that may lie in the window, in the source's own types; None: no such stream."""

    def sale_requests(self) -> list[dict[str, Any]]:
        """Sale requests the source holds, unchecked."""


def open_source(uri: str, *, token: str | None = None) -> Source:
    """The source at a folder path, an `http(s)://` address or a `postgresql://` address.

    `token` (or `FLASHSALE_SOURCE_TOKEN`) is sent to HTTP sources as a bearer token.
    """
    if uri.startswith(("http://", "https://")):
        from flashsale_plugins.sources.http import HttpSource

        return HttpSource(uri, token=token or os.environ.get("FLASHSALE_SOURCE_TOKEN"))
    if uri.startswith(("postgresql://", "postgres://")):
        from flashsale_plugins.sources.postgres import PostgresSource

        return PostgresSource(uri)
    if "://" in uri and not uri.startswith("file://"):
        raise InputError(f"source {uri}", "has a scheme nobody reads", "give a folder, http(s):// or postgresql://")
    from flashsale_plugins.sources.folder import FolderSource

    return FolderSource(uri.removeprefix("file://"))
