"""One lazy Spark session for the whole test run: starting one costs seconds on an idle machine, minutes on a busy one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def spark() -> Iterator[object]:
    os.environ.setdefault("FLASHSALE_SHUFFLE_PARTITIONS", "1")  # tiny data: a task costs more than its rows
    os.environ.setdefault("FLASHSALE_SPARK_MASTER", "local[2]")
    from spark_jobs.session import build_session

    session = build_session("tests")
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "spark" in getattr(item, "fixturenames", ()):
            item.add_marker("spark")
