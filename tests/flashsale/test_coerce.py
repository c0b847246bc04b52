"""Raw records to the contract's types: exact where they fit, set aside with field, row and remedy where not."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from flashsale.coerce import Faults, coerce, find_duplicates, find_future, split
from flashsale.contracts import load_contract
from flashsale.errors import InputError

GOOD = {
    "event_id": ["e1", "e2"],
    "event_at": ["2026-01-01T10:00:00Z", "2026-01-01T18:00:00+08:00"],
    "order_id": ["o1", "o2"],
    "line_no": ["1", "1"],
    "user_id": ["u", "v"],
    "sku_id": ["s", "s"],
    "region_id": ["r", "r"],
    "quantity": ["2", "1"],
    "unit_price": ["19.9", "5"],
    "paid_amount": ["39.80", "5.00"],
    "status": ["placed", "placed"],
}


def table(**changes: list[object]) -> pa.Table:
    return pa.table({k: pa.array(v) for k, v in {**GOOD, **changes}.items()})


def test_text_becomes_typed_and_zones_become_utc() -> None:
    rows, faults = coerce(table(), load_contract("orders"))
    assert not faults.by_row
    assert rows["event_at"].to_pylist() == [datetime(2026, 1, 1, 10, tzinfo=UTC)] * 2
    assert rows["unit_price"].to_pylist() == [Decimal("19.90"), Decimal("5.00")]
    assert rows["promo_type"].to_pylist() == [None, None]
    assert rows.schema.names == load_contract("orders").arrow_schema().names


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("quantity", "two", "'two' is not a int32"),
        ("quantity", "1.5", "'1.5' is not a int32"),
        ("quantity", "99999999999", "is not a int32"),
        ("unit_price", "cheap", "'cheap' is not a decimal"),
        ("unit_price", "1e30", "is not a decimal"),
        ("event_at", "yesterday", "'yesterday' is not a timestamp"),
    ],
)
def test_a_wrong_value_costs_its_row_alone(field: str, value: str, words: str) -> None:
    raw = table(**{field: [value, GOOD[field][1]]})
    rows, faults = coerce(raw, load_contract("orders"))
    good, bad = split(rows, raw, faults)
    assert good["event_id"].to_pylist() == ["e2"]
    record = bad.to_pylist()[0]
    assert (record["row"], record["field"], record["event_id"]) == (0, field, "e1")
    assert words in record["reason"] and record["remedy"]
    assert json.loads(record["record"])[field] == value


def test_a_missing_column_names_stream_field_and_remedy() -> None:
    with pytest.raises(InputError, match=r"stream orders, field 'quantity': the column is missing.*deliver quantity"):
        coerce(table().drop_columns(["quantity"]), load_contract("orders"))


def test_typed_sources_are_taken_as_they_are() -> None:
    typed = table(
        event_at=[datetime(2026, 1, 1, 10), datetime(2026, 1, 1, 11)],
        unit_price=[19.9, 5.0],
        quantity=[2, 1],
        line_no=[1, 1],
        paid_amount=[Decimal("39.80"), Decimal("5.00")],
    )
    rows, faults = coerce(typed, load_contract("orders"))
    assert not faults.by_row
    assert rows["event_at"][1].as_py() == datetime(2026, 1, 1, 11, tzinfo=UTC)
    assert rows["unit_price"].to_pylist() == [Decimal("19.90"), Decimal("5.00")]


def test_the_first_of_two_equal_ids_stays() -> None:
    rows, faults = coerce(table(event_id=["e1", "e1"]), load_contract("orders"))
    find_duplicates(rows, faults)
    words = "repeats event_id of row 0 with other content"
    assert faults.by_row == {1: ("event_id", words, "give every record its own event_id")}
    twin, faults = pa.concat_tables([rows.slice(0, 1)] * 2), Faults()
    find_duplicates(twin, faults)
    assert faults.by_row[1][1] == "repeats event_id of row 0"


def test_an_event_of_the_future_is_set_aside() -> None:
    rows, faults = coerce(table(), load_contract("orders"))
    find_future(rows, datetime(2025, 12, 31, tzinfo=UTC), faults)
    assert set(faults.by_row) == {0, 1} and "lies in the future" in faults.by_row[0][1]
