"""When an author behaves like a machine: one rule for the platform's cleaning and for whoever judges it."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

AUTHORS = pa.schema(
    [
        ("author_id", pa.string()),
        ("posts", pa.int64()),
        ("repeats", pa.int64()),
        ("most_in_a_minute", pa.int64()),
        ("is_bot_like", pa.bool_()),
    ]
)
#: Days a repeat may lie behind its original, the day itself included.
WINDOW_DAYS = 7
#: Nobody types that fast: posts within one minute, posts within a day.
FAST, MANY = 5, 50
#: A day's posts from which repetition tells something, and the share of repeats that tells it.
SOME, MOSTLY = 5, 0.6


def authors(rows: pa.Table) -> pa.Table:
    """What each author did on one day: columns of `AUTHORS`, in order of `author_id`.

    An author is bot-like by rate (`FAST` posts in a minute or `MANY` in a day) or by similarity (of at least `SOME`
    posts the share `MOSTLY` repeats a text of the window, their own or another's).

    Args:
        rows: the day's texts: `author_id`, `event_at`, `duplicate_of` (what it repeats within `WINDOW_DAYS`, null where
            nothing); rows without an `author_id` are left out.
    """
    posts = rows.filter(pc.is_valid(rows["author_id"]))
    repeats = pc.is_valid(posts["duplicate_of"]).cast(pa.int64())
    posts = pa.table(
        {
            "author_id": posts["author_id"],
            "repeats": repeats,
            "minute": pc.floor_temporal(posts["event_at"], unit="minute"),
        }
    )
    minutes = posts.group_by(["author_id", "minute"]).aggregate([("repeats", "count"), ("repeats", "sum")])
    found = minutes.group_by("author_id").aggregate(
        [("repeats_count", "sum"), ("repeats_sum", "sum"), ("repeats_count", "max")]
    )
    number, again, fastest = (found[f"{c}"] for c in ("repeats_count_sum", "repeats_sum_sum", "repeats_count_max"))
    rate = pc.or_(pc.greater_equal(fastest, FAST), pc.greater_equal(number, MANY))
    share = pc.divide(again.cast(pa.float64()), number.cast(pa.float64()))
    alike = pc.and_(pc.greater_equal(number, SOME), pc.greater_equal(share, MOSTLY))
    table = pa.table([found["author_id"], number, again, fastest, pc.or_(rate, alike)], AUTHORS.names)
    return table.cast(AUTHORS).sort_by("author_id")
