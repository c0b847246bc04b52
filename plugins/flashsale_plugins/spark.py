"""How a Spark job is submitted: same file, same arguments, whatever master the connection `spark_default` names."""

from __future__ import annotations

import os
import sys
from typing import Any

from flashsale.settings import settings
from flashsale_plugins.operators import ROOT


def spark_job(file: str, *arguments: str) -> dict[str, Any]:
    """Keyword arguments of a SparkSubmitOperator for a job of `spark_jobs/` over the configured lake."""
    return {
        "application": str(ROOT / "spark_jobs" / file),
        "application_args": ["--lake", settings().lake_uri, *arguments],
        "conn_id": "spark_default",
        "name": file.removesuffix(".py"),
        "driver_memory": os.environ.get("FLASHSALE_SPARK_DRIVER_MEMORY", "1g"),
        "conf": {"spark.ui.enabled": "false", "spark.sql.session.timeZone": "UTC"},
        # Spark would start `python3` from the PATH; it must be the interpreter that has our packages
        "env_vars": {
            "PYSPARK_PYTHON": sys.executable,
            "PYSPARK_DRIVER_PYTHON": sys.executable,
            "PYTHONPATH": str(ROOT),
        },
    }
