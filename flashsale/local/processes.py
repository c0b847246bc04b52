"""Processes of the local stack: each in its own group, remembered in a file, so that all of them can be ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from flashsale.errors import InputError


@dataclass(frozen=True)
class Started:
    """A process group leader: the start time tells it from a later process with the same number."""

    name: str
    pid: int
    created: float


class Processes:
    """Starts and ends the stack's processes; the file outlives a crash of the command that started them."""

    def __init__(self, home: Path) -> None:
        self.file, self.logs = home / "run" / "processes.json", home / "logs"
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)

    def known(self) -> list[Started]:
        """What was started, whether or not it still runs."""
        return [Started(**item) for item in json.loads(self.file.read_text())] if self.file.exists() else []

    def running(self) -> list[Started]:
        """What was started and still runs."""
        return [s for s in self.known() if _alive(s)]

    def start(self, name: str, command: list[str], environment: dict[str, str]) -> Started:
        """Start a command in its own process group, its output in `<home>/logs/<name>.log`."""
        with (self.logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        started = Started(name, process.pid, psutil.Process(process.pid).create_time())
        self._remember([*self.known(), started])
        return started

    def _remember(self, all_started: list[Started]) -> None:
        staged = self.file.with_suffix(".staged")
        staged.write_text(json.dumps([asdict(s) for s in all_started], indent=1))
        os.replace(staged, self.file)

    def stop(self, grace: float = 15.0) -> list[str]:
        """End every process group that was started, first politely, then for good; returns their names."""
        families = {s.name: family(s) for s in self.known()}
        for members in families.values():
            _signal(members, signal.SIGTERM)
        everyone = [p for members in families.values() for p in members]
        _, left = psutil.wait_procs(everyone, timeout=grace)
        _signal(left, signal.SIGKILL)
        psutil.wait_procs(left, timeout=5)
        self.file.unlink(missing_ok=True)
        return [name for name, members in families.items() if members]

    def wait(self, name: str, ready: Callable[[], bool], timeout: float) -> None:
        """Wait until `ready`; raises InputError with the end of the log where the process died or time ran out."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            if ready():
                return
            if not any(s.name == name for s in self.running()):
                break
            time.sleep(0.3)
        log = self.logs / f"{name}.log"
        tail = log.read_text(errors="replace")[-1500:] if log.exists() else ""
        raise InputError(name, f"did not become healthy: {tail}", f"read {log.name} in the logs folder")


def _alive(started: Started) -> bool:
    try:
        process = psutil.Process(started.pid)
        same = abs(process.create_time() - started.created) < 2
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def family(started: Started) -> list[psutil.Process]:
    """The leader, its descendants, and members of its session that outlived their parents."""
    members: dict[int, psutil.Process] = {}
    if _alive(started):
        leader = psutil.Process(started.pid)
        members = {p.pid: p for p in [leader, *leader.children(recursive=True)]}
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == started.pid and process.create_time() >= started.created - 2:
                members.setdefault(process.pid, process)
        except (psutil.NoSuchProcess, ProcessLookupError, PermissionError):
            continue
    return list(members.values())


def _signal(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue
