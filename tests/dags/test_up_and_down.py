"""`make up` waits until everything is healthy and asks for a login; `make down` ends all of it, also after a crash."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import requests

from flashsale.local.processes import Processes
from flashsale.local.service import free_port
from tests.conftest import ROOT

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]


def flashsale(command: str, environment: dict[str, str]) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "flashsale", command], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def test_up_is_healthy_locked_and_down_leaves_nothing(tmp_path: Path) -> None:
    ports = {f"FLASHSALE_{name}_PORT": str(free_port()) for name in ("AIRFLOW", "MLFLOW", "MARKETPLACE")}
    environment = {
        **os.environ, **ports, "FLASHSALE_HOME": str(tmp_path / "home"), "FLASHSALE_SCHEDULES": "off",
        "FLASHSALE_CACHE": str(ROOT / ".flashsale"), "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    try:
        up = flashsale("up", environment)
        assert set(up["running"]) == {"api-server", "scheduler", "dag-processor", "triggerer", "mlflow", "marketplace"}  # type: ignore[call-overload]
        login = up["login"]
        assert isinstance(login, dict)
        assert requests.get(f"{up['airflow']}/api/v2/dags", timeout=10).status_code == 401
        answer = requests.post(
            f"{up['airflow']}/auth/token",
            json={"username": login["user"], "password": login["airflow_password"]},
            timeout=10,
        )
        assert answer.status_code == 201
        token = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        dags = requests.get(f"{up['airflow']}/api/v2/dags", headers=token, timeout=10).json()["dags"]
        assert {d["dag_id"] for d in dags} == {path.stem for path in (ROOT / "dags").glob("[a-z]*.py")}
        assert not any(d["is_paused"] for d in dags)
        experiments = f"{up['mlflow']}/api/2.0/mlflow/experiments/search"
        assert requests.post(experiments, json={"max_results": 1}, timeout=10).status_code == 401
        user = (login["user"], login["mlflow_password"])
        assert requests.post(experiments, json={"max_results": 1}, auth=user, timeout=10).status_code == 200
        assert requests.get(f"{up['marketplace']}/v1/catalog", timeout=10).status_code == 401
        assert flashsale("up", environment)["running"] == up["running"]  # a second `up` starts nothing
        known = Processes(tmp_path / "home").known()
        os.kill(next(s.pid for s in known if s.name == "scheduler"), signal.SIGKILL)  # a crash
    finally:
        flashsale("down", environment)
    home = str(tmp_path / "home")
    left = [p.info["cmdline"] for p in psutil.process_iter(["cmdline"]) if home in " ".join(p.info["cmdline"] or [])]
    assert left == []
    assert not any(psutil.pid_exists(s.pid) for s in known)
