"""Make sessions of traffic, and features of what visitors do.

    spark-submit spark_jobs/sessionize_traffic.py --lake URI [--buckets N]

Reads all committed days of `raw/traffic` and `raw/orders`; commits `behaviour/sessions`, a partition for each day on
which sessions began, and `behaviour/users`, a partition for each of `N` sets of users, dealt by a hash of the
pseudonym. The figures are those of dbt's `int_sessions` and `feat_user_behaviour` (see `behaviour`). Nothing is done
while the inputs are the same; of what is done again, only partitions whose content changed are written.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

sys.path.insert(0, str(Path(__file__).parents[1]))  # `spark-submit` starts the file outside its package

from flashsale.errors import InputError
from flashsale.lake import Lake, Manifest
from spark_jobs import behaviour
from spark_jobs.partitions import Output, commit_days, inputs_hash
from spark_jobs.session import build_session

#: Raised when a figure changes.
VERSION = "1"
BUCKETS = 8
_UTC = pa.timestamp("us", tz="UTC")
SESSIONS = pa.schema(
    [
        ("user_id", pa.string()),
        ("session_number", pa.int64()),
        ("started_at", _UTC),
        ("ended_at", _UTC),
        ("session_date", pa.date32()),
        ("seconds", pa.decimal128(18, 6)),
        ("actions", pa.int64()),
        *[(name, pa.int64()) for name in behaviour.ACTIONS],
        ("skus", pa.int64()),
        ("sale_actions", pa.int64()),
    ]
)
USERS = pa.schema(
    [
        ("user_id", pa.string()),
        ("order_count", pa.int64()),
        ("units", pa.int64()),
        ("revenue", pa.decimal128(16, 2)),
        ("sale_lines", pa.int64()),
        ("first_ordered_at", _UTC),
        ("last_ordered_at", _UTC),
        ("session_count", pa.int64()),
        ("views", pa.int64()),
        ("carts", pa.int64()),
        ("click_through_rate", pa.float64()),
        ("cart_rate", pa.float64()),
        ("last_seen_at", _UTC),
        ("visit_count", pa.int64()),
        ("visit_minutes_mean", pa.float64()),
        ("carts_bought", pa.int64()),
        ("cart_conversion", pa.float64()),
        ("recency_days", pa.float64()),
    ]
)
SESSIONS_OUTPUT = Output("behaviour/sessions", SESSIONS, ("user_id", "session_number"))
USERS_OUTPUT = Output("behaviour/users", USERS, ("user_id",))


def _read(spark: SparkSession, lake: Lake, manifests: list[Manifest]) -> DataFrame:
    return spark.read.parquet(*[lake.address(m) for m in manifests])


def _is_done(lake: Lake, mark: str, buckets: int) -> bool:
    days, kept = (lake.partitions(output.dataset).values() for output in (SESSIONS_OUTPUT, USERS_OUTPUT))
    return len(kept) == buckets and bool(days) and all(m.watermark == mark for m in (*days, *kept))


def run(spark: SparkSession, lake: Lake, buckets: int = BUCKETS) -> dict[str, Any]:
    """Sessions and users, unless they are those of the same inputs already; returns counts.

    Raises InputError where no traffic or no order is committed.
    """
    found = {stream: list(lake.partitions(f"raw/{stream}").values()) for stream in ("traffic", "orders")}
    for stream, manifests in found.items():
        if not manifests:
            raise InputError(f"stream {stream}", "nothing is committed", "run the ingest_raw_events DAG first")
    mark = inputs_hash([m for manifests in found.values() for m in manifests], f"{VERSION} {buckets}")
    if _is_done(lake, mark, buckets):
        return {"sessions": 0, "users": 0, "changed": 0}
    traffic, orders = (_read(spark, lake, manifests) for manifests in found.values())
    made = behaviour.sessions(traffic).persist()
    try:
        # a session begins on a day that has traffic; a day that has none left, or no beginning, becomes empty
        known = {p.removeprefix("date=") for p in lake.partitions(SESSIONS_OUTPUT.dataset)}
        days = known | {m.partition.removeprefix("date=") for m in found["traffic"]}
        by_day = made.withColumn("day", F.col("session_date"))
        first = commit_days(by_day, lake, [SESSIONS_OUTPUT], dict.fromkeys(days, mark))
        who = behaviour.users(traffic, behaviour.order_lines(orders), made)
        bucket = F.lpad(F.pmod(F.xxhash64("user_id"), F.lit(buckets)).cast("string"), 3, "0")
        marks = {f"{n:03}": mark for n in range(buckets)}
        second = commit_days(who.withColumn("day", bucket), lake, [USERS_OUTPUT], marks, level="bucket")
        return {"sessions": first["rows"], "users": second["rows"], "changed": first["changed"] + second["changed"]}
    finally:
        made.unpersist()


def main() -> None:
    """Parse the command line, run, print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lake", required=True)
    parser.add_argument("--buckets", type=int, default=BUCKETS)
    args = parser.parse_args()
    spark = build_session("sessionize_traffic")
    try:
        print(json.dumps(run(spark, Lake(args.lake), args.buckets)), flush=True)
    finally:
        spark.stop()


if __name__ == "__main__":
    main()
