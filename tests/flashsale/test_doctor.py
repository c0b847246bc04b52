"""The doctor names what is wrong and what to do."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from flashsale import doctor


@pytest.mark.parametrize(
    ("text", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_392"', 8),
        ('openjdk version "21"', 21),
        ("", None),
    ],
)
def test_java_versions(text: str, major: int | None) -> None:
    assert doctor.java_major(text) == major


def test_a_taken_port_has_a_remedy(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setenv("FLASHSALE_MLFLOW_PORT", str(taken.getsockname()[1]))
        found = {f.check.split("(")[-1].rstrip(")"): f for f in doctor.check_ports()}
    assert found["mlflow"].level == "warn" and "FLASHSALE_MLFLOW_PORT" in found["mlflow"].remedy


def test_no_java_has_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    found = doctor.check_java()
    assert found.level == "fail" and "make java" in found.remedy


def test_this_machine_is_fit() -> None:
    assert doctor.check_python().level == "ok"
    assert doctor.check_packages().level == "ok"
