"""Do once, after an installation, what every process would otherwise do for itself.

    python scripts/prepare.py

Python compiles the modules it imports; numba compiles the kernels of text and allocation; Java reads and checks Spark's
classes, which are kept as an archive that a later `java` maps into memory; dbt reads the project's files; the embedded
base model is converted. What fails is told and left: it is made on first use, or done without, and costs time alone.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "plugins")]

from flashsale.java import SHORT_JOBS, class_archive

#: Where the platform's processes begin: to import these compiles them and all that they need.
ENTRIES = (
    "airflow.__main__ airflow.api_fastapi.app airflow.jobs.scheduler_job_runner airflow.dag_processing.manager "
    "airflow.sdk.execution_time.task_runner airflow.providers.apache.spark.operators.spark_submit great_expectations",
    "mlflow.server.auth mlflow.server.fastapi_app dbt.cli.main dbt.adapters.duckdb lightgbm matplotlib.pyplot",
    "torch transformers peft sklearn.linear_model sklearn.feature_extraction.text scipy.optimize scipy.stats highspy",
)


def modules(*names: str) -> None:
    """Import modules."""
    for name in names:
        importlib.import_module(name)


def kernels() -> None:
    """Plan a handful of cells: whatever numba compiles for it is kept beside its source."""
    import numpy as np

    from ml.allocation.cells import make_cells
    from ml.allocation.units import solve_cells

    demand = np.random.default_rng(0).poisson(5, (6, 20))
    one = np.ones(3)
    limits = np.array([60.0, 30.0, 20.0, 20.0])
    offers = {"price": 9 * one, "unit_cost": 4 * one, "salvage": one, "list_price": 10 * one}
    supply, shipping = np.full(3, 10), np.ones(2)
    solve_cells(make_cells(demand, 3, shipping=shipping, supply=supply, limits=limits, **offers))


def classes(lake_uri: str) -> None:
    """Clean a few texts and look for trends in them, by Spark, on a lake of three days."""
    from datetime import UTC, datetime, timedelta

    import pyarrow as pa

    from flashsale.contracts import load_contract
    from flashsale.lake import Lake
    from spark_jobs import clean_social_text, detect_trends
    from spark_jobs.cleaning import table
    from spark_jobs.session import build_session

    lake = Lake(lake_uri)
    texts = [rule["example"]["in"] for rule in table()["rules"] if "example" in rule]
    for number, stream in enumerate(clean_social_text.STREAMS):
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)
        given = {"event_id": [f"e{i}" for i in range(len(texts))], "event_at": [at] * len(texts), "text": texts}
        fields = load_contract(stream).arrow_schema()
        columns = [pa.array(given.get(f.name, ["1"] * len(texts))).cast(f.type) for f in fields]
        lake.write(f"raw/{stream}", f"date={at:%Y-%m-%d}", pa.Table.from_arrays(columns, schema=fields))
    spark = build_session("prepare")
    clean_social_text.run(spark, lake)
    detect_trends.run(spark, lake)
    spark.stop()


def project(home: str) -> None:
    """Have dbt parse the project and keep what it makes of it, for homes that have not built yet."""
    from flashsale import dbt

    os.environ["FLASHSALE_HOME"] = home
    dbt.keep_parsed()


def model() -> None:
    """Convert the embedded base model."""
    from ml.text.base import ensure_base_model

    ensure_base_model("embedded")


#: Steps by the word that starts each in a process of its own.
STEPS: dict[str, Callable[..., None]] = {step.__name__: step for step in (modules, kernels, classes, project, model)}


def _step(step: Callable[..., None], *words: str, **variables: str) -> str:
    """Run a step in a process of its own; returns what went wrong, or nothing."""
    name = step.__name__
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PYSPARK_SUBMIT_ARGS")}
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins")])
    environment = {**kept, "PYTHONPATH": path, "TZ": "UTC", "GX_ANALYTICS_ENABLED": "false", **variables}
    command, began = [sys.executable, str(Path(__file__)), name, *words], time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    print(f"  {name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return f"{name}: {done.stderr.strip()[-400:]}" if done.returncode else ""


def _imports(scratch: Path) -> list[str]:
    home = str(scratch / "airflow")
    return [
        *[_step(modules, *names.split(), AIRFLOW_HOME=home) for names in ENTRIES],
        _step(model),
        _step(project, str(scratch / "dbt")),
    ]


def _jobs(scratch: Path) -> list[str]:
    archive = class_archive()
    staged = archive.with_suffix(".staged")
    staged.unlink(missing_ok=True)
    options = f"--driver-java-options '-XX:ArchiveClassesAtExit={staged} -Xlog:disable' pyspark-shell"
    # one worker: two would compile the same kernels side by side
    settings = {"FLASHSALE_SPARK_MASTER": "local[1]", "FLASHSALE_SHUFFLE_PARTITIONS": "1"}
    settings |= {"PYSPARK_SUBMIT_ARGS": options, "JDK_JAVA_OPTIONS": SHORT_JOBS}
    wrong = _step(classes, str(scratch / "lake"), **settings)
    if staged.exists():
        staged.replace(archive)
    return [wrong, _step(kernels)]


def main() -> None:
    """Do every step, two at a time; what fails is told."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(2) as pool:
        running = [pool.submit(part, Path(place)) for part in (_imports, _jobs)]
        wrong = [words for part in running for words in part.result() if words]
    for words in wrong:
        print(f"not prepared: {words}", file=sys.stderr)
    print(f"prepared in {time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        STEPS[sys.argv[1]](*sys.argv[2:])
