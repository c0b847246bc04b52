"""Airflow's local settings: who forks tasks loads Great Expectations first, everyone else stays light."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import airflow_local_settings

PLUGINS = Path(__file__).parents[2] / "plugins"
PROBE = """
import json, sys, threading
sys.argv = ["airflow", "scheduler", "--pid", "x"]
import airflow_local_settings
print(json.dumps([name in sys.modules for name in airflow_local_settings.NEEDED] + [threading.active_count()]))
"""


@pytest.mark.parametrize(
    ("words", "forks"),
    [
        ("scheduler", True),
        ("celery worker -q text", True),
        ("api-server", False),
        ("celery flower", False),
        ("", False),
    ],
)
def test_only_processes_that_fork_tasks_load_ahead(words: str, forks: bool) -> None:
    assert airflow_local_settings.forks_tasks(["airflow", *words.split()]) is forks


def test_a_scheduler_has_everything_loaded_and_no_thread_that_a_fork_would_lose(tmp_path: Path) -> None:
    script = tmp_path / "scheduler.py"  # a file: without one pyspark, which is imported too, ends the process
    script.write_text(PROBE)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(PLUGINS)}
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [True] * len(airflow_local_settings.NEEDED) + [1]
