"""One stream of one interval: what is good is committed, what is bad is set aside, what is broken stops its stream."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flashsale.errors import InputError
from flashsale.lake import Lake
from flashsale.times import Window
from flashsale_plugins.ingest import Gatekeeper, ingest_requests, ingest_stream, window_of
from flashsale_plugins.sources import open_source

JANUARY = Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 4, tzinfo=UTC))


def orders(count: int = 12) -> list[dict[str, Any]]:
    return [
        {
            "event_id": f"e{i:02}",
            "event_at": f"2026-01-0{1 + i % 3}T10:00:00Z",
            "order_id": f"o{i}",
            "line_no": 1,
            "user_id": f"alice-{i % 2}",
            "sku_id": "s1",
            "region_id": "r1",
            "quantity": 1,
            "unit_price": "5.00",
            "paid_amount": "5.00",
            "status": "placed",
        }
        for i in range(count)
    ]


class World:
    """A folder source and a lake beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "source"
        self.folder.mkdir()
        self.lake = Lake(str(folder / "lake"))
        self.keeper = Gatekeeper(self.lake, b"key", datetime(2026, 6, 1, tzinfo=UTC), folder / "docs")

    def put(self, rows: list[dict[str, Any]], stream: str = "orders") -> None:
        (self.folder / f"{stream}.jsonl").write_text("\n".join(json.dumps(r) for r in rows) + "\n")

    def load(self, stream: str = "orders", window: Window = JANUARY) -> dict[str, Any]:
        return ingest_stream(open_source(str(self.folder)), stream, window, self.keeper)

    def quarantine(self, stream: str = "orders") -> list[dict[str, Any]]:
        return self.lake.read(f"quarantine/{stream}").to_pylist()


@pytest.fixture()
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_partition_a_day_and_no_second_copy(world: World) -> None:
    world.put(orders())
    first = world.load()
    hashes = {p: m.content_hash for p, m in world.lake.partitions("raw/orders").items()}
    assert (first["rows"], first["quarantined"], len(first["changed_days"])) == (12, 0, 3)
    assert list(hashes) == ["date=2026-01-01", "date=2026-01-02", "date=2026-01-03"]
    again = world.load()
    assert again["changed_days"] == []
    assert {p: m.content_hash for p, m in world.lake.partitions("raw/orders").items()} == hashes
    assert list((Path(world.lake.root) / "raw/orders/date=2026-01-01").iterdir()).__len__() == 2


def test_one_go_and_day_by_day_give_the_same_lake(world: World, tmp_path: Path) -> None:
    world.put(list(reversed(orders())))
    world.load()
    (tmp_path / "other").mkdir()
    daily = World(tmp_path / "other")
    daily.put(orders())
    for day in JANUARY.days():
        daily.load(window=Window.of_days(day, day))
    one, other = world.lake.partitions("raw/orders"), daily.lake.partitions("raw/orders")
    assert {p: m.content_hash for p, m in one.items()} == {p: m.content_hash for p, m in other.items()}


def test_an_interval_without_records_commits_nothing(world: World) -> None:
    world.put(orders())
    quiet = Window(datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 2, 2, tzinfo=UTC))
    outcome = world.load(window=quiet)
    assert (outcome["rows"], outcome["quarantined"], outcome["changed_days"]) == (0, 0, [])
    assert world.lake.partitions("raw/orders") == {}


def test_late_records_publish_only_their_day(world: World) -> None:
    world.put(orders())
    world.load()
    world.put([*orders(), {**orders()[0], "event_id": "late", "order_id": "late"}])
    changed = world.load(
        window=window_of(datetime(2026, 1, 3, tzinfo=UTC), datetime(2026, 1, 4, tzinfo=UTC), late_days=2)
    )
    assert changed["changed_days"] == ["2026-01-01"]


def test_people_never_pass(world: World) -> None:
    world.put([*orders(), {**orders()[0], "event_id": "bad", "quantity": "many"}])
    world.load()
    everything = b"".join(p.read_bytes() for p in Path(world.lake.root).rglob("*") if p.is_file())
    people = set(world.lake.read("raw/orders")["user_id"].to_pylist())
    assert len(people) == 2 and all(p.startswith("u_") for p in people)
    assert "alice" not in world.quarantine()[0]["record"] and b"alice-" not in everything


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"quantity": "many"}, "quantity", "is not a int32"),
        ({"quantity": 0}, "quantity", "to be between"),
        ({"event_at": "2027-01-01T00:00:00Z"}, None, None),
        ({"event_at": "soon"}, "event_at", "is not a timestamp"),
        ({"status": "lost"}, "status", "to be in set"),
        ({"sku_id": None}, "sku_id", "not be null"),
        ({"unit_price": -1}, "unit_price", "to be between"),
        ({"event_id": "e00"}, "event_id", "repeats event_id of row 0"),
    ],
)
def test_a_bad_record_is_set_aside_with_its_reason(
    world: World, change: dict[str, Any], field: str | None, words: str | None
) -> None:
    world.put([*orders(), {**orders()[0], "event_id": "bad", **change}])
    outcome = world.load()
    assert outcome["rows"] == 12
    if field is None:  # lies outside the interval: another run's business
        assert outcome["quarantined"] == 0
        return
    (record,) = world.quarantine()
    assert record["field"] == field and words is not None and words in record["reason"]
    assert record["remedy"] and record["row"] == 12


def test_an_event_from_the_future_is_set_aside(world: World) -> None:
    world.put([*orders(), {**orders()[0], "event_id": "bad", "event_at": "2026-12-01T00:00:00Z"}])
    outcome = world.load(window=Window(JANUARY.start, datetime(2027, 1, 1, tzinfo=UTC)))
    assert (outcome["rows"], outcome["quarantined"]) == (12, 1)
    assert "lies in the future" in world.quarantine()[0]["reason"]


def test_a_clean_rerun_empties_the_quarantine(world: World) -> None:
    world.put([*orders(), {**orders()[0], "event_id": "bad", "quantity": 0}])
    world.load()
    world.put(orders())
    world.load()
    assert world.quarantine() == []


def test_a_broken_source_commits_nothing(world: World) -> None:
    world.put([{**r, "unit_price": "cheap"} for r in orders()])
    with pytest.raises(InputError, match=r"stream orders, field 'unit_price', row 0: 12 of 12 records are bad"):
        world.load()
    assert world.lake.partitions("raw/orders") == {}
    assert len(world.quarantine()) == 12


def test_a_missing_column_stops_the_stream(world: World) -> None:
    world.put([{k: v for k, v in r.items() if k != "quantity"} for r in orders()])
    with pytest.raises(InputError, match="field 'quantity': the column is missing"):
        world.load()


def test_missing_streams_required_and_not(world: World) -> None:
    assert world.load("reviews")["missing"] is True
    with pytest.raises(InputError, match="stream orders: the source has no such stream"):
        world.load("orders")


def test_an_offer_that_ends_before_it_starts(world: World) -> None:
    offer = {
        "event_id": "c1",
        "event_at": "2026-01-01T00:00:00Z",
        "campaign_id": "c",
        "sku_id": "s",
        "region_id": "r",
        "promo_type": "coupon",
        "offer_price": 1,
        "allocated_units": 5,
        "per_user_limit": 1,
        "starts_at": "2026-01-05T00:00:00Z",
        "ends_at": "2026-01-06T00:00:00Z",
    }
    good = [{**offer, "event_id": f"g{i}", "region_id": f"r{i}"} for i in range(9)]
    world.put([*good, {**offer, "ends_at": "2026-01-04T00:00:00Z"}], "campaigns")
    assert world.load("campaigns")["rows"] == 9
    (record,) = world.quarantine("campaigns")
    assert "ends_after_start" in record["reason"] and "after starts_at" in record["remedy"]


def test_data_docs_are_written(world: World, tmp_path: Path) -> None:
    world.put(orders())
    world.load()
    assert (tmp_path / "docs" / "raw_orders" / "index.html").exists()


def test_a_request_is_committed_by_sku_and_region(world: World) -> None:
    import yaml

    from tests.flashsale.test_request import RAW

    (world.folder / "sale_request.yaml").write_text(yaml.safe_dump(RAW))
    assert ingest_requests(open_source(str(world.folder)), world.lake) == ["2026-11-11-main"]
    table = world.lake.read("raw/sale_requests")
    assert isinstance(table, pa.Table) and table["region_id"].to_pylist() == ["east"]
    (world.folder / "sale_request.yaml").write_text(yaml.safe_dump({**RAW, "duration_hours": -1}))
    with pytest.raises(InputError, match="duration_hours"):
        ingest_requests(open_source(str(world.folder)), world.lake)
