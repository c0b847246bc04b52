"""Posts of authors who behave like machines are left out of the exam's tables, by the cleaning's own rule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from flashsale.authors import FAST, SOME, WINDOW_DAYS, authors
from marketplace.bots import STREAMS, posts_by_people
from spark_jobs.duplicates import mark_authors, mark_repeats

START = datetime(2026, 1, 1, 8, tzinfo=UTC)
Written = tuple[datetime, str, str]


def streams(posts: list[Written], reviews: list[tuple[datetime, str]] | None = None) -> dict[str, pa.Table]:
    """Posts of (moment, author, text), and reviews of (moment, text)."""
    moments = pa.timestamp("us", tz="UTC")
    said = reviews or []
    table = pa.table({
        "event_at": pa.array([p[0] for p in posts], moments), "post_id": [f"p{k:03}" for k in range(len(posts))],
        "author_id": pa.array([p[1] for p in posts], pa.string()), "text": pa.array([p[2] for p in posts], pa.string()),
    })  # fmt: skip
    other = pa.table(
        {"event_at": pa.array([r[0] for r in said], moments), "text": pa.array([r[1] for r in said], pa.string())}
    )
    return {"social_posts": table, "reviews": other, "support_messages": other.slice(0, 0)}


def repeater(day: int, times: int, text: str = "buy it now") -> list[Written]:
    return [(START + timedelta(days=day, hours=k), "loud", text) for k in range(times)]


def kept(found: pa.Table) -> list[str]:
    return sorted(set(found["author_id"].to_pylist()))


def test_who_repeats_or_rushes_is_left_out_and_others_stay() -> None:
    fast = [(START + timedelta(seconds=k), "fast", f"word {k}") for k in range(FAST)]
    calm = [(START + timedelta(hours=k), "calm", f"thought {k}") for k in range(SOME)]
    assert kept(posts_by_people(streams([*repeater(0, SOME), *fast, *calm]))) == ["calm"]
    assert kept(posts_by_people(streams([*repeater(0, SOME - 1), *calm]))) == ["calm", "loud"]
    assert len(posts_by_people(streams([]))) == 0


def test_the_flag_is_of_a_day_and_repeats_reach_over_the_window() -> None:
    later = [(START + timedelta(days=3), "loud", "something of my own")]
    assert len(posts_by_people(streams([*repeater(0, SOME), *later]))) == 1
    words = [f"line {k}" for k in range(SOME)]
    copier = [(START + timedelta(hours=k), "copier", word) for k, word in enumerate(words)]
    for days, gone in ((WINDOW_DAYS - 1, True), (WINDOW_DAYS, False)):
        source = [(START - timedelta(days=days, hours=-k), word.upper()) for k, word in enumerate(words)]
        assert (len(posts_by_people(streams(copier, source))) == 0) is gone


@pytest.mark.parametrize("day", [0, 1])
def test_it_says_what_cleaning_says(day: int) -> None:
    posts = [*repeater(0, 4), *repeater(1, SOME), *[(START + timedelta(hours=k), "calm", "so so") for k in range(4)]]
    table = streams(posts)["social_posts"]
    rows = table.rename_columns(["event_at", "event_id", "author_id", "clean_text"])
    of_day = pa.array([moment.day == START.day + day for moment in rows["event_at"].to_pylist()])
    marked = mark_repeats(rows.filter(of_day), [])
    said = mark_authors(marked, authors(marked))
    people = set(said.filter(pc.invert(said["is_bot_like"]))["event_id"].to_pylist())
    found = posts_by_people(streams(posts))
    assert {p for p in found["post_id"].to_pylist() if p in set(said["event_id"].to_pylist())} == people
    assert set(STREAMS) == set(streams(posts))
