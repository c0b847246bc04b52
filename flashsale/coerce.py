"""Raw records to a contract's types: what fits goes on, what does not is set aside with the reason.

Pure: Arrow table in, two Arrow tables out. A missing column stops the stream with an InputError; a bad value costs
its row alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flashsale.contracts import Contract, FieldRule, decimal_of
from flashsale.errors import InputError
from flashsale.times import parse_utc

QUARANTINE_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64()),
        pa.field("event_id", pa.string()),
        pa.field("field", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("remedy", pa.string()),
        pa.field("record", pa.string()),
    ]
)


@dataclass
class Faults:
    """Faults by row: the first one of a row is the reason it is set aside."""

    by_row: dict[int, tuple[str, str, str]] = field(default_factory=dict)

    def add(self, row: int, name: str, reason: str, remedy: str) -> None:
        """Record a fault unless the row already has one."""
        self.by_row.setdefault(row, (name, reason, remedy))


def _one_timestamp(value: Any) -> datetime:
    if isinstance(value, datetime):
        return parse_utc(value)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return parse_utc(str(value))


def _one_decimal(value: Any, precision: int, scale: int) -> Decimal:
    exact = Decimal(str(value)).quantize(Decimal(1).scaleb(-scale), rounding=ROUND_HALF_EVEN)
    if not exact.is_finite() or len(exact.as_tuple().digits) > precision:
        raise ValueError("out of range")
    return exact


def _one_integer(value: Any) -> int:
    number = Decimal(str(value))
    if number != number.to_integral_value():
        raise ValueError("not a whole number")
    return int(number)


def _one(value: Any, rule: FieldRule) -> Any:
    if rule.type == "string":
        return str(value)
    if rule.type == "timestamp":
        return _one_timestamp(value)
    if rule.type.startswith("decimal("):
        return _one_decimal(value, *decimal_of(rule.type))
    return _one_integer(value)


def _fast(column: pa.ChunkedArray, rule: FieldRule) -> pa.ChunkedArray:
    """The whole column in one cast; raises ArrowInvalid where any value does not fit."""
    source, target = column.type, rule.arrow_type()
    if pa.types.is_null(source):
        return pa.chunked_array([pa.nulls(len(column), target)])
    if rule.type == "timestamp" and not pa.types.is_timestamp(source):
        raise pa.ArrowInvalid("text timestamps have many spellings")
    if rule.type == "timestamp" and source.tz is None:
        return pc.assume_timezone(column.cast(pa.timestamp("us")), "UTC")
    if rule.type.startswith("decimal(") and pa.types.is_floating(source):
        return pc.round(column, decimal_of(rule.type)[1]).cast(target)
    if rule.type == "string" and not (pa.types.is_string(source) or pa.types.is_large_string(source)):
        return column.cast(pa.string())
    return column.cast(target)


def _iso_timestamps(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """ISO 8601 text with `Z` or an offset, vectorised; raises where a value is spelled otherwise."""
    text = pc.replace_substring_regex(column.cast(pa.string()), pattern=r"Z$", replacement="+00:00")
    return text.cast(pa.timestamp("us", tz="UTC"))


def coerce_column(column: pa.ChunkedArray, rule: FieldRule, faults: Faults) -> pa.ChunkedArray:
    """A column in the contract's type; values that do not fit become null and are recorded in `faults`."""
    try:
        return _iso_timestamps(column) if rule.type == "timestamp" and _is_text(column) else _fast(column, rule)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return _slow(column, rule, faults)


def _is_text(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_string(column.type) or pa.types.is_large_string(column.type))


def _slow(column: pa.ChunkedArray, rule: FieldRule, faults: Faults) -> pa.ChunkedArray:
    values: list[Any] = []
    for row, value in enumerate(column.to_pylist()):
        if value is None or (value == "" and rule.type != "string"):
            values.append(None)
            continue
        try:
            # through Arrow one by one: a value may be valid Python and still not fit the type's range
            values.append(pa.scalar(_one(value, rule), rule.arrow_type()).as_py())
        except (ValueError, InvalidOperation, ArithmeticError, pa.ArrowInvalid):
            values.append(None)
            faults.add(row, rule.name, f"{str(value)[:60]!r} is not a {rule.type}", f"send {rule.name} as {rule.type}")
    return pa.chunked_array([pa.array(values, rule.arrow_type())])


def coerce(raw: pa.Table, contract: Contract) -> tuple[pa.Table, Faults]:
    """The raw table in the contract's types and order, one row per raw row, with the faults found.

    Nullable fields may be absent. Raises InputError that names the stream, the field and the remedy where a required
    column is missing.
    """
    faults, columns = Faults(), []
    for rule in contract.fields:
        if rule.name in raw.column_names:
            columns.append(coerce_column(raw[rule.name], rule, faults))
        elif rule.nullable:
            columns.append(pa.chunked_array([pa.nulls(raw.num_rows, rule.arrow_type())]))
        else:
            raise InputError(
                f"stream {contract.stream}",
                "the column is missing",
                f"deliver {rule.name} ({rule.type}: {rule.description})",
                field=rule.name,
            )
    loose = pa.schema([pa.field(f.name, f.arrow_type()) for f in contract.fields])
    return pa.table(columns, schema=loose), faults


def find_duplicates(table: pa.Table, faults: Faults) -> None:
    """Every later record that repeats an `event_id` is a fault; the first stays."""
    seen: dict[str, int] = {}
    counts = pc.value_counts(table["event_id"].combine_chunks())
    repeated = {item["values"] for item in counts.to_pylist() if item["counts"] > 1} - {None}
    if not repeated:
        return
    for row, event_id in enumerate(table["event_id"].to_pylist()):
        if event_id in repeated:
            first = seen.setdefault(event_id, row)
            if first != row:
                faults.add(row, "event_id", f"repeats event_id of row {first}", "give every record its own event_id")


def find_future(table: pa.Table, latest: datetime, faults: Faults) -> None:
    """Every event later than `latest` is a fault."""
    late = pc.fill_null(pc.greater(table["event_at"], pa.scalar(latest, pa.timestamp("us", tz="UTC"))), False)
    # not `indices_nonzero`: on a chunked array without rows it never returns (pyarrow 25)
    for row in np.flatnonzero(late.to_numpy()).tolist():
        when = table["event_at"][row].as_py()
        faults.add(row, "event_at", f"{when.isoformat()} lies in the future", "correct the source's clock or time zone")


def split(table: pa.Table, raw: pa.Table, faults: Faults) -> tuple[pa.Table, pa.Table]:
    """Good rows in the contract's schema, and the quarantine table with each bad record and its reason."""
    if not faults.by_row:
        return table, QUARANTINE_SCHEMA.empty_table()
    bad = sorted(faults.by_row)
    mask = [True] * table.num_rows
    for row in bad:
        mask[row] = False
    records = raw.take(pa.array(bad)).to_pylist()
    ids = table["event_id"].take(pa.array(bad)).to_pylist()
    rows = [
        {
            "row": row,
            "event_id": ids[i],
            "field": faults.by_row[row][0],
            "reason": faults.by_row[row][1],
            "remedy": faults.by_row[row][2],
            "record": json.dumps(records[i], default=str, ensure_ascii=False, sort_keys=True),
        }
        for i, row in enumerate(bad)
    ]
    return table.filter(pa.array(mask)), pa.Table.from_pylist(rows, schema=QUARANTINE_SCHEMA)
