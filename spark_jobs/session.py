"""The one place that builds a Spark session."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pyspark.sql import SparkSession

ROOT = Path(__file__).parents[1]


def build_session(name: str) -> SparkSession:
    """A session for a job; master and resources are the submitter's, these settings are ours.

    Python workers run this interpreter: Spark would take `python3` from the PATH, which may lack our packages.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    builder = SparkSession.builder.appName(name)
    if "spark.master" not in _submitted():
        master = os.environ.get("FLASHSALE_SPARK_MASTER", "local[*]")
        if master.startswith("local"):  # a cluster's executors must reach the driver, on whatever address it has there
            os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        builder = builder.master(master)
    return (
        builder.config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", os.environ.get("FLASHSALE_SHUFFLE_PARTITIONS", "4"))
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "20000")
        # A lake of days is many small files whose addresses the manifests name. Spark would start a task for each of
        # them to look it up, and count each as 4 MiB when it parts the work.
        .config("spark.sql.sources.parallelPartitionDiscovery.threshold", "4096")
        .config("spark.sql.files.openCostInBytes", "65536")
        .config("spark.executorEnv.PYTHONPATH", str(ROOT))
        .config("spark.executorEnv.OMP_NUM_THREADS", "1")
        .getOrCreate()
    )


def shared_path(folder: str) -> str:
    """A folder given on the command line as every executor can use it: each runs in a folder of its own."""
    return str(Path(folder).resolve())


def _submitted() -> set[str]:
    """Settings that came with `spark-submit`; they are in its JVM, which a plain `SparkConf()` does not ask."""
    from pyspark import SparkConf, SparkContext

    if "PYSPARK_GATEWAY_PORT" not in os.environ:  # no JVM started this process
        return set()
    SparkContext._ensure_initialized()
    return {key for key, _ in SparkConf().getAll()}
