"""A whole history in one go: every stream of a source and one sale request, as a replay needs them.

Unlike the daily ingestion it has no clock: what was known before the request's `as_of` counts, whatever year it is,
and the offers, stock and catalogue must be sound to the last record, since a plan would rest on what is left of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from flashsale.coerce import END, FIRST, only_repeats
from flashsale.errors import InputError
from flashsale.lake import Lake
from flashsale.request import load_request
from flashsale.times import Window
from flashsale.yaml_text import read_yaml
from flashsale_plugins.ingest import Gatekeeper, ingest_requests, ingest_stream, quarantine_of
from flashsale_plugins.sources import Source, open_source

#: Streams of which no record may be bad; of the others the gate sets bad ones aside and counts them.
STRICT = ("catalog", "regions", "campaigns", "inventory")


class RequestFile:
    """A sale request in a YAML file, wherever the events come from."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def sale_requests(self) -> list[dict[str, Any]]:
        """The one request of the file, unchecked; InputError where there is none, or more than one."""
        raw = read_yaml(self.path, f"sale request {self.path.name}")
        found = raw if isinstance(raw, list) else [raw]
        names = [str(item.get("request_id")) for item in found if isinstance(item, dict)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if len(found) != 1 or not names:
            problem = f"{len(found)} requests stand in the file" if names else "it is not a mapping of fields"
            problem = f"request {twice!r} stands more than once" if twice else problem
            raise InputError(
                f"sale request {self.path.name}", problem, "give one request a file", field="request_id", row=twice
            )
        return [found[0]]

    def read(self, stream: str, window: Window) -> pa.Table | None:
        """A request file holds no events."""
        return None


def load_source(uri: str, request: Path | None, streams: list[str], lake: Lake, key: bytes) -> dict[str, Any]:
    """Bring the streams and the request into the lake.

    Args:
        uri: address of the source.
        request: file of the request; None loads events alone, to the end of the source.
        streams: names of contracts.
        lake: where to.
        key: of the people's pseudonyms.

    Returns what `ingest_stream` says of each stream, and the request's id. Raises InputError that names field and row.
    """
    source: Source = open_source(uri)
    asked = [] if request is None else RequestFile(request).sale_requests()
    as_of = load_request(asked[0]).as_of if asked else None
    keeper = Gatekeeper(lake, key, END)
    window = Window(FIRST, as_of or END)
    found = {}
    for stream in streams:
        found[stream] = ingest_stream(source, stream, window, keeper)
        found[stream]["days"] = len(found[stream].pop("changed_days"))
        if found[stream]["quarantined"] and stream in STRICT:
            _refuse_bad(lake, stream, window)
    ids = ingest_requests(RequestFile(request), lake) if request is not None else []
    return {"streams": found, "request_id": ids[0] if ids else None}


def _refuse_bad(lake: Lake, stream: str, window: Window) -> None:
    """Raise for the first bad record that is no mere repetition of another."""
    for bad in lake.read(f"quarantine/{stream}", [quarantine_of(window)]).to_pylist():
        if only_repeats(bad["reason"]):
            continue
        raise InputError(
            f"stream {stream}",
            bad["reason"],
            bad["remedy"],
            field=bad["field"],
            row=f"{bad['row']} ({bad['event_id']})",
        )
