"""Raw records to a contract's types: what fits goes on, what does not is set aside with the reason.

Pure: Arrow table in, two Arrow tables out. A missing column stops the stream with an InputError; a bad value costs
its row alone.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
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


#: Moments that an event may have; what is given in milliseconds since 1970 often reads as a year far outside.
FIRST, END = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
#: Strings that may be empty; elsewhere an empty one is a missing one, as in CSV.
MAY_BE_EMPTY = ("text", "title")
_REPEATS, _OTHERWISE = "repeats event_id of row", " with other content"
_DIGITS, _PLAIN = re.compile(r"\d{9,}"), re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


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
    if not isinstance(value, str) or _DIGITS.fullmatch(value.strip()):
        raise ValueError("seconds since when, nobody said")  # the basic form of ISO 8601 would read them as a year
    return parse_utc(value)


def _number(value: Any) -> Decimal:
    """A number written as people write one: no truth values, no hexadecimal digits, no underscores."""
    if isinstance(value, bool | timedelta) or not _PLAIN.fullmatch(text := str(value).strip()):
        raise ValueError("not a number")
    return Decimal(text)


def _one_decimal(value: Any, precision: int, scale: int) -> Decimal:
    exact = _number(value).quantize(Decimal(1).scaleb(-scale), rounding=ROUND_HALF_EVEN)
    if not exact.is_finite() or len(exact.as_tuple().digits) > precision:
        raise ValueError("out of range")
    return exact


def _one_integer(value: Any) -> int:
    number = _number(value)
    if number.adjusted() > 18 or number != number.to_integral_value():
        raise ValueError("not a whole number")
    return int(number)


def _one(value: Any, rule: FieldRule) -> Any:
    if rule.type == "string":
        if isinstance(value, dict | list):
            raise ValueError("no text")
        return value.decode("utf-8") if isinstance(value, bytes) else str(value)
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
    if rule.type not in ("string", "timestamp"):
        if pa.types.is_boolean(source) or pa.types.is_duration(source):
            raise pa.ArrowInvalid("no numbers")
        if _is_text(column) and pc.any(pc.match_substring_regex(column, "[xX_]")).as_py():
            raise pa.ArrowInvalid("Arrow would read hexadecimal digits")
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
        found = _iso_timestamps(column) if rule.type == "timestamp" and _is_text(column) else _fast(column, rule)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        found = _slow(column, rule, faults)
    if rule.type == "timestamp":
        return _in_time(found, rule, faults)
    if rule.type == "string" and rule.name not in MAY_BE_EMPTY:
        return pc.if_else(pc.equal(found, ""), None, found)
    return found


def _in_time(column: pa.ChunkedArray, rule: FieldRule, faults: Faults) -> pa.ChunkedArray:
    """The column without moments that no event has; they are recorded as faults."""
    first, end = (pa.scalar(moment, column.type) for moment in (FIRST, END))
    odd = pc.fill_null(pc.or_(pc.less(column, first), pc.greater_equal(column, end)), False)
    if not pc.any(odd).as_py():
        return column
    for row in np.flatnonzero(odd.to_numpy()).tolist():
        words = f"lies outside {FIRST.year} to {END.year - 1}"
        faults.add(row, rule.name, words, f"send {rule.name} as ISO 8601, such as 2026-11-11T08:00:00Z")
    return pc.if_else(odd, None, column)


def _is_text(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_string(column.type) or pa.types.is_large_string(column.type))


def _listed(column: pa.ChunkedArray) -> list[Any]:
    try:
        return list(column.to_pylist())
    except (OverflowError, ValueError):  # moments in years that Python has none for
        return list(column.cast(pa.string()).to_pylist())


def _slow(column: pa.ChunkedArray, rule: FieldRule, faults: Faults) -> pa.ChunkedArray:
    values: list[Any] = []
    for row, value in enumerate(_listed(column)):
        if value is None or (value == "" and rule.type != "string"):
            values.append(None)
            continue
        try:
            # through Arrow one by one: a value may be valid Python and still not fit the type's range
            values.append(pa.scalar(_one(value, rule), rule.arrow_type()).as_py())
        except (ValueError, ArithmeticError, pa.ArrowInvalid):
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
    """Every later record that repeats the `event_id` of a good one is a fault; the first stays.

    The reason says so where the two differ in more than their id: then one of them is lost.
    """
    seen: dict[str, tuple[int, dict[str, Any]]] = {}
    counts = pc.value_counts(table["event_id"].combine_chunks())
    repeated = {item["values"] for item in counts.to_pylist() if item["counts"] > 1} - {None}
    if not repeated:
        return
    ids = table["event_id"].to_pylist()
    places = [row for row, event_id in enumerate(ids) if event_id in repeated and row not in faults.by_row]
    for row, record in zip(places, table.take(pa.array(places, pa.int64())).to_pylist(), strict=True):
        first, kept = seen.setdefault(record["event_id"], (row, record))
        if first != row:
            words = f"{_REPEATS} {first}{'' if record == kept else _OTHERWISE}"
            faults.add(row, "event_id", words, "give every record its own event_id")


def only_repeats(reason: str) -> bool:
    """Whether a record was set aside for repeating another one letter for letter: nothing is lost by it."""
    return reason.startswith(_REPEATS) and not reason.endswith(_OTHERWISE)


def find_future(table: pa.Table, latest: datetime, faults: Faults) -> None:
    """Every event later than `latest` is a fault."""
    late = pc.fill_null(pc.greater(table["event_at"], pa.scalar(latest, pa.timestamp("us", tz="UTC"))), False)
    # not `indices_nonzero`: on a chunked array without rows it never returns (pyarrow 25)
    for row in np.flatnonzero(late.to_numpy()).tolist():
        when = table["event_at"][row].as_py()
        faults.add(row, "event_at", f"{when.isoformat()} lies in the future", "correct the source's clock or time zone")


def _sayable(raw: pa.Table) -> pa.Table:
    """The table with moments as text: Arrow's may lie in years that Python has none for."""
    for place, field_ in enumerate(raw.schema):
        if pa.types.is_timestamp(field_.type):
            plain = raw[field_.name].cast(pa.timestamp(field_.type.unit)).cast(pa.string())
            raw = raw.set_column(place, field_.name, plain)
    return raw


def split(table: pa.Table, raw: pa.Table, faults: Faults) -> tuple[pa.Table, pa.Table]:
    """Good rows in the contract's schema, and the quarantine table with each bad record and its reason."""
    if not faults.by_row:
        return table, QUARANTINE_SCHEMA.empty_table()
    bad = sorted(faults.by_row)
    mask = [True] * table.num_rows
    for row in bad:
        mask[row] = False
    records = _sayable(raw.take(pa.array(bad))).to_pylist()
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
