"""The harness states what it measured; a benchmark runs to its end and leaves what the docs promise."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from benchmarks import harness
from tests.conftest import ROOT


def test_the_ratio_is_the_peers_time_over_ours_with_an_interval() -> None:
    found = harness.compare("nap", lambda: time.sleep(0.01), lambda: time.sleep(0.03), rounds=5, same=None, work=10)
    assert 1 < found.low <= found.ratio <= found.high
    assert found.ours > found.peer  # work a second


def test_sides_that_disagree_are_not_timed() -> None:
    with pytest.raises(AssertionError, match="do not agree"):
        harness.compare("x", lambda: 1, lambda: 2, rounds=1, same=lambda a, b: a == b)


@pytest.mark.parametrize("name", ["allocation"])
def test_a_quick_run_leaves_its_results(name: str) -> None:
    done = subprocess.run(
        [sys.executable, f"benchmarks/{name}.py", "--quick"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    rows = json.loads((harness.RESULTS / "quick" / f"{name}.json").read_text())
    assert rows and set(rows[0]) == {"name", "ratio", "low", "high", "ours", "peer", "unit", "machine"}
    assert rows[0]["name"] in done.stdout
