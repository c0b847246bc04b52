"""Clean, mask and deduplicate the shop's text: reviews, social posts, support messages.

    spark-submit spark_jobs/clean_social_text.py --lake URI [--first-day D] [--last-day D]

Reads committed days of `raw/reviews`, `raw/social_posts` and `raw/support_messages`; commits, a day each, `text/clean`,
`text/authors` (what each author of posts did) and `text/duplicates` (the day's distinct texts with their signatures). A
text that repeats one of the last seven days, letter for letter or nearly, points to the earliest (`duplicate_of`); the
indexes of earlier days are reused. A day is left alone while the inputs of its seven days and the rules are the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

sys.path.insert(0, str(Path(__file__).parents[1]))  # `spark-submit` starts the file outside its package

from flashsale.authors import AUTHORS, WINDOW_DAYS, authors
from flashsale.lake import Lake, Manifest
from spark_jobs.cleaning import SLICE, Options, clean_texts, rules_text
from spark_jobs.duplicates import (
    AUTHORS_DATASET,
    INDEX,
    INDEX_DATASET,
    day_index,
    mark_authors,
    mark_repeats,
)
from spark_jobs.partitions import Finish, Output, commit_days, in_range, inputs_hash
from spark_jobs.session import build_session

DATASET = "text/clean"
#: Columns each stream contributes beside event_id, event_at and text.
STREAMS = {"reviews": (), "social_posts": ("author_id", "likes", "reposts"), "support_messages": ()}
OUT = pa.schema(
    [
        ("event_id", pa.string()),
        ("event_at", pa.timestamp("us", tz="UTC")),
        ("stream", pa.string()),
        ("sku_id", pa.string()),
        ("language", pa.string()),  # zh, en, other; null where the text is put aside
        ("clean_text", pa.string()),  # null where the text is put aside
        ("text_hash", pa.string()),  # SHA-256 of the clean text in lower case
        ("masked", pa.list_(pa.string())),  # kinds of identifiers hidden
        ("sentences", pa.int32()),
        ("duplicate_of", pa.string()),  # the earliest text of the window that this one repeats, exactly or nearly
        ("repost_count", pa.int64()),  # other rows of the window, up to this day, that say the same
        ("likes", pa.int64()),
        ("reposts", pa.int64()),
        ("is_bot_like", pa.bool_()),  # its author's rate or repetition that day is a machine's; see `text/authors`
        ("quarantine_reason", pa.string()),  # why the text is put aside
    ]
)
_MIDDLE = (
    "event_id string, event_at timestamp, stream string, sku_id string, author_id string, likes long, reposts long, "
    "clean_text string, language string, masked array<string>, sentences int, quarantine_reason string"
)
_IN_TIME = ("event_at", "event_id")
CLEAN_OUTPUTS = (Output(DATASET, OUT, _IN_TIME), Output(AUTHORS_DATASET, AUTHORS, ("author_id",)))
INDEX_OUTPUT = Output(INDEX_DATASET, INDEX, _IN_TIME)

Found = dict[str, list[Manifest]]
Marks = dict[str, str]


def read_texts(spark: SparkSession, lake: Lake, found: Found) -> DataFrame:
    """Committed records of the streams as one frame: the columns of `_MIDDLE` before cleaning, and `text`."""
    frames = []
    for stream, manifests in found.items():
        if manifests:
            frame = spark.read.parquet(*[lake.address(m) for m in manifests])
            own = STREAMS[stream]
            author = F.col("author_id") if "author_id" in own else F.lit(None).cast("string").alias("author_id")
            counts = [F.col(c) if c in own else F.lit(0).cast("long").alias(c) for c in ("likes", "reposts")]
            frames.append(
                frame.select("event_id", "event_at", F.lit(stream).alias("stream"), "sku_id", author, *counts, "text")
            )
    whole = frames[0]
    for frame in frames[1:]:
        whole = whole.unionByName(frame)
    return whole


def _gathered(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Spark's batches joined to some `SLICE` rows: making the patterns ready costs the same for few as for many."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        if sum(len(b) for b in waiting) >= SLICE:
            yield pa.concat_batches(waiting)
            waiting = []
    if waiting:
        yield pa.concat_batches(waiting)


def _clean_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in _gathered(batches):
        kept = [name for name in batch.schema.names if name != "text"]
        # the text model reads an emoji better than its name (see the table of rules)
        cleaned = clean_texts(batch.column("text"), Options(keep_emoji=True))
        columns = [batch.column(n) for n in kept] + cleaned.combine_chunks().columns
        yield from pa.table(columns, [*kept, *cleaned.column_names]).to_batches()


def clean(texts: DataFrame) -> DataFrame:
    """Cleaned rows with their day and hash."""
    return (
        texts.mapInArrow(_clean_batches, _MIDDLE)
        .withColumn("day", F.to_date("event_at"))
        .withColumn("text_hash", F.sha2(F.lower("clean_text"), 256))
    )


def window(day: str) -> list[str]:
    """The days whose texts `day` may repeat, itself last."""
    last = date.fromisoformat(day)
    return [str(last - timedelta(days=back)) for back in range(WINDOW_DAYS - 1, -1, -1)]


def _index_day(_: str, rows: pa.Table) -> list[pa.Table]:
    return [day_index(rows)]


def finisher(lake_uri: str) -> Finish:
    """A function that marks one day's repeats and bot-like authors, with the indexes of the days before."""

    def finish(day: str, rows: pa.Table) -> list[pa.Table]:
        lake = Lake(lake_uri)
        found = [lake.manifest(INDEX_DATASET, f"date={d}") for d in window(day)[:-1]]
        marked = mark_repeats(rows, [lake.read_one(m) for m in found if m is not None])
        known = authors(marked)
        return [mark_authors(marked, known), known]

    return finish


def pending(lake: Lake, first: str | None, last: str | None) -> tuple[dict[str, Found], Marks, Marks]:
    """What is to be done.

    Returns:
        The inputs of every day that is read, by day and stream; the marks of the days to index; of the days to clean.
        A day's index hangs on its own inputs, its clean text on those of its whole window.
    """
    salt = rules_text()
    days: dict[str, Found] = {}
    for stream in STREAMS:
        for partition, manifest in lake.partitions(f"raw/{stream}").items():
            days.setdefault(partition.removeprefix("date="), {}).setdefault(stream, []).append(manifest)
    indexed, cleaned = (_watermarks(lake, dataset) for dataset in (INDEX_DATASET, DATASET))
    to_index: Marks = {}
    to_clean: Marks = {}
    for day in sorted(days):
        seen = [d for d in window(day) if d in days]
        mark = inputs_hash([m for d in seen for found in days[d].values() for m in found], salt)
        if in_range(f"date={day}", first, last) and cleaned.get(day) != mark:
            to_clean[day] = mark
            for other in seen:
                own = inputs_hash([m for found in days[other].values() for m in found], salt)
                if indexed.get(other) != own:
                    to_index[other] = own
    return {d: days[d] for d in sorted({*to_index, *to_clean})}, to_index, to_clean


def _watermarks(lake: Lake, dataset: str) -> dict[str, str | None]:
    return {p.removeprefix("date="): m.watermark for p, m in lake.partitions(dataset).items()}


def run(spark: SparkSession, lake: Lake, first: str | None = None, last: str | None = None) -> dict[str, Any]:
    """Clean the days that need it; returns counts."""
    inputs, to_index, to_clean = pending(lake, first, last)
    if not to_clean:
        return {"days": 0, "rows": 0, "changed": 0}
    streams = {s: [m for found in inputs.values() for m in found.get(s, [])] for s in STREAMS}
    cleaned = clean(read_texts(spark, lake, streams)).persist()
    try:
        if to_index:
            commit_days(cleaned.where(F.col("day").isin(*to_index)), lake, [INDEX_OUTPUT], to_index, _index_day)
        return commit_days(
            cleaned.where(F.col("day").isin(*to_clean)), lake, CLEAN_OUTPUTS, to_clean, finisher(lake.uri)
        )
    finally:
        cleaned.unpersist()


def main() -> None:
    """Parse the command line, run, print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lake", required=True)
    parser.add_argument("--first-day")
    parser.add_argument("--last-day")
    args = parser.parse_args()
    spark = build_session("clean_social_text")
    try:
        print(json.dumps(run(spark, Lake(args.lake), args.first_day, args.last_day)), flush=True)
    finally:
        spark.stop()


if __name__ == "__main__":
    main()
