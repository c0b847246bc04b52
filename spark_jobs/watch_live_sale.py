"""Watch a running sale: figures by the minute, what is left and for how long, and alerts with a reason.

    spark-submit spark_jobs/watch_live_sale.py --lake URI --source DIR|kafka://HOST:PORT --plan-id P
        [--campaign-id C --starts-at T --ends-at T] [--model DIR] [--watch TOPICS.yaml] [--checkpoint DIR] [--once]

Reads orders, traffic, stock and posts as they come, commits `live/minutes`, `live/standing` and `live/alerts`, a
partition a sale. An event counts once however often it is sent, and in its own minute up to `--lateness` late. Killed
and started again with the same checkpoint, it goes on as if nothing had been. It ends when the events pass the end of
the sale, after `--idle-minutes` without one, or, with `--once`, when everything there is has been read.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

sys.path.insert(0, str(Path(__file__).parents[1]))  # `spark-submit` starts the file outside its package

from flashsale.errors import InputError
from flashsale.lake import Lake
from flashsale.times import parse_utc
from flashsale.yaml_text import read_yaml
from spark_jobs.live import sources
from spark_jobs.live.alerts import Band, Sale
from spark_jobs.live.events import minutes, unified
from spark_jobs.live.score import scored_posts
from spark_jobs.live.watcher import Watcher
from spark_jobs.session import build_session, shared_path

PLANS = "decisions/allocation_recommendations"
_EMPTY_BATCHES = "spark.sql.streaming.noDataMicroBatches.enabled"


def read_topics(path: Path | None) -> dict[str, list[str]]:
    """Watched words by topic from a YAML file `{topic: [word, …]}`. Raises InputError that names the topic."""
    if path is None:
        return {}
    subject = f"watched topics {path.name}"
    given = read_yaml(path, subject, "give a YAML file {topic: [word, …]}")
    if not isinstance(given, dict):
        raise InputError(subject, "it is no mapping", "write a line `topic: [word, …]` a topic")
    for topic, words in given.items():
        if not isinstance(words, list) or not words or not all(isinstance(w, str) and w.strip() for w in words):
            raise InputError(subject, "its words are no list of texts", "write `topic: [word, …]`", field=str(topic))
    return {str(topic): words for topic, words in given.items()}


def sale_of(lake: Lake, args: argparse.Namespace) -> Sale:
    """The sale to watch: a plan's, or the one that the arguments describe. Raises InputError where neither is whole."""
    given = {name: getattr(args, name) for name in ("campaign_id", "starts_at", "ends_at")}
    bands: dict[tuple[str, str], Band] = {}
    if args.plan_id:
        rows = lake.read(PLANS, [f"plan_id={args.plan_id}"]).to_pylist()
        bands = {(r["sku_id"], r["region_id"]): Band(r["demand_p10"], r["demand_p90"]) for r in rows}
        known = {"campaign_id": args.plan_id, "starts_at": min(r["starts_at"] for r in rows),
                 "ends_at": max(r["ends_at"] for r in rows)}  # fmt: skip
        given = {name: value or known[name] for name, value in given.items()}
    for name, value in given.items():
        if value is None:
            flag = "--" + name.replace("_", "-")
            raise InputError("watched sale", "it is not known", f"give {flag}, or --plan-id", field=name)
    if given["ends_at"] <= given["starts_at"]:
        raise InputError("watched sale", "it ends before it starts", "give a later moment", field="ends_at")
    return Sale(given["campaign_id"], given["starts_at"], given["ends_at"], bands)


def start(spark: SparkSession, watcher: Watcher, args: argparse.Namespace) -> Any:
    """The running query."""
    frames: dict[str, DataFrame] = sources.streams(spark, args.source)
    score = scored_posts(args.model) if args.model else None
    figures = minutes(unified(frames, read_topics(args.watch), score), args.lateness)
    writer = figures.writeStream.outputMode("update").foreachBatch(watcher.on_batch)
    writer = writer.queryName("watch_live_sale").option("checkpointLocation", args.checkpoint)
    when = {"availableNow": True} if args.once else {"processingTime": f"{args.every_seconds} seconds"}
    with no_empty_batches(spark):
        return writer.trigger(**when).start()


@contextmanager
def no_empty_batches(spark: SparkSession) -> Iterator[None]:
    """Queries that start within run no batch of no rows after each batch of some.

    Spark runs one to move the watermark on. It changes no figure, since changed minutes are handed over as they change;
    the next batch with rows drops the old state as well. It took a second where a batch took three.
    """
    before = spark.conf.get(_EMPTY_BATCHES, "true")
    spark.conf.set(_EMPTY_BATCHES, "false")  # a query keeps the settings of its start
    try:
        yield
    finally:
        spark.conf.set(_EMPTY_BATCHES, before)


def follow(query: Any, watcher: Watcher, args: argparse.Namespace) -> None:
    """Wait until the sale is over, nothing more comes, or everything there is has been read."""
    patience, grace = timedelta(minutes=args.idle_minutes), timedelta(minutes=2)
    seen, since = -1, time.monotonic()
    while not query.awaitTermination(1):
        if len(watcher.seconds) != seen:
            seen, since = len(watcher.seconds), time.monotonic()
        over = watcher.board.minutes and watcher.board.moment() >= watcher.sale.ends_at + grace
        if over or time.monotonic() - since > patience.total_seconds():
            query.processAllAvailable()
            query.stop()
            return


def run(spark: SparkSession, lake: Lake, args: argparse.Namespace) -> dict[str, Any]:
    """Watch to the end; returns counts and how long it took from a closed batch to its written alerts."""
    watcher = Watcher(lake, sale_of(lake, args))
    watcher.mark(over=False)
    query = start(spark, watcher, args)
    follow(query, watcher, args)
    watcher.mark(over=True)
    waits = sorted(watcher.seconds)
    return {
        "campaign_id": watcher.sale.campaign_id,
        "minutes": watcher.board.minutes,
        "cells": len(watcher.board.cells),
        "alerts": watcher.raised,
        "batches": len(waits),
        "seconds_to_alert_p99": round(waits[min(len(waits) - 1, int(0.99 * len(waits)))], 3) if waits else None,
    }


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lake", required=True)
    parser.add_argument("--source", required=True, help="a folder with a sub-folder a stream, or kafka://host:port")
    parser.add_argument("--plan-id", help="the plan that the sale carries out: its hours and its demand bands")
    parser.add_argument("--campaign-id", help="default: the plan's identifier")
    for name in ("--starts-at", "--ends-at"):
        parser.add_argument(name, type=_moment, help="UTC, ISO 8601; default: the plan's")
    parser.add_argument("--model", type=shared_path, help="folder of a fetched text model; else no sentiment")
    parser.add_argument("--watch", type=Path, help="YAML of topics to watch posts for: {topic: [word, …]}")
    parser.add_argument("--checkpoint", required=True, help="folder of the query's state; the same one to go on")
    parser.add_argument("--lateness", default="10 minutes", help="how late an event may come (default: 10 minutes)")
    parser.add_argument("--every-seconds", type=float, default=5.0, help="pause between batches (default: 5)")
    parser.add_argument("--idle-minutes", type=float, default=30.0, help="end after so long without a batch")
    parser.add_argument("--once", action="store_true", help="read what there is, then end")
    words = sys.argv[1:] if given is None else given
    return parser.parse_args([word for word in words if word])  # a form's empty field is an empty word


def _moment(text: str) -> datetime:
    try:
        return parse_utc(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no moment in ISO 8601") from error


def main() -> int:
    """Run, print one line of JSON; 2 and a line on stderr where the input cannot be used."""
    args = arguments()
    lake = Lake(args.lake)
    try:
        read_topics(args.watch)
        sale_of(lake, args)  # before a session is paid for
        spark = build_session("watch_live_sale")
        try:
            print(json.dumps(run(spark, lake, args)), flush=True)
        finally:
            spark.stop()
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
