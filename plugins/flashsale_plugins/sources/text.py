"""Records as text columns: what a value is, the contract decides."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from flashsale.jsonlines import printable


def exact(text: str) -> Any:
    """A JSON value whose numbers stay as they were written, so that no digit of an id or a price is lost."""
    return json.loads(text, parse_int=str, parse_float=str)


def text_table(records: list[dict[str, Any]]) -> pa.Table:
    """One text column a name in the order they come up; what a record lacks is null, objects and lists are JSON."""
    names = list(dict.fromkeys(name for record in records for name in record))
    columns = [pa.array([_text(record.get(name)) for record in records], pa.string()) for name in names]
    return pa.table(columns, names=[str(printable(name)) for name in names])


def joined(tables: list[pa.Table]) -> pa.Table:
    """Parts of one stream as one table; parts that spell a column differently meet as text."""
    try:
        return pa.concat_tables(tables, promote_options="default")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.concat_tables([_as_text(part) for part in tables], promote_options="default")


def column(values: list[Any]) -> pa.Array:
    """Values of one column in their own type, as text where they share none."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([None if value is None else str(printable(str(value))) for value in values], pa.string())


def _as_text(table: pa.Table) -> pa.Table:
    return pa.table({name: _said(table[name]) for name in table.column_names})


def _said(values: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return values.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # lists and objects
        return pa.chunked_array([pa.array([_text(value) for value in values.to_pylist()], pa.string())])


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return str(printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)))
