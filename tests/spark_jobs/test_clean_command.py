"""`python -m spark_jobs clean` on files of every kind, good and bad."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flashsale.errors import InputError
from spark_jobs.cli import main
from spark_jobs.files import read

ADDED = ["clean_text", "language", "masked", "duplicate_of", "quarantine_reason", "sentences"]
ROWS: list[dict[str, Any]] = [
    {"id": "r1", "text": "Great phone, really good value for the money", "stars": 5},
    {"id": "r2", "text": "call 13812345678", "stars": 1},
    {"id": "r3", "text": "great phone -- really good value for the money!!", "stars": 4},
    {"id": "r4", "text": None, "stars": 2},
    {"id": "r5", "text": "x" * 1_000_000, "stars": 3},
]
EXPECTED = [
    ("Great phone, really good value for the money", "en", [], None, None),
    ("call <phone>", "en", ["phone"], None, None),
    ("great phone -- really good value for the money!!", "en", [], "r1", None),
    (None, None, [], None, "empty"),
    (None, None, [], None, "too_long"),
]


def clean(source: Path, target: Path, *options: str) -> int:
    return main(["clean", "--in", str(source), "--out", str(target), "--threads", "1", *options])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def save(path: Path) -> None:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as out:
            writer = csv.DictWriter(out, list(ROWS[0]))
            writer.writeheader()
            writer.writerows(ROWS)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_same_rows_same_order_and_all_columns(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / f"in{suffix}")
    assert clean(tmp_path / f"in{suffix}", tmp_path / "out.jsonl") == 0
    assert json.loads(capsys.readouterr().out) == {
        "rows": 5, "duplicates": 1, "quarantined": {"empty": 1, "too_long": 1},
    }  # fmt: skip
    found = lines(tmp_path / "out.jsonl")
    assert list(found[0]) == ["id", "text", "stars", *ADDED]
    assert [tuple(row[name] for name in ADDED[:5]) for row in found] == EXPECTED
    assert [row["id"] for row in found] == ["r1", "r2", "r3", "r4", "r5"]
    kept = [row["stars"] for row in found]
    assert kept == ([str(r["stars"]) for r in ROWS] if suffix == ".csv" else [r["stars"] for r in ROWS])


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_other_formats_hold_the_same(suffix: str, tmp_path: Path) -> None:
    save(tmp_path / "in.parquet")
    for name in ("a", "b"):  # the same input gives the same bytes
        assert clean(tmp_path / "in.parquet", tmp_path / f"{name}{suffix}") == 0
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    if suffix == ".csv":
        rows = list(csv.DictReader((tmp_path / "a.csv").open(newline="")))
        assert [(r["masked"], r["duplicate_of"]) for r in rows][1:3] == [("phone", ""), ("", "r1")]
    else:
        assert pq.read_table(tmp_path / "a.parquet")["masked"].to_pylist() == [e[2] for e in EXPECTED]


def test_rows_without_an_id_are_named_by_their_place(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "a lamp"}\n{"text": "a chair"}\n{"text": "A Lamp"}\n')
    assert clean(tmp_path / "in.jsonl", tmp_path / "out.jsonl") == 0
    assert [row["duplicate_of"] for row in lines(tmp_path / "out.jsonl")] == [None, None, "0"]


def test_bad_lines_are_put_aside_with_a_reason_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(
        b'{"text": "good \\ud83d\\ude00"}\nno json\n{"text": 5}\n[1]\n{"text": "bad\xff"}\n{"text": "half \\ud800"}\n'
        b'{"text": "nul \\u0000"}\n\n{"text": "fine", "more": {"a": [1]}}\n'
    )
    assert clean(tmp_path / "in.jsonl", tmp_path / "out.jsonl") == 0
    found = lines(tmp_path / "out.jsonl")
    assert [row["quarantine_reason"] for row in found] == [
        None, "malformed_json", "not_text", "malformed_json", "invalid_utf8", "invalid_utf8", "nul_character", None,
    ]  # fmt: skip
    assert found[0]["clean_text"] == "good :grinning_face:" and found[7]["clean_text"] == "fine"
    assert all((row["clean_text"] is None) == (row["quarantine_reason"] is not None) for row in found)


def test_bad_csv_rows_are_put_aside(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b'\xef\xbb\xbfid,text\n1,"two\nlines"\n2,a,b\n3\n4,\xff\n5,a\x00b\n6,ok\n')
    assert clean(tmp_path / "in.csv", tmp_path / "out.jsonl") == 0
    found = lines(tmp_path / "out.jsonl")
    assert [row["quarantine_reason"] for row in found] == [
        None, "malformed_row", "malformed_row", "invalid_utf8", "nul_character", None,
    ]  # fmt: skip
    assert found[0]["clean_text"] == "two lines" and found[0]["id"] == "1"


def test_a_quote_that_nothing_closes_costs_its_own_row(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('id,text\n1,"two\nlines"\n2,"never closed\n3,fine\n4,"also ""fine"""\n5,last\n')
    assert clean(tmp_path / "in.csv", tmp_path / "out.jsonl") == 0
    found = lines(tmp_path / "out.jsonl")
    assert [(row["id"], row["quarantine_reason"]) for row in found] == [
        ("1", None), ("2", "malformed_row"), ("3", None), ("4", None), ("5", None),
    ]  # fmt: skip
    assert [row["text"].strip() for row in found] == ["two\nlines", "never closed", "fine", 'also "fine"', "last"]


def test_parquet_with_bytes_that_are_no_text_goes_on(tmp_path: Path) -> None:
    table = pa.table({"text": pa.array([b"ok", b"\xc3", None], pa.binary()), "n": [1, 2, 3]})
    pq.write_table(table, tmp_path / "in.parquet")
    assert clean(tmp_path / "in.parquet", tmp_path / "out.parquet") == 0
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.select(["text", "n"]).equals(table)
    assert found["quarantine_reason"].to_pylist() == [None, "invalid_utf8", "empty"]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_an_empty_file_gives_an_empty_one(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"in{suffix}").touch()
    assert clean(tmp_path / f"in{suffix}", tmp_path / "out.parquet") == 0
    assert pq.read_table(tmp_path / "out.parquet").column_names == ["text", *ADDED]


def test_options_reach_the_rules(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "這個頭髮👍"}\n')
    assert clean(tmp_path / "in.jsonl", tmp_path / "out.jsonl", "--simplify", "--keep-emoji") == 0
    assert lines(tmp_path / "out.jsonl")[0]["clean_text"] == "这个头发👍"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("in.parquet", b"no parquet at all", "no readable Parquet"),
        ("in.parquet", b"", "no readable Parquet"),
        ("in.csv", b"id,body\n1,x\n", "found: id, body"),
        ("in.csv", b"text,text\na,b\n", "field 'text': two columns have this name"),
        ("in.txt", b"x", "unknown suffix"),
        ("missing.csv", None, "not there"),
    ],
)
def test_what_cannot_be_read_is_said_and_nothing_is_written(
    name: str, content: bytes | None, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    (tmp_path / "out.jsonl").write_text("before")
    assert clean(tmp_path / name, tmp_path / "out.jsonl") == 2
    assert words in capsys.readouterr().err
    assert (tmp_path / "out.jsonl").read_text() == "before"
    assert {p.name for p in tmp_path.iterdir()} <= {name, "out.jsonl"}


def test_a_column_of_numbers_is_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(pa.table({"text": [1]}), tmp_path / "in.parquet")
    assert clean(tmp_path / "in.parquet", tmp_path / "out.jsonl") == 2
    assert "field 'text'" in capsys.readouterr().err


def test_a_parquet_file_with_two_columns_of_one_name_is_an_input_error(tmp_path: Path) -> None:
    twice = pa.table([["a"], ["b"], ["c"]], names=["text", "id", "id"])
    pq.write_table(twice, tmp_path / "in.parquet")
    with pytest.raises(InputError, match="field 'id': two columns have this name"):
        read(tmp_path / "in.parquet")
