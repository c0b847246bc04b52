"""What strangers deliver: nothing is guessed, nothing is left out without a word, and every refusal names its place."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flashsale.errors import InputError
from flashsale_plugins.load import load_source
from flashsale_plugins.sources.folder import FolderSource, read_file
from tests.plugins.test_ingest import JANUARY, World, orders


def held(world: World, name: str) -> list[Any]:
    return sorted(world.lake.read("raw/orders")[name].to_pylist())


@pytest.fixture()
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_ids_stay_as_they_were_written(world: World) -> None:
    """Twenty digits, what looks like a day, and numbers beside text: an id is no quantity."""
    rows = orders(9)
    for i, row in enumerate(rows):
        row |= {"order_id": 20000000000000000000 + i, "sku_id": "2026-11-11", "user_id": 1234567890123456789 + i}
    rows[0] |= {"sku_id": "0001"}
    world.put(rows)
    assert world.load()["rows"] == 9
    assert held(world, "order_id") == [str(20000000000000000000 + i) for i in range(9)]
    assert set(held(world, "sku_id")) == {"2026-11-11", "0001"} and len(set(held(world, "user_id"))) == 9


def test_a_line_that_is_not_utf8_or_nested_without_end_costs_itself_alone(world: World) -> None:
    rows = [json.dumps(row) for row in orders(12)]
    rows[0] = "\ufeff" + rows[0]
    path = world.folder / "orders.jsonl"
    odd = [rows[-1].replace("s1", "caf\u00e9").encode("latin-1"), b'{"event_id": ' + b"[" * 20_000]
    path.write_bytes(b"\r\n".join([*(row.encode() for row in rows[:-1]), *odd]))
    found = world.load()
    assert (found["rows"], found["quarantined"]) == (11, 2)
    assert [bad["reason"][:24] for bad in world.quarantine()] == [
        "line 12 of orders.jsonl ",
        "line 13 of orders.jsonl ",
    ]
    path.write_text(json.dumps(orders(3)))
    with pytest.raises(InputError, match=r"file orders.jsonl: line 1 .* holds a list.*one JSON object a line"):
        world.load()


def test_half_an_emoji_does_not_stop_a_stream(world: World) -> None:
    rows = [json.dumps({**row, "region_id": "r\ud83d" if i == 3 else "r1"}) for i, row in enumerate(orders())]
    (world.folder / "orders.jsonl").write_text("\n".join(rows))
    assert world.load()["rows"] == 12 and "r\ufffd" in held(world, "region_id")


@pytest.mark.parametrize("name", ["a.txt", "b.csv.gz", "c"])
def test_a_file_that_nobody_reads_is_named(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "orders"
    (folder / "deeper").mkdir(parents=True)
    (folder / "A.CSV").write_text("event_id\ne1\n")
    (folder / "deeper" / "b.json").write_text('{"event_id": "e2"}')
    (folder / "_SUCCESS").write_text("")
    (folder / ".part.crc").write_text("x")
    source = FolderSource(str(tmp_path))
    assert sorted(source.read("orders", JANUARY)["event_id"].to_pylist()) == ["e1", "e2"]
    (folder / name).write_bytes(gzip.compress(b"event_id\ne3\n"))
    with pytest.raises(InputError, match=f"file {name}: has an ending that nobody reads"):
        source.read("orders", JANUARY)


def test_files_beside_the_folder_are_seen_too_and_links_are_followed(tmp_path: Path) -> None:
    far, source = tmp_path / "far", tmp_path / "source"
    far.mkdir()
    pq.write_table(pa.table({"event_id": ["e1"]}), far / "part-0.parquet")
    (source / "orders").mkdir(parents=True)
    (source / "orders" / "2026").symlink_to(far)
    (source / "orders" / "again").symlink_to(source / "orders")  # a circle
    found = FolderSource(str(source))
    assert found.read("orders", JANUARY)["event_id"].to_pylist() == ["e1"]
    (source / "reviews.parquet").mkdir()
    (source / "reviews.parquet" / "part-0.parquet").symlink_to(far / "part-0.parquet")
    assert found.read("reviews", JANUARY).num_rows == 1
    (source / "traffic.csv").symlink_to(tmp_path / "nowhere")
    (source / "catalog.csv.gz").write_bytes(b"x")
    for stream, words in [("traffic", "link to nothing"), ("catalog", "has an ending")]:
        with pytest.raises(InputError, match=words):
            found.read(stream, JANUARY)


def test_a_column_that_stands_twice_is_named(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("event_id,sku_id,sku_id\ne1,a,b\n")
    with pytest.raises(InputError, match="field 'sku_id'.*the column stands twice"):
        FolderSource(str(tmp_path)).read("orders", JANUARY)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event_at", 1712011200000),  # milliseconds read as the year 1712, were they ISO 8601
        ("event_at", "1712011200000"),
        ("event_at", "0001-01-01T00:00:00+08:00"),
        ("quantity", "0x10"),
        ("quantity", "1_0"),
        ("quantity", True),
        ("quantity", "1e99999999"),
        ("unit_price", "1_000"),
        ("sku_id", ""),
        ("sku_id", None),
    ],
)
def test_what_could_be_read_in_two_ways_is_set_aside(world: World, field: str, value: Any) -> None:
    rows = orders()
    rows[3][field] = value
    world.put(rows)
    found = world.load()
    assert (found["rows"], found["quarantined"]) == (11, 1)
    assert world.quarantine()[0]["field"] == field


def test_moments_of_parquet_far_outside_are_set_aside_not_lost(world: World) -> None:
    rows = orders()
    table = pa.Table.from_pylist(rows)
    far = [1_767_261_600_000_000 if i == 3 else 1_767_261_600_000 for i in range(12)]  # one in the year 55,000
    at = pa.array(far, pa.int64()).cast(pa.timestamp("ms"))
    pq.write_table(table.set_column(1, "event_at", at), world.folder / "orders.parquet")
    found = world.load()
    assert (found["rows"], found["quarantined"]) == (11, 1)
    assert "lies outside 1970" in world.quarantine()[0]["reason"]


def test_nothing_that_no_contract_names_reaches_quarantine(world: World) -> None:
    rows = [{**row, "email": "ann@example.org"} for row in orders()]
    rows[0]["quantity"] = -1
    world.put(rows)
    assert world.load()["quarantined"] == 1
    assert "ann@" not in str(world.quarantine()) and "quantity" in world.quarantine()[0]["record"]


def test_a_bad_record_does_not_stand_for_its_good_twin(world: World) -> None:
    rows = orders()
    world.put([{**rows[0], "quantity": "many"}, *rows])
    found = world.load()
    assert (found["rows"], found["quarantined"]) == (12, 1)


def test_a_strict_stream_loses_no_record_to_a_reused_or_missing_id(small_shop: Path, tmp_path: Path) -> None:
    rows = pq.read_table(small_shop / "inventory.parquet").slice(0, 60).to_pylist()
    source, lake = tmp_path / "events", World(tmp_path).lake
    source.mkdir()

    def load(change: dict[str, Any]) -> dict[str, Any]:
        changed = [*rows, {**rows[1], **change}]
        (source / "inventory.jsonl").write_text("\n".join(json.dumps(r, default=str) for r in changed))
        return load_source(str(source), None, ["inventory"], lake, b"key")["streams"]["inventory"]

    for change, words in [({"on_hand": 987654}, "with other content"), ({"event_id": None}, "event_id")]:
        with pytest.raises(InputError, match=words):
            load(change)
    assert load({})["rows"] == 60  # delivered twice, letter for letter


def test_two_requests_of_one_id_are_refused_and_none_is_half_read(tmp_path: Path, small_shop: Path) -> None:
    from flashsale_plugins.ingest import ingest_requests

    text = (small_shop / "sale_request.yaml").read_text()
    path, lake = tmp_path / "sale_request.yaml", World(tmp_path).lake
    path.write_text("- " + text.replace("\n", "\n  ").rstrip() + "\n- 7\n")
    with pytest.raises(InputError, match="row 1.*not a mapping"):
        ingest_requests(FolderSource(str(tmp_path)), lake)
    item = "- " + text.replace("\n", "\n  ").rstrip() + "\n"
    path.write_text(item * 2)
    with pytest.raises(InputError, match="'request_id', row 1.*stands more than once"):
        ingest_requests(FolderSource(str(tmp_path)), lake)
    assert lake.partitions("raw/sale_requests") == {}, "nor was the first of them written"
    path.write_text(item)
    assert len(ingest_requests(FolderSource(str(tmp_path)), lake)) == len(lake.partitions("raw/sale_requests")) == 1


def test_a_quote_that_is_never_closed_is_found(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    path.write_text('event_id,text\ne1,"two\nlines"\ne2,"dim\ne3,bright\n')
    with pytest.raises(InputError, match="from line 4 on is never closed"):
        read_file(path)
    path.write_text('event_id,text\ne1,5" wide\ne2,"two\nlines"\n')
    assert read_file(path)["text"].to_pylist() == ['5" wide', "two\nlines"]
