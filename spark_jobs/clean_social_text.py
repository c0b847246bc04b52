"""Clean, mask and deduplicate the shop's text: reviews, social posts, support messages.

    spark-submit spark_jobs/clean_social_text.py --lake URI [--first-day D] [--last-day D]

Reads committed days of `raw/reviews`, `raw/social_posts` and `raw/support_messages`, commits `text/clean` a day each.
A day whose inputs and rules have not changed is left alone. An exact repeat of a text within its day points to the
first one (`duplicate_of`) and is not scored again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

sys.path.insert(0, str(Path(__file__).parents[1]))  # `spark-submit` starts the file outside its package

from flashsale.lake import Lake, Manifest
from spark_jobs.cleaning import clean_texts, rules_text
from spark_jobs.partitions import commit_days, in_range, inputs_hash
from spark_jobs.session import build_session

DATASET = "text/clean"
#: Columns each stream contributes beside event_id, event_at and text.
STREAMS = {"reviews": (), "social_posts": ("likes", "reposts"), "support_messages": ()}
OUT = pa.schema(
    [
        ("event_id", pa.string()),
        ("event_at", pa.timestamp("us", tz="UTC")),
        ("stream", pa.string()),
        ("sku_id", pa.string()),
        ("language", pa.string()),
        ("clean_text", pa.string()),
        ("text_hash", pa.string()),
        ("masked", pa.list_(pa.string())),
        ("duplicate_of", pa.string()),
        ("repost_count", pa.int64()),
        ("likes", pa.int64()),
        ("reposts", pa.int64()),
        ("quarantine_reason", pa.string()),
    ]
)
_MIDDLE = (
    "event_id string, event_at timestamp, stream string, sku_id string, likes long, reposts long, "
    "clean_text string, language string, masked array<string>, quarantine_reason string"
)


def read_texts(spark: SparkSession, lake: Lake, found: dict[str, list[Manifest]]) -> DataFrame:
    """Committed records of the streams as one frame: event_id, event_at, stream, sku_id, likes, reposts, text."""
    frames = []
    for stream, manifests in found.items():
        if manifests:
            frame = spark.read.parquet(*[lake.address(m) for m in manifests])
            counts = [
                F.col(c) if c in STREAMS[stream] else F.lit(0).cast("long").alias(c) for c in ("likes", "reposts")
            ]
            frames.append(
                frame.select("event_id", "event_at", F.lit(stream).alias("stream"), "sku_id", *counts, "text")
            )
    whole = frames[0]
    for frame in frames[1:]:
        whole = whole.unionByName(frame)
    return whole


def _clean_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        kept = [name for name in batch.schema.names if name != "text"]
        cleaned = clean_texts(batch.column("text"))
        columns = [batch.column(n) for n in kept] + list(cleaned.columns)
        yield pa.RecordBatch.from_arrays(columns, names=[*kept, *cleaned.schema.names])


def clean(texts: DataFrame) -> DataFrame:
    """Cleaned rows with their day, hash and duplicates; the columns of `OUT` and `day`."""
    cleaned = texts.mapInArrow(_clean_batches, _MIDDLE)
    # more than three of a kind say no more than three; a gate keeps the slow expression off most rows
    squeezed = F.regexp_replace("clean_text", r"(.)\1{3,}", "$1$1$1")
    calm = F.when(F.col("clean_text").rlike(r"(.)\1{3,}"), squeezed).otherwise(F.col("clean_text"))
    hashed = (
        cleaned.withColumn("clean_text", calm)
        .withColumn("day", F.to_date("event_at"))
        .withColumn("text_hash", F.sha2(F.lower("clean_text"), 256))
    )
    same = Window.partitionBy("day", "text_hash")
    first = F.first("event_id").over(same.orderBy("event_at", "event_id"))
    is_text = F.col("clean_text").isNotNull()
    return hashed.withColumn("first_id", first).select(
        "day",
        *OUT.names[:8],
        F.when(is_text & (F.col("first_id") != F.col("event_id")), F.col("first_id")).alias("duplicate_of"),
        F.when(is_text, F.count("*").over(same) - 1).otherwise(F.lit(0)).cast("long").alias("repost_count"),
        "likes",
        "reposts",
        "quarantine_reason",
    )


def pending(lake: Lake, first: str | None, last: str | None) -> tuple[dict[str, list[Manifest]], dict[str, str]]:
    """Inputs of the days to clean, by stream, and each day's mark."""
    salt = rules_text()
    raw = {s: lake.partitions(f"raw/{s}") for s in STREAMS}
    done = lake.partitions(DATASET)
    marks: dict[str, str] = {}
    for partition in sorted({p for found in raw.values() for p in found}):
        if in_range(partition, first, last):
            mark = inputs_hash([found[partition] for found in raw.values() if partition in found], salt)
            if partition not in done or done[partition].watermark != mark:
                marks[partition.removeprefix("date=")] = mark
    inputs = {s: [m for p, m in found.items() if p.removeprefix("date=") in marks] for s, found in raw.items()}
    return inputs, marks


def run(spark: SparkSession, lake: Lake, first: str | None = None, last: str | None = None) -> dict[str, Any]:
    """Clean the days that need it; returns counts."""
    inputs, marks = pending(lake, first, last)
    if not marks:
        return {"days": 0, "rows": 0, "changed": 0}
    return commit_days(clean(read_texts(spark, lake, inputs)), lake, DATASET, OUT, ["event_at", "event_id"], marks)


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
