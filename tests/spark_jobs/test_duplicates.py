"""Repeats over days and bot-like authors, on tables alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from flashsale.authors import AUTHORS, FAST, MANY, SOME, authors
from spark_jobs.duplicates import INDEX, day_index, mark_authors, mark_repeats

POST = "the headphones sound far better than i expected and the case feels solid"
NEAR = "the headphones sound far better than i expected and the case feels so solid"


def day(number: int, *texts: str | None, author: str | None = "a", apart: timedelta = timedelta(hours=1)) -> pa.Table:
    start = datetime(2026, 1, number, tzinfo=UTC)
    return pa.table(
        {
            "event_id": [f"{number}-{i}" for i in range(len(texts))],
            "event_at": pa.array([start + i * apart for i in range(len(texts))], pa.timestamp("us", tz="UTC")),
            "clean_text": pa.array(texts, pa.string()),
            "author_id": pa.array([author] * len(texts), pa.string()),
        }
    )


def found(table: pa.Table) -> list[tuple[Any, Any]]:
    return list(zip(table["duplicate_of"].to_pylist(), table["repost_count"].to_pylist(), strict=True))


def test_within_a_day_the_earliest_is_kept_whatever_the_order_of_the_rows() -> None:
    rows = day(1, POST, "something else entirely, a lamp", POST.upper(), NEAR, None)
    assert found(mark_repeats(rows, [])) == [(None, 2), (None, 0), ("1-0", 2), ("1-0", 2), (None, 0)]
    turned = rows.take(pa.array([4, 3, 2, 1, 0]))
    assert mark_repeats(turned, []).equals(mark_repeats(rows, []))


def test_yesterdays_index_is_enough() -> None:
    first, second = day(1, POST, POST, "a lamp that is green and blue"), day(2, NEAR, "!!!", "!!!")
    index = day_index(first)
    assert index.schema.equals(INDEX) and index["copies"].to_pylist() == [2, 1]
    third = day_index(second)
    assert third["event_id"].to_pylist() == ["2-0", "2-1"] and third["copies"].to_pylist() == [1, 2]
    assert found(mark_repeats(second, [index])) == [("1-0", 2), (None, 1), ("2-1", 1)]
    assert found(mark_repeats(day(3, POST, "!!!"), [index, third])) == [("1-0", 3), ("2-1", 2)]


def test_days_without_a_text_are_no_trouble() -> None:
    assert day_index(day(1, None)).equals(INDEX.empty_table())
    assert found(mark_repeats(day(2, None, POST), [INDEX.empty_table()])) == [(None, 0), (None, 0)]
    assert len(mark_repeats(day(2), [])) == 0


def test_authors_are_judged_by_rate_and_by_repetition() -> None:
    different = [f"{word} thing number {i}" for i, word in enumerate(["red", "blue", "pale", "soft", "loud", "slow"])]
    cases = {
        "human": (day(1, *different[:3]), False),
        "repeater": (day(1, *[POST] * SOME), True),
        "once too few": (day(1, *[POST] * (SOME - 1)), False),
        "fast": (day(1, *different[:FAST], apart=timedelta(seconds=1)), True),
        "many": (day(1, *[f"{chr(97 + i % 26) * 9} {i}" for i in range(MANY)], apart=timedelta(minutes=2)), True),
        "nobody": (day(1, *[POST] * 9, author=None), None),
    }
    for name, (rows, expected) in cases.items():
        marked = mark_repeats(rows, [])
        known = authors(marked)
        assert known.schema.equals(AUTHORS)
        assert known["is_bot_like"].to_pylist() == ([] if expected is None else [expected]), name
        assert mark_authors(marked, known)["is_bot_like"].to_pylist() == [bool(expected)] * len(rows)
