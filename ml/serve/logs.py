"""Logs of the service: one JSON object a line, no text of a customer, identifiers masked.

What the service itself says is made of names and numbers that it knows. Whatever comes from outside (a path, the name
of a parameter, another library's message) goes through `masked` first.
"""

from __future__ import annotations

import json
import logging
import re
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from flashsale.identifiers import mask_identifiers

LOGGER = "flashsale.serve"
_LONGEST = 200
_READ = 4000
# A path or a parameter has none of the words around a number by which running text gives it away ("order no."), so here
# every long number is hidden.
_NUMBER = re.compile(r"\d(?:[.\-_ ]?\d){5,}")


def masked(text: str) -> str:
    """`text` without identifiers, long numbers and control characters, at most 200 characters.

    It is cut after it was masked: half a number is still somebody's.
    """
    hidden = _NUMBER.sub("<number>", mask_identifiers(text[:_READ]))
    return "".join(char if char.isprintable() else " " for char in hidden)[:_LONGEST]


def masked_path(path: bytes) -> str:
    """A path as it was sent, percent signs resolved, masked."""
    return masked(unquote_to_bytes(path[:_READ]).decode("utf-8", "replace"))


def parameter_names(query: bytes) -> list[str]:
    """Names of a query's parameters, masked; the values are nobody's business but the sender's."""
    try:
        pairs = parse_qsl(query[:_READ].decode("latin-1"), keep_blank_values=True, max_num_fields=20)
    except ValueError:  # more fields than that
        return ["…"]
    return [masked(name) for name, _ in pairs]


class JsonLines(logging.Formatter):
    """A record as one JSON line: `at`, `level`, `event`, and the mapping given as `extra={"fields": …}`."""

    def format(self, record: logging.LogRecord) -> str:
        """See the class."""
        ours = record.name == LOGGER
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage() if ours else masked(record.getMessage()),
        }
        line |= {} if ours else {"logger": record.name}
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0] is not None:
            line |= {"error": record.exc_info[0].__name__, "where": _frames(record.exc_info[2])}
        return json.dumps(line, ensure_ascii=False, default=str)


def _frames(found: TracebackType | None) -> list[str]:
    """File, line and function of each call; an exception's message may hold what was sent, so it is left out."""
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(found)]


def set_up() -> None:
    """Send every logger's lines to stderr in this form."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)  # other libraries' warnings; the service itself says more
    logging.getLogger(LOGGER).setLevel(logging.INFO)
