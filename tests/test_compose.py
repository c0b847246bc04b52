"""docker-compose.yml: pinned images, loopback ports, no secret written down, every program known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_the_parts_of_the_platform_are_there() -> None:
    assert {
        "airflow-api",
        "airflow-scheduler",
        "airflow-dag-processor",
        "airflow-triggerer",
        "postgres",
        "spark-master",
        "spark-worker",
        "mlflow",
        "marketplace",
    } <= set(COMPOSE["services"])


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_images_are_pinned_and_ports_are_loopback(name: str) -> None:
    service = COMPOSE["services"][name]
    assert re.search(r":\d+\.\d+", service["image"]) and "latest" not in service["image"]
    assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", []))


def test_every_secret_comes_from_the_environment() -> None:
    asked = set(re.findall(r"\$\{(\w+):\?", (ROOT / "docker-compose.yml").read_text()))
    offered = {
        line.split("=")[0]
        for line in (ROOT / ".env.example").read_text().splitlines()
        if "=" in line and line[0] != "#"
    }
    assert asked == offered
    for service in COMPOSE["services"].values():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN|KEY", key):
                assert "${" in str(value), key


def test_a_training_waits_for_the_trainers_login() -> None:
    services = COMPOSE["services"]
    assert services["airflow-scheduler"]["depends_on"]["mlflow-rights"]["condition"] == "service_completed_successfully"
    assert services["mlflow-rights"]["command"] == ["python", "-m", "ml", "registry", "rights"]
    environment = services["airflow-scheduler"]["environment"]
    assert environment["FLASHSALE_MLFLOW_TRAINER_PASSWORD"] != environment["MLFLOW_TRACKING_PASSWORD"]
    assert environment["FLASHSALE_MLFLOW_TRAINER_USERNAME"] != environment["MLFLOW_TRACKING_USERNAME"]


def test_the_base_images_are_pinned() -> None:
    lines = [line for line in (ROOT / "docker" / "Dockerfile").read_text().splitlines() if line.startswith("FROM ")]
    assert lines
    assert all(re.search(r":\d+\.\d+\.\d+", line) for line in lines)
