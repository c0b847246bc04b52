"""Shared by the tests of `ml`: a platform home of their own, with an empty registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flashsale.settings import settings


@pytest.fixture()
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh FLASHSALE_HOME; settings are read again before and after."""
    monkeypatch.setenv("FLASHSALE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FLASHSALE_MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    settings.cache_clear()
    yield tmp_path / "home"
    settings.cache_clear()
