"""Records as text columns: what a value is, the contract decides."""

from __future__ import annotations

import json
from collections.abc import Iterable
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


def only(table: pa.Table, names: Iterable[str]) -> pa.Table:
    """The columns of these names that the table has: what no contract names goes no further."""
    wanted = set(names)
    return table.select([name for name in table.column_names if name in wanted])


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return str(printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
