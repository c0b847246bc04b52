"""One kind of row for everything that happens during a sale, whichever stream and transport it came by.

Pure `DataFrame -> DataFrame`; a row says which cells (SKU and region, or a watched topic) it belongs to and what it
adds to each of their figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from flashsale.contracts import load_contract
from flashsale.contracts.derive import spark_schema
from flashsale.live_tables import ADDS, STREAMS

Scored = Callable[[DataFrame], DataFrame]


def contract_schema(stream: str) -> StructType:
    """The stream's contract as Spark reads it; nothing is required while a record is only text."""
    schema = StructType.fromJson(spark_schema(load_contract(stream)))
    for field in schema.fields:
        field.nullable = True
    return schema


def unified(frames: Mapping[str, DataFrame], topics: Mapping[str, Sequence[str]], score: Scored | None) -> DataFrame:
    """Rows of all streams: `stream`, `event_id`, `event_at`, `cells`, `on_hand`, `author`, `wording`, and `ADDS`.

    Args:
        frames: by stream, records with the fields of its contract.
        topics: watched words by the name of their topic; a post that has one of them belongs to the topic too.
        score: adds `sentiment` to posts with `text`; None leaves posts without one.
    """
    parts = [_PARTS[stream](frame, topics, score) for stream, frame in frames.items()]
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.unionByName(part)
    # a record without key or moment cannot be counted once, nor in its minute; ingestion quarantines it with its reason
    return whole.where("event_id is not null and event_at is not null")


def _row(frame: DataFrame, stream: str, cells: Column, adds: Mapping[str, Column], **more: Column) -> DataFrame:
    nothing = {"on_hand": F.lit(None).cast("long"), "author": F.lit(None).cast("string"),
               "wording": F.lit(None).cast("long")}  # fmt: skip
    others = {name: more.get(name, empty) for name, empty in nothing.items()}
    counts = [F.coalesce(adds.get(name, F.lit(0)).cast("long"), F.lit(0)).alias(name) for name in ADDS]
    return frame.select(
        F.lit(stream).alias("stream"),
        "event_id",
        "event_at",
        cells.alias("cells"),
        *[value.alias(name) for name, value in others.items()],
        *counts,
    )


def _cell(sku: Column | str, region: Column | str, topic: Column | str = "") -> Column:
    """A cell's key; what is not part of it is an empty string."""
    parts = {"sku_id": sku, "region_id": region, "topic": topic}
    as_columns = [(F.lit(v) if isinstance(v, str) else F.coalesce(v, F.lit(""))).alias(n) for n, v in parts.items()]
    return F.struct(*as_columns)


def _orders(frame: DataFrame, topics: Mapping[str, Sequence[str]], score: Scored | None) -> DataFrame:
    placed, lost = F.col("status") == "placed", F.col("status") == "cancelled"
    adds = {
        "orders": placed.cast("long"),
        "units": F.when(placed, F.col("quantity")),
        "cancelled_units": F.when(lost, F.col("quantity")),
        "revenue_cents": F.when(placed, F.round(F.col("paid_amount") * 100)),
    }
    return _row(frame, "orders", F.array(_cell(F.col("sku_id"), F.col("region_id"))), adds)


def _traffic(frame: DataFrame, topics: Mapping[str, Sequence[str]], score: Scored | None) -> DataFrame:
    kinds = {"impressions": "impression", "views": "view", "carts": "cart", "sold_out_views": "sold_out_view"}
    adds = {name: (F.col("action") == kind).cast("long") for name, kind in kinds.items()}
    return _row(frame, "traffic", F.array(_cell(F.col("sku_id"), F.col("region_id"))), adds)


def _inventory(frame: DataFrame, topics: Mapping[str, Sequence[str]], score: Scored | None) -> DataFrame:
    cell = F.array(_cell(F.col("sku_id"), F.col("region_id")))
    return _row(frame, "inventory", cell, {}, on_hand=F.col("on_hand"))


def _posts(frame: DataFrame, topics: Mapping[str, Sequence[str]], score: Scored | None) -> DataFrame:
    known = frame if score is None else score(frame)
    sentiment = F.lit(None).cast("string") if score is None else F.col("sentiment")
    adds = {
        "posts": F.lit(1),
        "negative": (sentiment == "negative").cast("long"),
        "positive": (sentiment == "positive").cast("long"),
    }
    text = F.lower(F.coalesce(F.col("text"), F.lit("")))
    named = [F.when(_any_of(text, words), _cell("", "", name)) for name, words in topics.items()]
    own = F.when(F.col("sku_id").isNotNull(), _cell(F.col("sku_id"), ""))
    cells = F.array_compact(F.array(own, *named))
    return _row(known, "social_posts", cells, adds, author=F.col("author_id"), wording=F.xxhash64(text))


def _any_of(text: Column, words: Sequence[str]) -> Column:
    found = F.lit(False)
    for word in words:
        found = found | text.contains(word.lower())
    return found


_PARTS = {"orders": _orders, "traffic": _traffic, "inventory": _inventory, "social_posts": _posts}


def minutes(events: DataFrame, lateness: str) -> DataFrame:
    """Figures by minute and cell: `minute`, `sku_id`, `region_id`, `topic`, sums of `ADDS`, `on_hand`, `authors`,
    `wordings`, and rows by stream.

    An event that comes twice within `lateness` of its moment counts once; one that comes later than that is left out,
    which is what bounds the state.
    """
    once = events.withWatermark("event_at", lateness).dropDuplicatesWithinWatermark(["stream", "event_id"])
    laid_out = once.withColumn("cell", F.explode("cells"))
    reading = F.max_by("on_hand", F.when(F.col("on_hand").isNotNull(), F.col("event_at")))
    return (
        laid_out.groupBy(F.window("event_at", "1 minute").alias("span"), "cell")
        .agg(
            *[F.sum(name).alias(name) for name in ADDS],
            reading.alias("on_hand"),
            F.approx_count_distinct("author").alias("authors"),
            F.approx_count_distinct("wording").alias("wordings"),
            *[F.count(F.when(F.col("stream") == name, True)).alias(f"rows_{name}") for name in STREAMS],
        )
        .select(F.col("span.start").alias("minute"), "cell.sku_id", "cell.region_id", "cell.topic", *_MEASURES)
    )


_MEASURES = (*ADDS, "on_hand", "authors", "wordings", *[f"rows_{name}" for name in STREAMS])
