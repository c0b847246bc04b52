"""Cleaning on a real standalone cluster of two workers, one of which is killed in the middle: the same bytes.

It takes six Java processes and more than a minute, so it runs where FLASHSALE_CLUSTER=1 asks for it.
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
    """Posts of eight days, with identifiers, markup and repeats."""
    rng, words = random.Random(4), WORDS.split()
    began = datetime(2026, 1, 1, tzinfo=UTC)
    for day in range(DAYS):
        rows: list[dict[str, Any]] = []
        for number in range(ROWS):
            text = " ".join(rng.choices(words, k=rng.randint(3, 40)))
            rows.append({
                "event_id": f"{day}-{number:05}", "event_at": began + timedelta(days=day, seconds=number * 50),
                "post_id": f"p{day}-{number}", "platform": "x", "author_id": f"a{number % 400}", "language": None,
                "text": rows[-1]["text"] if rows and rng.random() < 0.1 else text,
                "likes": number % 5, "reposts": 0, "sku_id": f"s{number % 6}",
            })  # fmt: skip
        table = pa.Table.from_pylist(rows, schema=load_contract("social_posts").arrow_schema())
        lake.write("raw/social_posts", f"date={(began + timedelta(days=day)).date()}", table)


def submit(lake: Path, master: str, log: Path, *settings: str) -> Daemon:
    conf = [word for one in settings for word in ("--conf", one)]
    spark_submit = str(Path(sys.executable).with_name("spark-submit"))
    job = str(ROOT / "spark_jobs" / "clean_social_text.py")
    return start([spark_submit, "--master", master, *conf, job, "--lake", str(lake)], log, ROOT)


def files(lake: Path) -> dict[str, bytes]:
    """Everything the job committed, manifests too, by its place in the lake."""
    return {str(p.relative_to(lake)): p.read_bytes() for p in sorted((lake / "text").rglob("*")) if p.is_file()}


def test_a_killed_worker_changes_no_byte(tmp_path: Path) -> None:
    for name in ("alone", "many"):
        shop(Lake(str(tmp_path / name)))
    alone = submit(tmp_path / "alone", "local[*]", tmp_path / "alone.log")
    assert alone.process.wait(300) == 0, alone.log.read_text()[-3000:]
    lake = Lake(str(tmp_path / "many"))
    with cluster(tmp_path) as (master, workers):
        job = submit(
            tmp_path / "many", master, tmp_path / "many.log", "spark.executor.memory=512m", "spark.executor.cores=1"
        )
        try:
            wait_for(lambda: bool(lake.partitions("text/duplicates")), job)
            assert all(list((tmp_path / f"work-{n}").glob("app-*/*")) for n in range(2)), "an executor on each worker"
            workers[0].kill()
            assert len(lake.partitions("text/clean")) < DAYS, "nothing was left to do when the worker died"
            assert job.process.wait(300) == 0, job.log.read_text()[-3000:]
        finally:
            job.kill()
    assert "Lost executor" in job.log.read_text()
    theirs, ours = files(tmp_path / "alone"), files(tmp_path / "many")
    assert len(theirs) == 3 * 2 * DAYS
    assert ours == theirs
