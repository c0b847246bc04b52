"""A job runs on the master it was submitted to; without one, on the one that the environment names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from spark_jobs.session import build_session
print("master:", build_session("test").sparkContext.master, flush=True)
"""


@pytest.mark.spark
@pytest.mark.parametrize("submitted", [True, False])
def test_the_submitted_master_counts(submitted: bool, tmp_path: Path) -> None:
    import pyspark

    script = tmp_path / "job.py"
    script.write_text(PROGRAM.format(root=str(ROOT)))
    environment = {
        **os.environ,
        "SPARK_HOME": str(Path(pyspark.__file__).parent),
        "PYSPARK_PYTHON": sys.executable,
        "FLASHSALE_SPARK_MASTER": "local[3]",
    }
    submit = [str(Path(sys.executable).with_name("spark-submit")), "--master", "local[1]"]
    command = [*submit, str(script)] if submitted else [sys.executable, str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert f"master: local[{1 if submitted else 3}]" in done.stdout
