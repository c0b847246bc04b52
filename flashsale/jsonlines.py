"""Files of JSON objects, one a line, read and written so that nothing changes that nobody meant to change.

Types are not guessed: a string that looks like a date stays a string, an integer of nineteen digits an integer, and a
column whose values share no type stays what each of them is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from flashsale.errors import InputError

SUFFIXES = (".jsonl", ".ndjson", ".json")
_HALF = re.compile("[\ud800-\udfff]")
MARK = b"\xef\xbb\xbf"  # that a text is UTF-8; some editors write it


def is_one(path: Path) -> bool:
    """Whether a file's ending says that it holds JSON Lines."""
    return path.suffix.lower() in SUFFIXES


def read(path: Path) -> list[dict[str, Any]]:
    """The objects of a file, blank lines left out. Raises InputError that names the line that is none."""
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_bytes().removeprefix(MARK).split(b"\n"), start=1):
        if not line.strip():
            continue
        problem = f"line {number} cannot be read"
        try:
            row = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise InputError(f"file {path.name}", f"{problem}: it is not UTF-8", "save it as UTF-8") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"file {path.name}", f"{problem}: {error}", "write one JSON object a line") from error
        if not isinstance(row, dict):
            raise InputError(f"file {path.name}", f"{problem}: it is no object", "write one JSON object a line")
        rows.append(row)
    return rows


def printable(value: Any) -> Any:
    """A value that every format can hold: half a surrogate pair in its strings becomes U+FFFD."""
    if isinstance(value, str):
        return _HALF.sub("\ufffd", value)
    if isinstance(value, list):
        return [printable(v) for v in value]
    return {k: printable(v) for k, v in value.items()} if isinstance(value, dict) else value


def column(values: list[Any]) -> pa.Array:
    """A column of the type all values share; where they share none, what is no string becomes JSON."""
    clean = [printable(v) for v in values]
    try:
        return pa.array(clean)
    except (pa.ArrowException, OverflowError):
        texts = [v if v is None or isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in clean]
        return pa.array(texts, pa.string())


def table(rows: list[dict[str, Any]], names: Iterable[str] = ()) -> pa.Table:
    """The rows as a table: `names` first, then other fields as they come up; what a row lacks is null."""
    every = dict.fromkeys([*names, *(name for row in rows for name in row)])
    return pa.table({name: column([row.get(name) for row in rows]) for name in every})


def line(row: Mapping[str, Any]) -> str:
    """A row as JSON with the end of its line; moments as ISO 8601, decimals as their digits.

    Raises TypeError where a value has no JSON (bytes).
    """
    text = json.dumps(row, ensure_ascii=False, default=_said)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate pair: only its escape can stand in a file
        text = json.dumps(row, default=_said)
    return text + "\n"


def _said(value: Any) -> str:
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, Decimal | timedelta):
        return str(value)
    raise TypeError(f"a value of type {type(value).__name__} has no JSON")
