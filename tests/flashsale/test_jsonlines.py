"""JSON Lines in and out: nothing changes that nobody meant to change, and a bad line is named."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flashsale import jsonlines
from flashsale.errors import InputError


def test_types_are_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    lines = ['{"id": 1234567890123456789, "day": "2024-01-01", "x": 1}', "", '{"x": "a", "text": "好\\ud83d"}\r']
    path.write_bytes(b"\xef\xbb\xbf" + "\n".join(lines).encode())
    table = jsonlines.table(jsonlines.read(path))
    assert table.to_pylist() == [
        {"id": 1234567890123456789, "day": "2024-01-01", "x": "1", "text": None},
        {"id": None, "day": None, "x": "a", "text": "好�"},
    ]
    assert table.schema.field("id").type == pa.int64() and table.schema.field("day").type == pa.string()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": ', "line 2 cannot be read: .*write one JSON object a line"),
        ("性价比".encode("gbk"), "line 2 cannot be read: it is not UTF-8.*save it as UTF-8"),
        (b"[1]", "line 2 cannot be read: it is no object"),
        (b"[" * 100_000, "line 2 cannot be read"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"text": "a"}\n' + line + b"\n")
    with pytest.raises(InputError, match=message):
        jsonlines.read(path)


def test_a_line_says_what_the_row_holds() -> None:
    row: dict[str, Any] = {
        "at": datetime(2026, 1, 2, 3, 4, 5, 678901, UTC), "sum": Decimal("12345678.12"), "small": 1e-12, "text": "好\ud83d",
    }  # fmt: skip
    said = json.loads(jsonlines.line(row).encode())
    assert said == {
        "at": "2026-01-02T03:04:05.678901+00:00", "sum": "12345678.12", "small": 1e-12, "text": "好\ud83d",
    }  # fmt: skip
    with pytest.raises(TypeError, match="bytes"):
        jsonlines.line({"raw": b"x"})
