"""Repeats of texts over a window of days, and authors who behave like machines: one day at a time, without Spark.

`text/duplicates`, a partition a day, is the index: one row per distinct text of that day alone (equal texts collapsed,
then near-duplicates, see `minhash`), with its signature and how many rows it stands for. A day's answer needs the
indexes of the days before it in the window, never their texts anew; and since each index is a matter of its own day, a
day that changes touches no index but its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from spark_jobs.arrow import whole
from spark_jobs.minhash import BANDS, HASHES, Signatures, earliest, first_rows, signatures

INDEX_DATASET = "text/duplicates"
AUTHORS_DATASET = "text/authors"

INDEX = pa.schema(
    [
        ("event_id", pa.string()),
        ("event_at", pa.timestamp("us", tz="UTC")),
        ("text", pa.string()),
        ("copies", pa.int64()),
        ("bands", pa.binary(4 * BANDS)),
        ("sketch", pa.binary(HASHES)),
        ("shingles", pa.int32()),
    ]
)


def _order(rows: pa.Table) -> pa.Table:
    return rows.sort_by([("event_at", "ascending"), ("event_id", "ascending")])


def _collapse(texts: pa.Array, signed: Signatures) -> NDArray[np.int64]:
    """For every text of an array without nulls, in order of time, the place of the earliest one it repeats."""
    distinct, first, codes = first_rows(texts)
    keeper = earliest(distinct, signed.take(first))
    found: NDArray[np.int64] = first[np.where(keeper < 0, np.arange(len(first)), keeper)[codes]]
    return found


def _within(rows: pa.Table) -> tuple[pa.Table, NDArray[np.int64]]:
    """The index of one day's rows (sorted, each with a clean text), and each row's place in the index."""
    distinct, first, codes = first_rows(pc.utf8_lower(whole(rows["clean_text"])))
    signed = signatures(distinct)
    keeper = earliest(distinct, signed)
    kept = keeper < 0
    place = np.cumsum(kept) - 1
    entry = place[np.where(kept, np.arange(len(first)), keeper)[codes]]
    own = signed.take(np.flatnonzero(kept))
    index = pa.table(
        {
            "event_id": rows["event_id"].take(pa.array(first[kept])),
            "event_at": rows["event_at"].take(pa.array(first[kept])),
            "text": distinct.take(pa.array(np.flatnonzero(kept))),
            "copies": np.bincount(entry, minlength=int(kept.sum())).astype(np.int64),
            "bands": _fixed(own.bands),
            "sketch": _fixed(own.sketch),
            "shingles": own.sizes,
        }
    )
    return index.cast(INDEX), entry


def _fixed(values: NDArray[np.generic]) -> pa.Array:
    """Rows of a matrix as binary values of one width."""
    width = values.shape[1] * values.itemsize
    raw = pa.py_buffer(np.ascontiguousarray(values).tobytes())
    return pa.Array.from_buffers(pa.binary(width), len(values), [None, raw])


def _signed(index: pa.Table) -> Signatures:
    """Signatures as an index holds them."""
    bands, sketch = (_matrix(whole(index[name])) for name in ("bands", "sketch"))
    return Signatures(bands.view(np.uint32), sketch, index["shingles"].to_numpy())


def _matrix(values: pa.Array) -> NDArray[np.uint8]:
    """Binary values of one width as the rows of a matrix."""
    width = values.type.byte_width
    raw = np.frombuffer(values.buffers()[1] or b"", np.uint8)
    return raw[values.offset * width : (values.offset + len(values)) * width].reshape(len(values), width)


def day_index(rows: pa.Table) -> pa.Table:
    """The index of one day: columns of `INDEX`, a row per distinct text, in order of time.

    Args:
        rows: the day's texts; `event_id`, `event_at`, `clean_text` (null where it is put aside).
    """
    kept = _order(rows.filter(pc.is_valid(rows["clean_text"])))
    return _within(kept)[0] if len(kept) else INDEX.empty_table()


def mark_repeats(rows: pa.Table, before: Sequence[pa.Table]) -> pa.Table:
    """One day's rows in order of time with `duplicate_of` and `repost_count`.

    Args:
        rows: the day's texts; at least `event_id`, `event_at`, `clean_text`.
        before: the indexes of the earlier days of the window, in order.

    Returns:
        The rows with two columns more. `duplicate_of`: the `event_id` of the earliest text of the window that this one
        repeats, letter for letter or nearly; null where there is none. `repost_count`: how many other rows of the
        window, up to and with this day, say the same.
    """
    rows = _order(rows)
    valid = np.flatnonzero(rows["clean_text"].is_valid().to_numpy())
    roots: list[str | None] = [None] * len(rows)
    counts = np.zeros(len(rows), np.int64)
    if len(valid):
        index, entry = _within(rows.take(pa.array(valid)))
        window = pa.concat_tables([*before, index])
        found = _collapse(whole(window["text"]), Signatures.join([_signed(part) for part in [*before, index]]))
        mine = found[len(window) - len(index) :][entry]
        copies = np.bincount(found, weights=window["copies"].to_numpy(), minlength=len(window)).astype(np.int64)
        counts[valid] = copies[mine] - 1
        names = window["event_id"].take(pa.array(mine)).to_pylist()
        own = rows["event_id"].to_pylist()
        for row, name in zip(valid.tolist(), names, strict=True):
            roots[row] = None if name == own[row] else name
    return rows.append_column("duplicate_of", pa.array(roots, pa.string())).append_column(
        "repost_count", pa.array(counts)
    )


def mark_authors(rows: pa.Table, known: pa.Table) -> pa.Table:
    """Rows with `is_bot_like`: their author's flag of that day, False where there is no author."""
    bots = known.filter(known["is_bot_like"])["author_id"]
    flags = pc.fill_null(pc.is_in(rows["author_id"], value_set=whole(bots)), False)
    return rows.append_column("is_bot_like", flags)
