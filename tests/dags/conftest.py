"""A real Airflow with MLflow on a small simulated shop, started once for the tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from flashsale.local.environment import Ports
from flashsale.local.measure import Timings
from flashsale.local.runs import Driver
from flashsale.local.service import LOOP_PARTS, Stack, free_port
from tests.conftest import ROOT
from tests.ml.text.conftest import tiny_base  # noqa: F401  a fixture of another room: a BERT made on the spot


@pytest.fixture(scope="package")
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training run of seconds: the demo's settings on few sentences, all layers of a tiny BERT."""
    settings = yaml.safe_load((ROOT / "ml" / "text" / "configs" / "demo.yaml").read_text(encoding="utf-8"))
    small = {
        "name": "tiny",
        "rows": {"zh": 200, "en": 200},
        "keep_layers": None,
        "frozen_layers": 0,
        "valid_rows": 50,
        "max_tokens": 32,
        "serve_max_tokens": 32,
        "evaluate_every": 20,
    }
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(yaml.safe_dump(settings | small))
    return path


@pytest.fixture(scope="package")
def stack(small_shop: Path, tiny_base: Path, server_home: Path) -> Iterator[Stack]:  # noqa: F811
    """Airflow's four parts, MLflow and PostgreSQL; the source is the small shop's folder."""
    home = server_home / "stack"
    extra = {
        "FLASHSALE_SOURCE": str(small_shop),
        "FLASHSALE_TASK_RETRIES": "0",
        "FLASHSALE_EXPLAIN_TEXTS": "2",
        "FLASHSALE_SCHEDULES": "ingest_raw_events",
        "FLASHSALE_CACHE": os.environ.get("FLASHSALE_CACHE", str(ROOT / ".flashsale")),
        "FLASHSALE_TEXT_BASE_MODEL": str(tiny_base),
    }
    one = Stack(
        home, Ports(free_port(), free_port(), free_port()), users=("admin", "reviewer"), extra=extra, parts=LOOP_PARTS
    )
    try:
        one.start()
        one.api().wait_for_dags({p.stem for p in (ROOT / "dags").glob("*.py")})
        yield one
    finally:
        one.stop()


@pytest.fixture()
def driver(stack: Stack) -> Driver:
    """Starts runs and answers their reviews with yes."""
    return Driver(stack.api(), Timings(), print, reviewer=stack.api("reviewer"), limit_s=600)
