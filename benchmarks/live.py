"""The live watch beside a plain Spark micro-batch job, and how long an alert takes once its micro-batch has closed.

    python benchmarks/live.py [--quick] [--events N] [--files N] [--rounds N]

Simulated events of a sale arrive file by file, 5 % of them twice and 2 % late. Ours is `watch_live_sale` as it runs:
minute figures, what is left, alerts, all written to the lake. The peer is a job as one would write it first: the same
records without repeats (`dropDuplicatesWithinWatermark`), grouped by minute, SKU and region, the changed minutes of
each batch written as Parquet; no stock forecast, no alerts, no table to read while it goes on. Each side takes the next
file when the one before is done. The figures of every minute and cell must be equal and those of a plain count.

`live_vs_micro_batch` states events a second and core; a batch has a cost of its own (plans, state, commits), so fewer
and larger files make both sides faster. `live_alert_p99` states the seconds from a closed micro-batch to its written
alerts against the bound of one second; its interval is a bootstrap over batches. `live_exact_after_kill`: the watch as
a process of its own is killed in its second batch and goes on in another; the minutes and cells that are then right.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
THREADS = os.cpu_count() or 1
os.environ["FLASHSALE_SPARK_MASTER"] = f"local[{THREADS}]"
os.environ["FLASHSALE_SHUFFLE_PARTITIONS"] = str(THREADS)

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.harness import Result, compare, machine, parser, write
from flashsale.lake import Lake
from spark_jobs import watch_live_sale as job
from spark_jobs.live.watcher import Watcher

EVENTS, FILES, ROUNDS = 200_000, 6, 2
QUICK_EVENTS, QUICK_FILES = 3_000, 3
BEGAN = datetime(2026, 11, 11, tzinfo=UTC)
MINUTES = 120
SKUS, REGIONS = 100, 4
STREAMS = ("orders", "traffic", "inventory", "social_posts")
FIGURES = ("orders", "units", "revenue_cents", "impressions", "views", "carts", "posts")
#: Seconds in which an alert has to be there once its micro-batch has closed.
BOUND = 1.0

Figures = dict[tuple[str, str, str], tuple[int, ...]]


def event(number: int, of: int, rng: np.random.Generator) -> tuple[str, dict[str, Any]]:
    """One simulated record and its stream."""
    at = BEGAN + timedelta(minutes=MINUTES * number / of)
    kind = STREAMS[int(np.searchsorted([0.3, 0.85, 0.9], rng.random(), side="right"))]
    base = {"event_id": f"e{number}", "event_at": at.isoformat(), "sku_id": f"s{rng.integers(SKUS)}"}
    region = {"region_id": f"r{rng.integers(REGIONS)}"}
    if kind == "orders":
        return kind, base | region | {
            "order_id": f"o{number}", "line_no": 1, "user_id": f"u{rng.integers(of)}", "unit_price": "9.90",
            "quantity": int(rng.integers(1, 4)), "paid_amount": "9.90", "status": "placed",
        }  # fmt: skip
    if kind == "traffic":
        action = ("impression", "view", "cart")[int(rng.integers(3))]
        return kind, base | region | {"session_id": "x", "user_id": f"u{rng.integers(of)}", "action": action}
    if kind == "inventory":
        return kind, base | region | {"on_hand": max(of // (SKUS * REGIONS) - number // (SKUS * REGIONS), 0)}
    post = {"post_id": f"p{number}", "platform": "x", "author_id": f"a{rng.integers(of)}", "text": f"post {number}"}
    return kind, base | post | {"likes": 0, "reposts": 0}


def sale(events: int, files: int) -> list[list[tuple[str, dict[str, Any]]]]:
    """Records in the order in which they arrive, file by file; 5 % come twice and 2 % up to five minutes late."""
    rng = np.random.default_rng(7)
    late = events * 5 // MINUTES
    arrived = []
    for number in range(events):
        kind, record = event(number, events, rng)
        arrived.append((number + (rng.integers(1, late) if rng.random() < 0.02 else 0), kind, record))
        if rng.random() < 0.05:
            arrived.append((number + rng.integers(1, late), kind, record))
    arrived.sort(key=lambda row: row[0])
    step = -(-len(arrived) // files)
    return [[row[1:] for row in arrived[at : at + step]] for at in range(0, len(arrived), step)]


def counted(parts: list[list[tuple[str, dict[str, Any]]]]) -> Figures:
    """The figures by minute, SKU and region, counted in plain Python; those of posts have no region."""
    found: dict[tuple[str, str, str], Counter[str]] = {}
    for kind, record in {(k, r["event_id"]): (k, r) for part in parts for k, r in part}.values():
        minute = datetime.fromisoformat(record["event_at"]).replace(second=0, microsecond=0).isoformat()
        cell = found.setdefault((minute, record["sku_id"], record.get("region_id", "")), Counter())
        if kind == "orders":
            cell.update(orders=1, units=record["quantity"], revenue_cents=990)
        elif kind == "traffic":
            cell[record["action"] + "s"] += 1
        elif kind == "social_posts":
            cell["posts"] += 1
    return {key: tuple(cell[name] for name in FIGURES) for key, cell in found.items()}


def stage(parts: list[list[tuple[str, dict[str, Any]]]], folder: Path) -> None:
    """Every part as a file a stream, beside the folders that are watched."""
    for at, part in enumerate(parts):
        for stream in STREAMS:
            lines = [json.dumps(record) for kind, record in part if kind == stream]
            (folder / f"{stream}-{at:04}.jsonl").write_text("\n".join(lines) + "\n")


def arrivals(staged: Path, source: Path) -> Iterator[None]:
    """Hand over the next part's files, whole by a link each; yields after each part."""
    parts = sorted({path.stem.rsplit("-", 1)[1] for path in staged.iterdir()})
    for at in parts:
        for stream in STREAMS:
            os.link(staged / f"{stream}-{at}.jsonl", source / stream / f"{at}.jsonl")
        yield


def fresh(folder: Path, numbers: Iterator[int]) -> Path:
    """A new place with an empty source; the one before is removed, so that disks do not fill."""
    number = next(numbers)
    shutil.rmtree(folder / str(number - 1), ignore_errors=True)
    for stream in STREAMS:
        (folder / str(number) / "source" / stream).mkdir(parents=True)
    return folder / str(number)


def figures(rows: list[dict[str, Any]]) -> Figures:
    """The newest figures by minute, SKU and region."""
    return {(r["minute"].isoformat(), r["sku_id"], r["region_id"]): tuple(r[n] for n in FIGURES) for r in rows}


def watch_words(place: Path) -> list[str]:
    """The watch's command line for the sale whose files come to `place`."""
    given = ["--lake", str(place / "lake"), "--source", str(place / "source"), "--campaign-id", "c"]
    hours = ["--starts-at", BEGAN.isoformat(), "--ends-at", (BEGAN + timedelta(minutes=MINUTES)).isoformat()]
    return [*given, *hours, "--checkpoint", str(place / "checkpoint"), "--every-seconds", "0"]


def watched(spark: Any, place: Path, coming: Iterator[None], waits: list[float]) -> Figures:
    """Watch in this process until nothing more comes; `waits` collects seconds from closed batches to alerts."""
    args = job.arguments(watch_words(place))
    lake = Lake(args.lake)
    watcher = Watcher(lake, job.sale_of(lake, args))
    query = job.start(spark, watcher, args)
    for _ in coming:
        query.processAllAvailable()
    query.stop()
    if not watcher.raised:
        raise AssertionError("the simulated sale sells out, yet no alert was raised")
    waits.extend(watcher.seconds)
    return figures(lake.read("live/minutes").to_pylist())


def our_side(spark: Any, staged: Path, folder: Path, waits: list[float]) -> Callable[[], Figures]:
    """The watch."""
    numbers = count(1)

    def run() -> Figures:
        place = fresh(folder, numbers)
        return watched(spark, place, arrivals(staged, place / "source"), waits)

    return run


def after_a_kill(spark: Any, staged: Path, folder: Path, truth: Figures) -> Result:
    """Share of minutes and cells that are right after a watch was killed in its second batch and another went on."""
    place = fresh(folder, count(1))
    coming = arrivals(staged, place / "source")
    next(coming)
    log = place / "killed.log"
    with log.open("w") as said:
        command = [sys.executable, str(ROOT / "spark_jobs" / "watch_live_sale.py"), *watch_words(place)]
        first = subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)
        try:
            _until(lambda: (place / "checkpoint" / "commits" / "0").exists(), first, log)
            next(coming)
            _until(lambda: (place / "checkpoint" / "offsets" / "1").exists(), first, log)
        finally:
            os.killpg(first.pid, signal.SIGKILL)
            first.wait()
    found = watched(spark, place, coming, [])
    right = sum(found.get(key) == value for key, value in truth.items()) - len(found.keys() - truth.keys())
    share = right / len(truth)
    return Result("live_exact_after_kill", share, share, share, float(right), float(len(truth)), "cells", machine())


def _until(ready: Callable[[], bool], process: subprocess.Popen[Any], log: Path) -> None:
    """Wait; raises where the process ends first, or after five minutes."""
    until = time.monotonic() + 300
    while not ready():
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"the watch did not come so far: {log.read_text()[-2000:]}")
        time.sleep(0.05)


def plain(spark: Any, source: Path) -> Any:
    """Minute figures as a first job would compute them: one frame a stream, one union, one group."""
    from pyspark.sql import functions as F

    from spark_jobs.live.events import contract_schema

    def counts(name: str) -> list[Any]:
        values: dict[str, Any] = {}
        if name == "orders":
            placed = F.col("status") == "placed"
            values = {"orders": F.when(placed, 1), "units": F.when(placed, F.col("quantity"))}
            values["revenue_cents"] = F.when(placed, (F.col("paid_amount") * 100).cast("long"))
        elif name == "traffic":
            values = {f"{action}s": F.when(F.col("action") == action, 1) for action in ("impression", "view", "cart")}
        elif name == "social_posts":
            values = {"posts": F.lit(1)}
        return [F.coalesce(values.get(f, F.lit(0)).cast("long"), F.lit(0)).alias(f) for f in FIGURES]

    whole = None
    for name in STREAMS:
        frame = spark.readStream.schema(contract_schema(name)).json(str(source / name))
        region = F.col("region_id") if "region_id" in frame.columns else F.lit("").alias("region_id")
        part = frame.select(F.lit(name).alias("stream"), "event_id", "event_at", "sku_id", region, *counts(name))
        whole = part if whole is None else whole.unionByName(part)
    once = whole.withWatermark("event_at", "10 minutes").dropDuplicatesWithinWatermark(["stream", "event_id"])
    grouped = once.groupBy(F.window("event_at", "1 minute").alias("span"), "sku_id", "region_id")
    return grouped.agg(*[F.sum(name).alias(name) for name in FIGURES]).select(
        F.col("span.start").alias("minute"), "sku_id", "region_id", *FIGURES
    )


def peer_side(spark: Any, staged: Path, folder: Path) -> Callable[[], Figures]:
    """The plain job: each batch's changed minutes become a Parquet file."""
    numbers = count(1)

    def run() -> Figures:
        place = fresh(folder, numbers)

        def keep(changed: Any, batch: int) -> None:
            changed.write.mode("overwrite").parquet(str(place / "minutes" / f"batch={batch:06}"))

        writer = plain(spark, place / "source").writeStream.outputMode("update").foreachBatch(keep)
        query = writer.option("checkpointLocation", str(place / "checkpoint")).start()
        for _ in arrivals(staged, place / "source"):
            query.processAllAvailable()
        query.stop()
        newest: Figures = {}
        for batch in sorted((place / "minutes").iterdir()):
            for path in sorted(batch.glob("*.parquet")):
                rows = pq.ParquetFile(path).read()
                at = rows.schema.get_field_index("minute")
                rows = rows.set_column(at, "minute", rows["minute"].cast(pa.timestamp("us", tz="UTC")))
                newest |= figures(rows.to_pylist())
        return newest

    return run


def latency(waits: list[float]) -> Result:
    """p99 of the seconds to alert against the bound; p50 is printed."""
    values = np.array(waits)
    p50, p99 = np.quantile(values, [0.5, 0.99])
    print(f"seconds from a closed micro-batch to its alerts: p50 {p50:.3f}, p99 {p99:.3f}, {len(values)} batches")
    draws = np.random.default_rng(0).choice(values, (2000, len(values)))
    low, high = np.quantile(BOUND / np.quantile(draws, 0.99, axis=1), [0.025, 0.975])
    return Result("live_alert_p99", BOUND / p99, float(low), float(high), float(p99), BOUND, "s", machine())


def main() -> None:
    """Measure and write `results/live.json`."""
    made = parser(__doc__ or "")
    made.add_argument("--events", type=int, help=f"different events (default {EVENTS}, with --quick {QUICK_EVENTS})")
    made.add_argument("--files", type=int, help=f"files they come in (default {FILES}, with --quick {QUICK_FILES})")
    made.add_argument("--rounds", type=int, help=f"default {ROUNDS}, with --quick 1")
    args = made.parse_args()
    from spark_jobs.session import build_session

    spark = build_session("benchmark-live")
    spark.sparkContext.setLogLevel("ERROR")
    events = args.events or (QUICK_EVENTS if args.quick else EVENTS)
    parts = sale(events, args.files or (QUICK_FILES if args.quick else FILES))
    truth, sent = counted(parts), sum(len(part) for part in parts)
    print(f"{sent} records of {events} events in {len(parts)} files, {len(truth)} minutes of cells, {THREADS} threads")
    waits: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        staged, ours, peer = (Path(scratch) / name for name in ("staged", "ours", "peer"))
        staged.mkdir()
        stage(parts, staged)
        sides = our_side(spark, staged, ours, waits), peer_side(spark, staged, peer)
        work, unit = sent // THREADS, "events/s a core"
        rounds = args.rounds or (1 if args.quick else ROUNDS)
        result = compare(
            "live_vs_micro_batch", *sides, rounds=rounds, same=lambda a, b: a == b == truth, work=work, unit=unit
        )
        exact = after_a_kill(spark, staged, Path(scratch) / "killed", truth)
    write("live", [result, latency(waits), exact], quick=args.quick)
    if exact.ratio != 1.0:
        raise AssertionError(f"live_exact_after_kill: {exact.ours:.0f} of {exact.peer:.0f} cells are right")
    spark.stop()


if __name__ == "__main__":
    main()
