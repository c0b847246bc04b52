"""Find the terms that a day's texts say unusually often, by category.

    spark-submit spark_jobs/detect_trends.py --lake URI [--first-day D] [--last-day D]

Reads committed days of `text/clean` and the newest categories of `raw/catalog`; commits, a day each, `text/terms` (how
many different texts on a SKU say a term) and `text/trends` (see `flashsale.tables.TRENDS`). A text that repeats an
earlier one, and whatever a bot-like author wrote that day, does not count. `bursts` says how a term is judged, `topics`
which of them are one topic. A day is left alone while its own texts, those of its 28 days before and the categories are
the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

sys.path.insert(0, str(Path(__file__).parents[1]))  # `spark-submit` starts the file outside its package

from flashsale.lake import Lake, Manifest
from flashsale.tables import TRENDS
from spark_jobs import bursts, topics
from spark_jobs import terms as term_rules
from spark_jobs.partitions import Output, commit_days, in_range, inputs_hash
from spark_jobs.session import build_session

CLEAN = "text/clean"
TERMS = pa.schema(
    [
        ("day", pa.date32()),
        ("sku_id", pa.string()),
        ("term", pa.string()),  # null: all texts on the SKU
        ("texts", pa.int64()),
        ("example_hash", pa.string()),
    ]
)
TERMS_OUTPUT = Output("text/terms", TERMS, ("sku_id", "term"))
TRENDS_OUTPUT = Output("text/trends", TRENDS, ("category", "term"))
UNCATEGORISED = "uncategorised"

_SAID = "day date, sku_id string, text_hash string, term string"
_JUDGED = (
    "day date, category string, term string, texts long, category_texts long, example_hash string, expected double, "
    "p_value double"
)
_LAGS = f"transform(sequence(1, {bursts.BASE_DAYS}), lag -> coalesce(try_element_at(lags, lag), 0L))"


def _said(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """A row per text and term, and one with a null term per text."""
    for batch in batches:
        found = term_rules.terms(batch.column("clean_text"), batch.column("language"))
        places = np.repeat(np.arange(len(batch)), np.diff(found.offsets.to_numpy()))
        rows = pa.array(np.concatenate([np.arange(len(batch)), places]))
        terms = pa.concat_arrays([pa.nulls(len(batch), pa.string()), found.flatten()])
        columns = [batch.column(name).take(rows) for name in ("day", "sku_id", "text_hash")]
        yield pa.RecordBatch.from_arrays([*columns, terms], names=["day", "sku_id", "text_hash", "term"])


def said(texts: DataFrame) -> DataFrame:
    """Rows of day, SKU, text and term of the clean texts that count, and of each text one with a null term."""
    counted = texts.where("clean_text IS NOT NULL AND duplicate_of IS NULL AND NOT is_bot_like")
    given = counted.select(F.to_date("event_at").alias("day"), "sku_id", "text_hash", "clean_text", "language")
    return given.mapInArrow(_said, _SAID)


def count_terms(texts: DataFrame) -> DataFrame:
    """Rows of `TERMS` of clean texts."""
    return (
        said(texts)
        .groupBy("day", "sku_id", "term")
        .agg(F.count(F.lit(1)).alias("texts"), F.min("text_hash").alias("example_hash"))
    )


def categories(spark: SparkSession, lake: Lake) -> DataFrame:
    """The newest category of every SKU: `sku_id`, `category`."""
    manifests = lake.partitions("raw/catalog").values()
    if not manifests:
        return spark.createDataFrame([], "sku_id string, category string")
    versions = spark.read.parquet(*[lake.address(m) for m in manifests])
    return versions.groupBy("sku_id").agg(F.max_by("category", F.struct("event_at", "event_id")).alias("category"))


def _fingerprint(known: DataFrame) -> str:
    """One value for all categories: SKUs come and change seldom, their prices often."""
    row = known.agg(F.count("*"), F.bit_xor(F.xxhash64("sku_id", "category"))).collect()[0]
    return f"{row[0]}:{row[1]}"


def by_category(index: DataFrame, known: DataFrame) -> DataFrame:
    """Counts of terms by day and category, from counts by SKU."""
    return (
        _named(index, known)
        .groupBy("day", "category", "term")
        .agg(F.sum("texts").alias("texts"), F.min("example_hash").alias("example_hash"))
    )


def _named(rows: DataFrame, known: DataFrame) -> DataFrame:
    """Rows with the category of their SKU."""
    return rows.join(known, "sku_id", "left").withColumn("category", F.coalesce("category", F.lit(UNCATEGORISED)))


def _with_lags(rows: DataFrame, history: DataFrame, key: list[str], name: str) -> DataFrame:
    """Rows with an array `name` of the texts that `history` has for the same key, one, two, … days before."""
    before = history.select(*key, F.col("day").alias("then"), F.col("texts").alias("texts_then"))
    lag = F.datediff("day", "then")
    near = rows.select("day", *key).join(before, key).where(lag.between(1, bursts.BASE_DAYS))
    lags = near.groupBy("day", *key).agg(
        F.map_from_entries(F.collect_list(F.struct(lag.alias("lag"), "texts_then"))).alias("lags")
    )
    return rows.join(lags, ["day", *key], "left").withColumn(name, F.expr(_LAGS)).drop("lags")


def _judged(day: pa.Table) -> pa.Table:
    """The rows of one day with what was expected of them; they are put in order, so that sums come out alike."""
    rows = day.sort_by([("category", "ascending"), ("term", "ascending")]).combine_chunks()
    texts, total = (rows[n].to_numpy().astype(float) for n in ("texts", "category_texts"))
    base, totals = (
        rows[n].combine_chunks().flatten().to_numpy().astype(float).reshape(-1, bursts.BASE_DAYS)
        for n in ("base", "base_totals")
    )
    found = bursts.judge(texts, total, base, totals)
    kept = rows.drop_columns(["base", "base_totals"])
    return kept.append_column("expected", pa.array(found.expected)).append_column("p_value", pa.array(found.p_value))


def trends(counts: DataFrame, days: list[str]) -> DataFrame:
    """What `TRENDS` says of a term but its topic, and `day`; `counts` as `by_category` gives them, for 28 days more."""
    cells = counts.where("term IS NOT NULL")
    totals = counts.where("term IS NULL").select("day", "category", "texts")
    wanted = F.col("day").isin([date.fromisoformat(d) for d in days])
    shop = _with_lags(totals.where(wanted), totals, ["category"], "base_totals")
    shop = shop.where(f"size(filter(base_totals, n -> n > 0)) >= {bursts.LEAST_DAYS}")
    shop = shop.withColumnRenamed("texts", "category_texts")
    tested = cells.where(wanted).groupBy("day").agg(F.count("*").alias("tested"))
    often = cells.where(wanted & (F.col("texts") >= bursts.LEAST_TEXTS))
    often = _with_lags(often, cells, ["category", "term"], "base").join(shop, ["day", "category"])
    columns = ["day", "category", "term", "texts", "category_texts", "example_hash", "base", "base_totals"]
    judged = often.select(*columns).groupBy("day").applyInArrow(_judged, _JUDGED).join(tested, "day")
    no_less = Window.partitionBy("day").orderBy("p_value").rangeBetween(Window.unboundedPreceding, 0)
    rate = F.col("p_value") * F.col("tested") / F.count("*").over(no_less)
    greater = Window.partitionBy("day").orderBy(F.desc("p_value")).rangeBetween(Window.unboundedPreceding, 0)
    found = judged.withColumn("rate", rate).withColumn("q_value", F.least(F.lit(1.0), F.min("rate").over(greater)))
    found = found.withColumn("ratio", F.expr("texts / expected"))
    found = found.where((F.col("q_value") <= bursts.FALSE_DISCOVERIES) & (F.col("ratio") >= bursts.LEAST_RATIO))
    found = found.withColumn("score", F.expr("log2((texts + 1) / (expected + 1))")).withColumn(
        "trend_date", F.col("day")
    )
    return found


def with_topics(found: DataFrame, texts: DataFrame, known: DataFrame) -> DataFrame:
    """Rows of `TRENDS`, and `day`, from those of `trends` and the texts of their days."""
    key = ["day", "category", "term"]
    spoken = _named(said(texts).where("term IS NOT NULL"), known).join(found.select(*key, "score"), key)
    grouped = spoken.select(*key, "score", "text_hash").groupBy("day", "category")
    joined = grouped.applyInArrow(topics.topics_of, topics.TOPICS)
    return found.join(joined, key, "left").select("day", *TRENDS.names)


def _window(day: str, known: dict[str, Manifest]) -> list[str]:
    """The days a day is judged by, itself last, as far as they are there."""
    last = date.fromisoformat(day)
    found = (str(last - timedelta(days=back)) for back in range(bursts.BASE_DAYS, -1, -1))
    return [d for d in found if d in known]


def pending(
    lake: Lake, salt: str, first: str | None, last: str | None
) -> tuple[dict[str, Manifest], dict[str, str], dict[str, str]]:
    """Clean days by day; the marks of the days whose terms are to be counted; of the days to judge."""
    clean = {p.removeprefix("date="): m for p, m in lake.partitions(CLEAN).items()}
    counted, judged = (lake.partitions(output.dataset) for output in (TERMS_OUTPUT, TRENDS_OUTPUT))
    to_count: dict[str, str] = {}
    to_judge: dict[str, str] = {}
    for day in clean:
        days = _window(day, clean)
        mark = inputs_hash([clean[d] for d in days], salt)
        done = judged.get(f"date={day}")
        if not in_range(f"date={day}", first, last) or (done is not None and done.watermark == mark):
            continue
        to_judge[day] = mark
        for other in days:
            own = inputs_hash([clean[other]], term_rules.VERSION)
            kept = counted.get(f"date={other}")
            if kept is None or kept.watermark != own:
                to_count[other] = own
    return clean, to_count, to_judge


def run(spark: SparkSession, lake: Lake, first: str | None = None, last: str | None = None) -> dict[str, Any]:
    """Judge the days that need it; returns counts."""
    known = categories(spark, lake).persist()
    try:
        salt = f"{bursts.VERSION} {term_rules.VERSION} {topics.VERSION} {_fingerprint(known)}"
        clean, to_count, to_judge = pending(lake, salt, first, last)
        if not to_judge:
            return {"days": 0, "rows": 0, "changed": 0}
        if to_count:
            texts = spark.read.parquet(*[lake.address(clean[d]) for d in to_count])
            commit_days(count_terms(texts), lake, [TERMS_OUTPUT], to_count)
        needed = sorted({f"date={d}" for day in to_judge for d in _window(day, clean)})
        kept = (lake.manifest(TERMS_OUTPUT.dataset, partition) for partition in needed)
        index = spark.read.parquet(*[lake.address(m) for m in kept if m is not None])
        counts = by_category(index, known).persist()
        found = trends(counts, sorted(to_judge)).persist()
        try:
            days = [str(row["day"]) for row in found.select("day").distinct().collect()]  # no text of others is read
            texts = [lake.address(clean[day]) for day in sorted(days)]
            rows = with_topics(found, spark.read.parquet(*texts), known) if texts else found
            return commit_days(rows, lake, [TRENDS_OUTPUT], to_judge)
        finally:
            found.unpersist()
            counts.unpersist()
    finally:
        known.unpersist()


def main() -> None:
    """Parse the command line, run, print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lake", required=True)
    parser.add_argument("--first-day")
    parser.add_argument("--last-day")
    args = parser.parse_args()
    spark = build_session("detect_trends")
    try:
        print(json.dumps(run(spark, Lake(args.lake), args.first_day, args.last_day)), flush=True)
    finally:
        spark.stop()


if __name__ == "__main__":
    main()
