"""A submitted job leaves the driver's address open: on a cluster its executors must reach it."""

from __future__ import annotations

from pathlib import Path

import pytest

from flashsale.local.environment import Ports, environment
from flashsale_plugins.spark import spark_job


@pytest.mark.parametrize(("master", "address"), [(None, "127.0.0.1"), ("spark://host:7077", None)])
def test_only_one_machine_keeps_to_loopback(
    master: str | None, address: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPARK_LOCAL_IP", raising=False)
    monkeypatch.delenv("FLASHSALE_SPARK_MASTER", raising=False)
    if master:
        monkeypatch.setenv("FLASHSALE_SPARK_MASTER", master)
    found = environment(tmp_path, {"airflow": "postgresql:///airflow"}, Ports(1, 2, 3))
    assert found.get("SPARK_LOCAL_IP") == address
    assert "SPARK_LOCAL_IP" not in spark_job("clean_social_text.py")["env_vars"]
