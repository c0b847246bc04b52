"""Tables of a running sale: what the watch writes, what delivers alerts and the warehouse read."""

from __future__ import annotations

import pyarrow as pa

from flashsale.lake import Lake
from flashsale.tables import UTC_MICROS

MINUTES_SET, STANDING_SET, ALERTS_SET = "live/minutes", "live/standing", "live/alerts"
WATCHES_SET, DELIVERIES_SET, ASKS_SET = "live/watches", "live/deliveries", "live/asks"
STREAMS = ("orders", "traffic", "inventory", "social_posts")
KEY = ("sku_id", "region_id", "topic")
SEVERITIES = ("low", "medium", "high")
#: What an event adds, by column: whole numbers all (money in cents), so sums do not depend on the order of addition.
ADDS = (
    "orders", "units", "cancelled_units", "revenue_cents", "impressions", "views", "carts", "sold_out_views",
    "posts", "negative", "positive",
)  # fmt: skip
COUNTS = (*ADDS, "authors", "wordings")

#: One row per minute, SKU and region (or watched topic) of a running sale in which something happened. `authors` and
#: `wordings` are estimates of how many different ones posted; `rows_*` say which streams spoke.
MINUTES = pa.schema(
    [
        ("campaign_id", pa.string()),
        ("minute", UTC_MICROS),
        *[(name, pa.string()) for name in KEY],
        *[(name, pa.int64()) for name in (*COUNTS, "on_hand", *[f"rows_{stream}" for stream in STREAMS])],
        ("revenue", pa.float64()),
        ("conversion", pa.float64()),
        ("sentiment_mean", pa.float64()),
    ]
)

#: One row per SKU and region of a running sale, as of its last minute: units so far, units left and for how many
#: minutes, and the plan's band of demand until now.
STANDING = pa.schema(
    [
        ("campaign_id", pa.string()),
        ("as_of", UTC_MICROS),
        ("sku_id", pa.string()),
        ("region_id", pa.string()),
        ("units", pa.int64()),
        ("left", pa.float64()),
        ("minutes_to_stock_out", pa.float64()),
        ("demand_low", pa.float64()),
        ("demand_high", pa.float64()),
    ]
)

#: One row per alert raised in a running sale; `batch` is the micro-batch that raised it.
ALERTS = pa.schema(
    [
        ("alert_id", pa.string()),
        ("campaign_id", pa.string()),
        ("raised_at", UTC_MICROS),
        ("kind", pa.string()),
        ("severity", pa.string()),
        ("sku_id", pa.string()),
        ("region_id", pa.string()),
        ("topic", pa.string()),
        ("reason", pa.string()),
        ("value", pa.float64()),
        ("bound", pa.float64()),
        ("batch", pa.int64()),
    ]
)

#: One row per watched sale: whether its watch is over.
WATCHES = pa.schema([("campaign_id", pa.string()), ("is_over", pa.bool_())])
#: One row per alert and channel that it was handed to.
DELIVERIES = pa.schema([("alert_id", pa.string()), ("channel", pa.string())])
#: One row per watched sale: the newest alert for which a re-plan was asked for, and when it was raised.
ASKS = pa.schema([("campaign_id", pa.string()), ("alert_id", pa.string()), ("raised_at", UTC_MICROS)])

#: What the warehouse loads of a running sale, by the name of its table.
LOADED = {
    "live_minutes": (MINUTES_SET, MINUTES),
    "live_standing": (STANDING_SET, STANDING),
    "live_alerts": (ALERTS_SET, ALERTS),
}


def partition_of(campaign_id: str) -> str:
    """The sale's partition in every live data set."""
    return f"campaign_id={campaign_id}"


def mark_watch(lake: Lake, campaign_id: str, *, over: bool) -> None:
    """Record whether a sale's watch is over."""
    row = pa.table({"campaign_id": [campaign_id], "is_over": [over]}, schema=WATCHES)
    lake.write(WATCHES_SET, partition_of(campaign_id), row)
