"""Every job on a real standalone cluster of two workers, one of which is killed in the middle: the same figures.

It takes some twenty Java processes and minutes, so it runs where FLASHSALE_CLUSTER=1 asks for it (`make cluster`).
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flashsale.contracts import load_contract
from flashsale.lake import Lake
from tests.conftest import ROOT
from tests.spark_jobs.live.test_watch import BEGAN, REGIONS, SKUS, asked, counted, drop, expected, sale_events
from tests.spark_jobs.test_scoring import model  # noqa: F401  a fixture of another file: a model made on the spot

pytestmark = [
    pytest.mark.spark,
    pytest.mark.skipif(os.environ.get("FLASHSALE_CLUSTER") != "1", reason="FLASHSALE_CLUSTER=1 runs it (minutes)"),
]
DAYS, ROWS = 8, 1500
WORDS = "电池 很 耐用 快递 太 慢 the battery lasts long <b>nice</b> 13812345678 a.b@mail.example https://x.example/1 #好物# &amp; 😀"


def environment() -> dict[str, str]:
    import pyspark

    return {
        **os.environ,
        "SPARK_HOME": str(Path(pyspark.__file__).parent),
        "SPARK_SCALA_VERSION": "2.13",  # what `load-spark-env.sh` would say; the worker looks for build folders without
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_DAEMON_MEMORY": "256m",
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "FLASHSALE_SHUFFLE_PARTITIONS": "4",
    }


@dataclass
class Daemon:
    """A process in a group of its own, with its log."""

    process: subprocess.Popen[bytes]
    log: Path

    def kill(self) -> None:
        """End the process and the executors it started, without a warning."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)


def start(command: list[str], log: Path, folder: Path) -> Daemon:
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=folder, env=environment(), stdout=out, stderr=out, start_new_session=True
        )
    return Daemon(process, log)


def wait_for(ready: Callable[[], bool], daemon: Daemon, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not ready():
        assert daemon.process.poll() is None and time.monotonic() < until, daemon.log.read_text()[-3000:]
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def java(kind: str, *arguments: str) -> list[str]:
    found = shutil.which("java")
    assert found is not None
    jars = f"{environment()['SPARK_HOME']}/jars/*"
    return [found, "-Xmx256m", "-cp", jars, f"org.apache.spark.deploy.{kind}", "--host", "127.0.0.1", *arguments]


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, list[Daemon]]]:
    """A master and two workers of one core each; the master's address and the workers."""
    port = free_port()
    address, running = f"spark://127.0.0.1:{port}", []
    try:
        master = start(java("master.Master", "--port", str(port), "--webui-port", "0"), folder / "master.log", folder)
        running.append(master)
        wait_for(lambda: "Starting Spark master at" in master.log.read_text(), master)
        for number in range(2):
            more = ["--cores", "1", "--memory", "1g", "--webui-port", "0", "--work-dir", str(folder / f"work-{number}")]
            running.append(start(java("worker.Worker", *more, address), folder / f"worker-{number}.log", folder))
        wait_for(lambda: master.log.read_text().count("Registering worker") == 2, master)
        yield address, running[1:]
    finally:
        for one in reversed(running):
            one.kill()


def shop(lake: Lake) -> None:
    """Posts of eight days, with identifiers, markup and repeats; visits beside them, and what is sold."""
    rng, words = random.Random(4), WORDS.split()
    began = datetime(2026, 1, 1, tzinfo=UTC)
    goods = [{"event_id": f"k{n}", "event_at": began, "sku_id": f"s{n}", "title": "t", "category": f"c{n % 2}",
              "brand": "b", "list_price": 3, "unit_cost": 1, "currency": "CNY", "launched_at": began} for n in range(6)]  # fmt: skip
    write(lake, "catalog", began, goods)
    orders = [{"event_id": f"o{n}", "event_at": began + timedelta(hours=n), "order_id": f"o{n}", "line_no": 1,
               "user_id": f"u{n % 90}", "sku_id": f"s{n % 6}", "region_id": "east", "quantity": 1, "unit_price": 3,
               "paid_amount": 3, "promo_type": None, "campaign_id": None, "status": "placed"} for n in range(23)]  # fmt: skip
    write(lake, "orders", began, orders)
    for day in range(DAYS):
        posts: list[dict[str, Any]] = []
        visits: list[dict[str, Any]] = []
        for number in range(ROWS):
            text = " ".join(rng.choices(words, k=rng.randint(3, 40)))
            at = began + timedelta(days=day, seconds=number * 50)
            posts.append({
                "event_id": f"{day}-{number:05}", "event_at": at, "post_id": f"p{day}-{number}", "platform": "x",
                "author_id": f"a{number % 400}", "language": None, "likes": number % 5, "reposts": 0,
                "text": posts[-1]["text"] if posts and rng.random() < 0.1 else text, "sku_id": f"s{number % 6}",
            })  # fmt: skip
            visits.append({
                "event_id": f"v{day}-{number:05}", "event_at": at, "session_id": f"x{number // 3}",
                "user_id": f"u{number % 90}", "sku_id": f"s{number % 6}", "region_id": "east", "campaign_id": None,
                "action": rng.choice(["impression", "view", "cart"]),
            })  # fmt: skip
        write(lake, "social_posts", began + timedelta(days=day), posts)
        write(lake, "traffic", began + timedelta(days=day), visits)


def write(lake: Lake, stream: str, day: datetime, rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows, schema=load_contract(stream).arrow_schema())
    lake.write(f"raw/{stream}", f"date={day.date()}", table)


def submit(job: str, master: str, log: Path, arguments: list[str], *settings: str) -> Daemon:
    conf = [word for one in settings for word in ("--conf", one)]
    spark_submit = str(Path(sys.executable).with_name("spark-submit"))
    return start(
        [spark_submit, "--master", master, *conf, str(ROOT / "spark_jobs" / f"{job}.py"), *arguments], log, ROOT
    )


def run(job: str, master: str, log: Path, arguments: list[str], *settings: str) -> None:
    daemon = submit(job, master, log, arguments, *settings)
    assert daemon.process.wait(300) == 0, log.read_text()[-3000:]


def files(lake: Path) -> dict[str, bytes]:
    """Everything the jobs committed, manifests too, by its place in the lake."""
    found = (p for p in sorted(lake.rglob("*")) if p.is_file() and p.relative_to(lake).parts[0] != "raw")
    return {str(p.relative_to(lake)): p.read_bytes() for p in found}


def has_executors(folder: Path) -> bool:
    return all(list((folder / f"work-{number}").glob("app-*/*")) for number in range(2))


SMALL = ("spark.executor.memory=512m", "spark.executor.cores=1")


def test_a_killed_worker_changes_no_byte_of_any_job(tmp_path: Path, model: Path) -> None:  # noqa: F811
    jobs: dict[str, list[str]] = {
        "detect_trends": [], "sessionize_traffic": ["--buckets", "2"], "score_social_text": ["--model", str(model)],
    }  # fmt: skip
    lakes = {name: ["--lake", str(tmp_path / name)] for name in ("alone", "many")}
    for name in lakes:
        shop(Lake(str(tmp_path / name)))
    run("clean_social_text", "local[*]", tmp_path / "alone.log", lakes["alone"])
    for job, more in jobs.items():
        run(job, "local[*]", tmp_path / "alone.log", lakes["alone"] + more)
    lake = Lake(str(tmp_path / "many"))
    with cluster(tmp_path) as (master, workers):
        cleaning = submit("clean_social_text", master, tmp_path / "many.log", lakes["many"], *SMALL)
        try:
            wait_for(lambda: bool(lake.partitions("text/duplicates")), cleaning)
            assert has_executors(tmp_path), "an executor on each worker"
            workers[0].kill()
            assert len(lake.partitions("text/clean")) < DAYS, "nothing was left to do when the worker died"
            assert cleaning.process.wait(300) == 0, cleaning.log.read_text()[-3000:]
        finally:
            cleaning.kill()
        assert "Lost executor" in cleaning.log.read_text()
        for job, more in jobs.items():
            run(job, master, tmp_path / f"{job}.log", lakes["many"] + more, *SMALL)
    theirs, ours = files(tmp_path / "alone"), files(tmp_path / "many")
    datasets = {"/".join(Path(name).parts[:2]) for name in theirs}
    assert datasets >= {"text/clean", "text/duplicates", "text/terms", "text/scored", "behaviour/users"}
    assert ours == theirs


def test_a_watch_counts_on_when_a_worker_dies(tmp_path: Path) -> None:
    """Minute figures equal a count in plain Python, with repeats, late events and a worker killed in the middle."""
    events, source = sale_events(), tmp_path / "source"
    parts = [events[at : at + 300] for at in range(0, len(events), 300)]
    drop(source, parts[0], "00")
    ends = (BEGAN + timedelta(minutes=37)).isoformat()
    words = asked(tmp_path, str(source), "--every-seconds", "0", "--ends-at", ends)
    lake = Lake(str(tmp_path / "lake"))
    with cluster(tmp_path) as (master, workers):
        watch = submit("watch_live_sale", master, tmp_path / "watch.log", words, *SMALL)
        try:
            wait_for(lambda: lake.manifest("live/minutes", "campaign_id=c1") is not None, watch, 240)
            assert has_executors(tmp_path), "an executor on each worker"
            for at, part in enumerate(parts[1:], 1):
                drop(source, part, f"{at:02d}")
                if at == 3:
                    workers[0].kill()
                time.sleep(0.7)
            assert watch.process.wait(300) == 0, watch.log.read_text()[-3000:]
        finally:
            watch.kill()
    assert "Lost executor" in watch.log.read_text()
    assert counted(lake) == expected(events)
    alerts = lake.read("live/alerts").to_pylist() if lake.partitions("live/alerts") else []
    assert len({a["alert_id"] for a in alerts}) == len(alerts)
    standing = {(r["sku_id"], r["region_id"]) for r in lake.read("live/standing").to_pylist()}
    assert standing == {(sku, region) for sku in SKUS for region in REGIONS}
