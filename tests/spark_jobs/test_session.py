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


@pytest.mark.parametrize(("master", "loopback"), [("local[*]", True), ("spark://far:7077", False)])
def test_a_clusters_driver_does_not_hide_on_loopback(
    master: str, loopback: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Executors on other machines have to reach it; what one machine runs needs no other address."""
    from flashsale.local.environment import Ports, environment
    from flashsale_plugins.spark import spark_job

    monkeypatch.delenv("SPARK_LOCAL_IP", raising=False)
    monkeypatch.setenv("FLASHSALE_SPARK_MASTER", master)
    stack = environment(tmp_path, {"airflow": "postgresql://h/airflow"}, Ports())
    assert (stack.get("SPARK_LOCAL_IP") == "127.0.0.1") is loopback
    assert f'"{master}"' in stack["AIRFLOW_CONN_SPARK_DEFAULT"]
    assert "SPARK_LOCAL_IP" not in spark_job("clean_social_text.py")["env_vars"]
