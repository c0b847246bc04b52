"""Sessions and what visitors do, from traffic and orders, by window functions alone.

The same figures as dbt's `int_sessions` and `feat_user_behaviour`, for traffic that one machine's warehouse cannot
hold; a test holds each to the other.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

#: A longer pause begins a new session.
PAUSE_MINUTES = 30
#: Hours after which an order no longer counts as the cart's.
CART_HOURS = 24
ACTIONS = {
    "impressions": "impression",
    "views": "view",
    "favourites": "favourite",
    "carts": "cart",
    "notify_me": "notify_me",
    "sold_out_views": "sold_out_view",
}
_MINUTE = 60_000_000


def _count(condition: Column) -> Column:
    return F.count(F.when(condition, 1))


def _micros(moment: str | Column) -> Column:
    return F.unix_micros(moment)


def sessions(traffic: DataFrame) -> DataFrame:
    """One row per user and session: the columns of `int_sessions`; `seconds` to the microsecond."""
    in_time = Window.partitionBy("user_id").orderBy("event_at", "event_id")
    pause = _micros("event_at") - _micros(F.lag("event_at").over(in_time))
    begins = F.when(pause <= PAUSE_MINUTES * _MINUTE, 0).otherwise(1)
    so_far = in_time.rowsBetween(Window.unboundedPreceding, 0)
    numbered = traffic.withColumn("begins", begins).withColumn("session_number", F.sum("begins").over(so_far))
    found = numbered.groupBy("user_id", "session_number").agg(
        F.min("event_at").alias("started_at"),
        F.max("event_at").alias("ended_at"),
        F.count("*").alias("actions"),
        *[_count(F.col("action") == action).alias(name) for name, action in ACTIONS.items()],
        F.count_distinct("sku_id").alias("skus"),
        _count(F.col("campaign_id").isNotNull()).alias("sale_actions"),
    )
    micros = _micros("ended_at") - _micros("started_at")
    seconds = (micros.cast("decimal(18,0)") / F.lit(1_000_000).cast("decimal(7,0)")).cast("decimal(18,6)")
    return found.withColumn("seconds", seconds).withColumn("session_date", F.to_date("started_at"))


def order_lines(events: DataFrame) -> DataFrame:
    """One row per order line as it was placed, with what became of it."""
    key = Window.partitionBy("order_id", "line_no")
    first = F.row_number().over(key.orderBy("event_at", "event_id"))
    last = F.last("status").over(key.orderBy("event_at", "event_id").rowsBetween(0, Window.unboundedFollowing))
    placed = events.withColumn("rank", first).withColumn("status", last).where("rank = 1").drop("rank")
    return placed.withColumn("is_cancelled", F.col("status") == "cancelled")


def _purchases(lines: DataFrame) -> DataFrame:
    kept = ~F.col("is_cancelled")
    return lines.groupBy("user_id").agg(
        F.count_distinct("order_id").alias("order_count"),
        F.sum(F.when(kept, F.col("quantity"))).alias("units"),
        F.sum(F.when(kept, F.col("paid_amount"))).alias("revenue"),
        _count(F.col("campaign_id").isNotNull()).alias("sale_lines"),
        F.min("event_at").alias("first_ordered_at"),
        F.max("event_at").alias("last_ordered_at"),
    )


def _browsing(traffic: DataFrame) -> DataFrame:
    counted = ("impressions", "views", "carts")
    return traffic.groupBy("user_id").agg(
        F.count_distinct("session_id").alias("session_count"),
        *[_count(F.col("action") == ACTIONS[name]).alias(name) for name in counted],
        F.max("event_at").alias("last_seen_at"),
    )


def _visits(found: DataFrame) -> DataFrame:
    minutes = F.sum("seconds").cast("double") / 60 / F.count("*")
    return found.groupBy("user_id").agg(F.count("*").alias("visit_count"), minutes.alias("visit_minutes_mean"))


def _carts_bought(traffic: DataFrame, lines: DataFrame) -> DataFrame:
    never = F.lit(None).cast("timestamp").alias("bought_at")
    wishes = traffic.where("action = 'cart'").select("user_id", "sku_id", "event_at", never)
    bought = lines.where(~F.col("is_cancelled")).select(
        "user_id", "sku_id", "event_at", F.col("event_at").alias("bought_at")
    )
    ahead = Window.partitionBy("user_id", "sku_id").orderBy("event_at").rangeBetween(0, Window.unboundedFollowing)
    followed = wishes.unionByName(bought).withColumn("next_bought_at", F.min("bought_at").over(ahead))
    wait = _micros("next_bought_at") - _micros("event_at")
    carts = followed.where("bought_at IS NULL")
    return carts.groupBy("user_id").agg(_count(wait <= CART_HOURS * 60 * _MINUTE).alias("carts_bought"))


def _share(part: str, of: str) -> Column:
    """Null where there is nothing to share; never above 1, since an impression can go unrecorded."""
    return F.when(F.col(of) > 0, F.least(F.col(part).cast("double") / F.col(of), F.lit(1.0)))


def users(traffic: DataFrame, lines: DataFrame, found: DataFrame) -> DataFrame:
    """One row per user: the columns of `feat_user_behaviour`.

    Args:
        traffic: records of the stream.
        lines: as `order_lines` gives them.
        found: as `sessions` gives them.
    """
    whole = _purchases(lines)
    for part in (_browsing(traffic), _visits(found), _carts_bought(traffic, lines)):
        whole = whole.join(part, "user_id", "full")
    counts = ("order_count", "units", "revenue", "sale_lines", "session_count", "impressions", "views", "carts")
    whole = whole.fillna(0, [*counts, "visit_count", "carts_bought"])
    whole = whole.withColumn("last", F.greatest("last_ordered_at", "last_seen_at"))
    newest = whole.agg(F.max("last").alias("newest"))  # one row: a window over all users would end in one task
    whole = whole.crossJoin(F.broadcast(newest))
    return whole.select(
        "*",
        _share("views", "impressions").alias("click_through_rate"),
        _share("carts", "views").alias("cart_rate"),
        _share("carts_bought", "carts").alias("cart_conversion"),
        ((_micros("newest") - _micros("last")) / 1e6 / 3600.0 / 24.0).alias("recency_days"),
    )
