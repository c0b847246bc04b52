"""A whole history in one go: strict where a plan would rest on a bad record, lenient where it would not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from flashsale.errors import InputError
from flashsale.lake import Lake
from flashsale_plugins.load import RequestFile, load_source


def events_with(shop: Path, folder: Path, stream: str, change: dict[str, Any], row: int = 1) -> str:
    """A folder source of one stream in which one record is changed; returns the record's event_id."""
    folder.mkdir()
    rows = pq.read_table(shop / f"{stream}.parquet").slice(0, 200).to_pylist()
    rows[row].update(change)
    (folder / f"{stream}.jsonl").write_text("\n".join(json.dumps(r, default=str) for r in rows))
    return str(rows[row]["event_id"])


@pytest.mark.parametrize(
    ("stream", "change", "field"),
    [
        ("inventory", {"on_hand": -3}, "on_hand"),
        ("catalog", {"unit_cost": None}, "unit_cost"),
        ("campaigns", {"ends_at": "2001-01-01T00:00:00Z"}, "ends_after_start"),
        ("campaigns", {"allocated_units": -1}, "allocated_units"),
    ],
)
def test_a_bad_record_is_named_with_its_row(
    small_shop: Path, tmp_path: Path, stream: str, change: dict[str, Any], field: str
) -> None:
    name = events_with(small_shop, tmp_path / "events", stream, change)
    lake = Lake(str(tmp_path / "lake"))
    with pytest.raises(InputError) as error:
        load_source(str(tmp_path / "events"), None, [stream], lake, b"key")
    assert error.value.field == field
    if stream != "catalog":  # with one of six records bad the gate itself refuses the stream
        assert error.value.row == f"1 ({name})"


def test_a_bad_order_is_set_aside_and_counted(small_shop: Path, tmp_path: Path) -> None:
    events_with(small_shop, tmp_path / "events", "orders", {"quantity": 0})
    lake = Lake(str(tmp_path / "lake"))
    found = load_source(str(tmp_path / "events"), None, ["orders"], lake, b"key")["streams"]["orders"]
    assert (found["rows"], found["quarantined"]) == (199, 1)


def test_nothing_after_as_of_is_read(small_shop: Path, tmp_path: Path) -> None:
    import yaml

    request = yaml.safe_load((small_shop / "sale_request.yaml").read_text())
    table = pq.read_table(small_shop / "inventory.parquet")
    moments = sorted(table["event_at"].to_pylist())
    request["as_of"] = moments[len(moments) // 2].isoformat()
    (tmp_path / "request.yaml").write_text(yaml.safe_dump(request))
    lake = Lake(str(tmp_path / "lake"))
    found = load_source(str(small_shop), tmp_path / "request.yaml", ["inventory"], lake, b"key")
    wanted = sum(moment < moments[len(moments) // 2] for moment in moments)
    assert found["streams"]["inventory"]["rows"] == wanted
    assert found["request_id"] == request["request_id"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- {request_id: a}\n- {request_id: a}\n", "'a' stands more than once"),
        ("- {request_id: a}\n- {request_id: b}\n", "2 requests"),
        ("just words\n", "no mapping"),
    ],
)
def test_a_file_holds_one_request(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "request.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=words.replace("no mapping", "not a mapping")):
        RequestFile(path).sale_requests()
