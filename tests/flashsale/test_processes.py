"""What was started is ended: children, grandchildren, and what a crash left behind."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from flashsale.errors import InputError
from flashsale.local.processes import Processes

PARENT = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); time.sleep(600)"


def wait_children(pid: int) -> list[psutil.Process]:
    for _ in range(100):
        found = psutil.Process(pid).children(recursive=True)
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("the child did not start")


def test_stop_ends_the_whole_family_even_after_its_leader_died(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    first = processes.start("first", [sys.executable, "-c", PARENT], dict(os.environ))
    second = processes.start("second", [sys.executable, "-c", PARENT], dict(os.environ))
    children = [*wait_children(first.pid), *wait_children(second.pid)]
    psutil.Process(second.pid).kill()  # a crash: its child is an orphan now
    assert Processes(tmp_path).stop(grace=5) == ["first", "second"]  # another command, reading the file
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    assert Processes(tmp_path).known() == []


def test_a_process_that_dies_is_reported_with_its_last_words(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    processes.start("mayfly", [sys.executable, "-c", "print('no port left')"], dict(os.environ))
    with pytest.raises(InputError, match=r"mayfly: did not become healthy: no port left"):
        processes.wait("mayfly", lambda: False, 10)
    processes.stop()
