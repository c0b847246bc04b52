"""What the demo measures of itself: seconds by stage, Airflow's share of them, peak memory."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from flashsale.local.processes import Processes, family
from flashsale.times import parse_utc

#: Tasks that wait for a person: neither compute nor orchestration.
REVIEWS = ("review", "approval")


class Timings:
    """Seconds by stage and by task, and the intervals in which tasks ran."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, float]] = []
        self.intervals: list[tuple[float, float]] = []
        self.seconds: dict[str, float] = {}
        self.outside = 0.0

    @contextmanager
    def stage(self, label: str, say: Callable[[str], None]) -> Iterator[None]:
        """Time a stage and say how long it took."""
        say(f"… {label}")
        began, before = time.time(), len(self.intervals)
        yield
        seconds = time.time() - began
        self.stages.append((label, seconds))
        say(f"  {label}: {seconds:.0f} s")
        if len(self.intervals) == before and not label.startswith("Start"):
            self.outside += seconds  # work of the command itself, no task ran

    def add_tasks(self, tasks: list[dict[str, Any]]) -> None:
        """Remember when the tasks of a run were at work."""
        for task in tasks:
            name = task["task_id"].rsplit(".", 1)[-1]
            if task["start_date"] and task["end_date"] and name not in REVIEWS:
                start, end = (parse_utc(task[when]).timestamp() for when in ("start_date", "end_date"))
                self.intervals.append((start, end))
                label = f"{task['dag_id']}.{task['task_id']}"
                self.seconds[label] = self.seconds.get(label, 0.0) + end - start

    def summary(self, wall_s: float) -> dict[str, Any]:
        """Wall seconds, seconds with at least one task at work, and what is left: start-up, scheduling, reviews."""
        busy = union_seconds(self.intervals)
        idle = max(wall_s - busy - self.outside, 0.0)
        return {
            "wall_s": round(wall_s, 1),
            "tasks_s": round(busy, 1),
            "own_work_s": round(self.outside, 1),
            "orchestration_s": round(idle, 1),
            "orchestration_share": round(idle / wall_s, 3),
            "stages": {label: round(seconds, 1) for label, seconds in self.stages},
            "tasks": {label: round(seconds, 1) for label, seconds in self.seconds.items()},
        }


def union_seconds(intervals: list[tuple[float, float]]) -> float:
    """Seconds covered by at least one of the intervals."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


class MemoryMeter:
    """Peak of the proportional memory (PSS) of the command and everything its stack started, in MiB."""

    def __init__(self, processes: Processes, every_s: float = 8.0) -> None:
        self.processes, self.every_s, self.peak_mib = processes, every_s, 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryMeter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(self.every_s):
            members = {p.pid: p for s in self.processes.known() for p in family(s)}
            members[os.getpid()] = psutil.Process()
            self.peak_mib = max(self.peak_mib, sum(_pss(p) for p in members.values()) // 2**20)


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.Error, AttributeError):
        return 0
