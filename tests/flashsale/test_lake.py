"""The lake's promise: whole versions only, one copy, the same hash for the same rows, on a folder and on S3."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsale.errors import InputError
from flashsale.lake import Lake, content_hash

ROWS = pa.table({"event_id": ["a", "b", None], "n": pa.array([1, None, 3], pa.int64())})


@pytest.fixture()
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def files(folder: Path) -> set[str]:
    return {p.name for p in folder.rglob("*") if p.is_file()}


def test_what_is_written_is_read_and_twice_is_once(lake: Lake, tmp_path: Path) -> None:
    first = lake.write("raw/orders", "date=2026-01-01", ROWS, watermark="2026-01-01T10:00:00+00:00")
    before = files(tmp_path)
    again = lake.write("raw/orders", "date=2026-01-01", ROWS)
    assert (first.changed, again.changed, first.content_hash) == (True, False, again.content_hash)
    assert files(tmp_path) == before and len(before) == 2
    assert lake.read("raw/orders").equals(ROWS)


def test_a_relative_lake_stays_where_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Executors open a lake by the address that the driver gave them, each in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    given = Lake("lake").uri
    assert given == str(tmp_path / "lake") and Lake("s3://bucket/lake/", anon=True).uri == "s3://bucket/lake"
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    Lake(given).write("raw/orders", "date=2026-01-01", ROWS)
    assert (tmp_path / "lake" / "raw").is_dir()


def test_of_the_same_content_only_the_watermark_moves(lake: Lake) -> None:
    lake.write("raw/orders", "date=2026-01-01", ROWS, watermark="one")
    before = lake.manifest("raw/orders", "date=2026-01-01")
    assert not lake.write("raw/orders", "date=2026-01-01", ROWS, watermark="two").changed
    after = lake.manifest("raw/orders", "date=2026-01-01")
    assert before is not None and after is not None and after.watermark == "two"
    assert (after.file, after.content_hash, after.rows) == (before.file, before.content_hash, before.rows)


def test_a_changed_partition_replaces_only_itself(lake: Lake) -> None:
    lake.write("raw/orders", "date=2026-01-01", ROWS)
    lake.write("raw/orders", "date=2026-01-02", ROWS)
    before = lake.partitions("raw/orders")
    lake.write("raw/orders", "date=2026-01-02", ROWS.slice(0, 1))
    after = lake.partitions("raw/orders")
    assert after["date=2026-01-01"] == before["date=2026-01-01"]
    assert after["date=2026-01-02"].rows == 1
    assert lake.read("raw/orders").num_rows == 4


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.one_of(st.none(), st.text()), st.one_of(st.none(), st.integers(-5, 5)))), st.integers(0, 5)
)
def test_the_hash_depends_on_the_rows_alone(rows: list[tuple[str | None, int | None]], cut: int) -> None:
    words, numbers = [r[0] for r in rows], [r[1] for r in rows]
    whole = pa.table({"t": pa.array(words, pa.string()), "n": pa.array(numbers, pa.int64())})
    pieces = pa.concat_tables([whole.slice(0, cut), whole.slice(cut)])
    shifted = pa.concat_tables([whole.slice(0, 1), whole]).slice(min(1, len(rows)))
    assert content_hash(whole) == content_hash(pieces) == content_hash(shifted)
    if rows and words[0] != "x":
        other = whole.set_column(0, "t", pa.array(["x", *words[1:]], pa.string()))
        assert content_hash(other) != content_hash(whole)


def test_a_null_is_not_an_empty_text() -> None:
    assert content_hash(pa.table({"t": pa.array([None], pa.string())})) != content_hash(pa.table({"t": [""]}))


def test_nested_rows_read_back_have_the_same_hash(lake: Lake) -> None:
    """Parquet gives a list's items another name than Arrow does."""
    kind = pa.list_(pa.struct([("word", pa.string()), ("places", pa.list_(pa.int32()))]))
    table = pa.table({"spans": pa.array([[{"word": "a", "places": [1, 2]}], [], None], kind)})
    written = lake.write("text/scored", "date=2026-01-01", table)
    back = lake.read("text/scored")
    assert str(back.schema) != str(table.schema)
    assert content_hash(back) == written.content_hash
    assert not lake.write("text/scored", "date=2026-01-01", back).changed


def test_kill_between_stage_and_commit_leaves_the_old_version(lake: Lake, tmp_path: Path) -> None:
    lake.write("raw/orders", "date=2026-01-01", ROWS)
    script = textwrap.dedent(
        f"""
        import os, signal, pyarrow as pa
        from flashsale.lake import MANIFEST, Lake
        lake = Lake({str(tmp_path / "lake")!r})
        put = Lake._put
        def dying(self, path, payload):
            if path.endswith(MANIFEST):
                os.kill(os.getpid(), signal.SIGKILL)   # the new file is staged and flushed, its manifest is not
            put(self, path, payload)
        Lake._put = dying
        lake.write("raw/orders", "date=2026-01-01", pa.table({{"event_id": ["new"], "n": pa.array([9], pa.int64())}}))
        """
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], env=os.environ)
    assert done.returncode == -signal.SIGKILL
    assert len([f for f in files(tmp_path) if f.endswith(".parquet")]) == 2
    assert lake.read("raw/orders").equals(ROWS)
    fresh = pa.table({"event_id": ["new"], "n": pa.array([9], pa.int64())})
    assert lake.write("raw/orders", "date=2026-01-01", fresh).changed
    assert lake.read("raw/orders").equals(fresh)


def test_a_damaged_file_is_refused_by_name(lake: Lake) -> None:
    lake.write("raw/orders", "date=2026-01-01", ROWS)
    path = Path(lake.address(lake.partitions("raw/orders")["date=2026-01-01"]))
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(InputError, match="date=2026-01-01 does not match its manifest"):
        lake.read("raw/orders")


def test_reading_what_nobody_wrote_says_so(lake: Lake) -> None:
    with pytest.raises(InputError, match="nothing is committed"):
        lake.read("raw/orders")


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, object]]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    options = {"key": "k", "secret": "s", "client_kwargs": {"endpoint_url": f"http://{host}:{port}"}}
    import s3fs

    s3fs.S3FileSystem(**options).mkdir("lake")
    yield options
    server.stop()


@pytest.mark.server
def test_the_same_promise_on_an_object_store(s3: dict[str, object]) -> None:
    lake = Lake("s3://lake/root", **s3)
    first = lake.write("raw/orders", "date=2026-01-01", ROWS)
    assert first.changed and not lake.write("raw/orders", "date=2026-01-01", ROWS).changed
    lake.write("raw/orders", "date=2026-01-02", ROWS.slice(0, 1))
    assert lake.read("raw/orders").num_rows == 4
    assert lake.read("raw/orders", ["date=2026-01-02"]).equals(ROWS.slice(0, 1))
    assert lake.address(lake.partitions("raw/orders")["date=2026-01-01"]).startswith("s3://lake/root/raw/orders/")
    assert list(lake.partitions("raw/nothing")) == []


def test_timestamps_and_money_survive(lake: Lake) -> None:
    from decimal import Decimal

    table = pa.table(
        {
            "at": pa.array([datetime(2026, 1, 1, tzinfo=UTC), None], pa.timestamp("us", tz="UTC")),
            "paid": pa.array([Decimal("19.90"), None], pa.decimal128(12, 2)),
            "tags": pa.array([["a", "b"], None], pa.list_(pa.string())),
        }
    )
    lake.write("x", "scope=all", table)
    assert lake.read("x").equals(table)
