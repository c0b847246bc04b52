"""The demo: the whole loop once, by real Airflow DAGs, on a simulated shop, public orders or any folder source."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from flashsale.errors import InputError
from flashsale.local.environment import ADMIN, ROOT, Ports
from flashsale.local.measure import MemoryMeter, Timings
from flashsale.local.results import collect, show
from flashsale.local.runs import Driver
from flashsale.local.secret import secret
from flashsale.local.service import LOOP_PARTS, Stack, free_port
from flashsale.settings import settings

#: A load by form names its days; these hold any history, so that the gate itself judges what lies in the future.
ALL_DAYS = {"first_day": "2000-01-01", "last_day": "2099-12-31"}


def say(words: str) -> None:
    """A line of progress."""
    print(words, file=sys.stderr, flush=True)


def world_home(source: str) -> Path:
    """Folder of one source's lake, warehouse and models, so that two sources never mix."""
    if source in ("simulated", "completejourney"):
        return settings().home / "worlds" / source
    path = str(Path(source).expanduser().absolute())
    name = re.sub(r"[^A-Za-z0-9]+", "-", Path(path).name).strip("-") or "source"
    return settings().home / "worlds" / f"{name}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"


def prepare_source(source: str, home: Path) -> Path:
    """The folder source to read; the simulated shop and the public set are written on first use."""
    commands = {
        "simulated": ["-m", "marketplace", "write"],
        "completejourney": ["-m", "flashsale.corpora.completejourney"],
    }
    if source not in commands:
        folder = Path(source).expanduser().absolute()
        if not folder.is_dir():
            raise InputError(f"source {source}", "there is no such folder", "give SOURCE=DIR with one file a stream")
        if not (folder / "sale_request.yaml").is_file():
            raise InputError(
                f"source {source}", "holds no sale_request.yaml", "add the request for the next sale (README)"
            )
        return folder
    folder = home / "shop"
    if not (folder / "sale_request.yaml").exists():
        staged = home / "shop.staged"
        shutil.rmtree(staged, ignore_errors=True)
        subprocess.run(
            [sys.executable, *commands[source], "--out", str(staged)], check=True, cwd=ROOT, stdout=subprocess.DEVNULL
        )
        staged.rename(folder)
    return folder


def _loop(driver: Driver, config: str) -> None:
    """The stages of the loop, each a DAG run that a person could start from the UI."""
    api = driver.api
    dags = {"ingest_raw_events", "process_social_text", "build_features", "train_text_model", "train_demand_model"}
    api.wait_for_dags(dags | {"post_sale"})
    for dag_id in sorted(dags | {"post_sale"}):
        api.end_open_runs(dag_id)
    api.pause("post_sale")  # it follows the features by itself; here it waits for the demand model
    api.unpause_all(dags)
    driver.run("Fine-tune BERT, review, promote", "train_text_model", {"config": config})
    since = driver.run("Ingest raw events", "ingest_raw_events", ALL_DAYS)
    driver.follow("Clean and score social text", "process_social_text", since)
    driver.follow("Build, audit and publish features", "build_features", since)
    driver.run("Train the demand model, review, promote", "train_demand_model", {})
    api.unpause("post_sale")
    driver.run("Score past sales, plan the next one, approve", "post_sale", {})


def run_demo(*, source: str, out: str, approve_as: str | None) -> dict[str, Any]:
    """Run the loop on `source` and leave the results in `out`.

    Args:
        source: `simulated`, `completejourney`, or a folder source with a `sale_request.yaml`.
        out: folder of the results, made where it is missing.
        approve_as: name under which the reviews are answered with yes; None waits for a person in the UI.

    Returns what was made and how long it took. Everything that was started is ended, also after an error.
    """
    began = time.time()
    home, target = world_home(source), Path(out).absolute()
    home.mkdir(parents=True, exist_ok=True)
    timings = Timings()
    with timings.stage("Prepare the source", say):
        folder = prepare_source(source, home)
    users = (ADMIN,) if approve_as in (None, ADMIN) else (ADMIN, str(approve_as))
    ports = Ports(airflow=free_port(), mlflow=free_port(), marketplace=free_port())
    extra = {
        "FLASHSALE_SOURCE": str(folder),
        "FLASHSALE_SCHEDULES": "off",
        "FLASHSALE_TASK_RETRIES": "0",
        "FLASHSALE_CACHE": str(settings().cache or settings().home),
        "FLASHSALE_TEXT_CONFIG": "demo",
        "FLASHSALE_EXPLAIN_TEXTS": "4",  # a sample of a sample: the demo has minutes
    }
    stack = Stack(home, ports, users=users, extra=extra, parts=LOOP_PARTS)
    stack.stop()  # what a crash left behind
    signal.signal(signal.SIGTERM, _interrupt)
    meter = MemoryMeter(stack.processes)
    try:
        with meter:
            with timings.stage("Start PostgreSQL, Airflow and MLflow", say):
                stack.start()
            _announce(stack, approve_as)
            driver = Driver(stack.api(), timings, say, reviewer=stack.api(approve_as) if approve_as else None)
            _loop(driver, "demo")
            with timings.stage("Write the results", say):
                found = collect(stack, home, target)
    finally:
        stack.stop()
    figures = timings.summary(time.time() - began) | {"peak_memory_mib": meter.peak_mib}
    (target / "timings.json").write_text(json.dumps(figures, indent=1))
    show(target, figures, say)
    return {
        "out": str(target),
        **found,
        **{k: figures[k] for k in ("wall_s", "orchestration_share", "peak_memory_mib")},
    }


def _interrupt(*_: object) -> None:
    """A polite end is an interrupt: what was started is ended on the way out."""
    raise KeyboardInterrupt


def _announce(stack: Stack, approve_as: str | None) -> None:
    say(f"Airflow  http://127.0.0.1:{stack.ports.airflow}   MLflow  http://127.0.0.1:{stack.ports.mlflow}")
    if approve_as:
        say(f"Reviews are answered with yes as {approve_as!r} (--approve-as); every answer is stored with that name.")
    else:
        password = secret(stack.home, f"airflow-{ADMIN}.password")
        say(f"Reviews wait for you in Airflow: user {ADMIN}, password {password}")
