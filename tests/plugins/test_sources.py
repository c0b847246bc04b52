"""Sources: a folder, a real HTTP server that can misbehave, a real PostgreSQL."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flashsale.errors import InputError
from flashsale.times import Window
from flashsale_plugins.sources import FAULT_COLUMN, open_source
from flashsale_plugins.sources.http import HttpSource

DAY = Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
ROWS = [{"event_id": f"e{i}", "event_at": f"2026-01-01T0{i}:00:00Z", "on_hand": i} for i in range(5)]


def test_a_folder_reads_parquet_csv_and_json_lines_alike(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    pq.write_table(table, tmp_path / "inventory.parquet")
    (tmp_path / "orders.jsonl").write_text("\n".join(json.dumps(r) for r in ROWS))
    (tmp_path / "traffic").mkdir()
    for part in (ROWS[:2], ROWS[2:]):
        lines = ["event_id,event_at,on_hand", *(f"{r['event_id']},{r['event_at']},{r['on_hand']}" for r in part)]
        (tmp_path / "traffic" / f"{part[0]['event_id']}.csv").write_text("\n".join(lines))
    source = open_source(str(tmp_path))
    ids = [r["event_id"] for r in ROWS]
    for stream in ("inventory", "orders", "traffic"):
        assert source.read(stream, DAY)["event_id"].to_pylist() == ids  # type: ignore[index]
    assert source.read("reviews", DAY) is None
    assert source.sale_requests() == []


def test_broken_json_lines_cost_their_line_alone(tmp_path: Path) -> None:
    (tmp_path / "orders.jsonl").write_text(
        '{"event_id": "a", "quantity": 1}\n{"event_id": "b", \n{"event_id": "c", "quantity": "x"}\n'
    )
    table = open_source(str(tmp_path)).read("orders", DAY)
    assert table is not None
    assert table["event_id"].to_pylist() == ["a", None, "c"]
    assert "line 2 of orders.jsonl" in table[FAULT_COLUMN].to_pylist()[1]


def test_empty_and_cut_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").touch()
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "inventory.parquet")
    whole = (tmp_path / "inventory.parquet").read_bytes()
    (tmp_path / "inventory.parquet").write_bytes(whole[: len(whole) // 2])
    source = open_source(str(tmp_path))
    with pytest.raises(InputError, match=r"orders.csv: is empty"):
        source.read("orders", DAY)
    with pytest.raises(InputError, match=r"inventory.parquet: is not readable parquet"):
        source.read("inventory", DAY)
    with pytest.raises(InputError, match="there is no such folder"):
        open_source(str(tmp_path / "absent"))
    with pytest.raises(InputError, match="scheme"):
        open_source("ftp://shop/events")


Answer = Callable[[str, dict[str, list[str]], int], tuple[int, Any]]


class Shop:
    """A real HTTP server whose answers a test chooses: `(path, query, call number) -> (status, body)`."""

    def __init__(self, answer: Answer) -> None:
        self.calls: list[dict[str, list[str]]] = []
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                shop.calls.append(parse_qs(parts.query))
                status, body = answer(parts.path, shop.calls[-1], len(shop.calls))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

            def log_message(self, *_: object) -> None:
                """Keep the test's output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.source = HttpSource(f"http://127.0.0.1:{self.server.server_port}", retries=3, backoff=0.01, timeout=5)


@pytest.fixture()
def shop() -> Iterator[Callable[[Answer], Shop]]:
    made: list[Shop] = []

    def make(answer: Answer) -> Shop:
        made.append(Shop(answer))
        return made[-1]

    yield make
    for one in made:
        one.server.shutdown()
        one.server.server_close()


def pages(_: str, query: dict[str, list[str]], __: int) -> tuple[int, Any]:
    start = int(query.get("cursor", ["0"])[0])
    following = start + 2 if start + 2 < len(ROWS) else None
    return 200, {"records": ROWS[start : start + 2], "next_cursor": None if following is None else str(following)}


def test_pages_are_followed_to_the_end_over_failures(shop: Callable[[Answer], Shop]) -> None:
    def flaky(path: str, query: dict[str, list[str]], call: int) -> tuple[int, Any]:
        return (503, {}) if call in (1, 3) else pages(path, query, call)

    one = shop(flaky)
    table = one.source.read("inventory", DAY)
    assert table is not None
    assert table["event_id"].to_pylist() == [r["event_id"] for r in ROWS]
    assert len(one.calls) == 5
    assert one.calls[0]["from"] == ["2026-01-01T00:00:00+00:00"] and one.calls[0]["to"] == ["2026-01-02T00:00:00+00:00"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda *_: (500, {}), "answers 500 after all retries"),
        (lambda *_: (401, {}), "answers 401.*check the token"),
        (lambda *_: (200, b"<html>"), "does not answer JSON"),
        (lambda *_: (200, [1]), "no list of records"),
        (
            lambda *_: (200, {"records": ROWS[:1], "next_cursor": "again"}),
            r"stream inventory, field 'next_cursor': the cursor loops",
        ),
        (
            lambda _, query, __: (404, {}) if "cursor" in query else (200, {"records": ROWS[:1], "next_cursor": "2"}),
            "a page is gone",
        ),
        (lambda *_: (200, {"records": [ROWS[0], 7]}), "row 1: a record is no object"),
    ],
)
def test_a_source_that_fails_for_good_is_named(shop: Callable[[Answer], Shop], answer: Answer, words: str) -> None:
    with pytest.raises(InputError, match=words):
        shop(answer).source.read("inventory", DAY)


def test_a_stream_the_endpoint_does_not_have_is_none(shop: Callable[[Answer], Shop]) -> None:
    assert shop(lambda *_: (404, {})).source.read("reviews", DAY) is None


def test_a_dead_endpoint_is_named() -> None:
    with pytest.raises(InputError, match="does not answer"):
        HttpSource("http://127.0.0.1:9", retries=0).read("orders", DAY)


@pytest.mark.server
def test_postgres_tables_are_read_by_window(postgres: str) -> None:
    import psycopg

    with psycopg.connect(postgres) as connection:
        connection.execute(
            "CREATE TABLE inventory (event_id text, event_at timestamptz, on_hand numeric, told_by inet, more jsonb)"
        )
        for row in ROWS:
            connection.execute(
                "INSERT INTO inventory VALUES (%(event_id)s, %(event_at)s, %(on_hand)s, '::1', '[1]')", row
            )
        connection.execute("INSERT INTO inventory VALUES ('late', '2026-01-02T00:00:00Z', 9, null, '{}')")
        connection.execute("INSERT INTO inventory VALUES ('never', null, 'NaN', null, '7')")
        connection.execute("CREATE TABLE sale_requests (request jsonb)")
        connection.execute("""INSERT INTO sale_requests VALUES ('{"request_id": "r1"}')""")
        connection.execute("CREATE TABLE reviews (review_id text)")
    source = open_source(postgres)
    table = source.read("inventory", DAY)
    assert table is not None
    assert table["event_id"].to_pylist() == [*[r["event_id"] for r in ROWS], "never"]  # the gate names it
    assert table["event_at"][1].as_py() == datetime(2026, 1, 1, 1, tzinfo=UTC)
    assert table.column_names == ["event_id", "event_at", "on_hand"] and table["on_hand"][-1].as_py() == "NaN"
    assert source.read("traffic", DAY) is None
    assert source.sale_requests() == [{"request_id": "r1"}]
    with pytest.raises(InputError, match="stream reviews"):
        source.read("reviews", DAY)
    with pytest.raises(InputError, match="cannot be reached"):
        open_source("postgresql://127.0.0.1:9/none").read("orders", DAY)
