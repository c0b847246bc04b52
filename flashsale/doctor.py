"""`flashsale doctor`: is this machine fit to run the platform, and what to do where it is not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from flashsale.settings import settings

Level = Literal["ok", "warn", "fail"]
GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One check: what was found, how bad it is, what to do."""

    check: str
    level: Level
    found: str
    remedy: str = ""


def check_python() -> Finding:
    """Python 3.11 or 3.12."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    fit = (3, 11) <= sys.version_info[:2] < (3, 13)
    return Finding(
        "Python",
        "ok" if fit else "fail",
        version,
        "" if fit else "install Python 3.11 and run make with PYTHON=python3.11",
    )


def java_major(text: str) -> int | None:
    """Major version in the output of `java -version`."""
    match = re.search(r'version "(\d+)(?:\.(\d+))?', text)
    if match is None:
        return None
    major = int(match.group(1))
    return int(match.group(2) or 8) if major == 1 else major


def check_java() -> Finding:
    """Java 17 or 21, in JAVA_HOME or on the PATH."""
    home = os.environ.get("JAVA_HOME")
    program = str(Path(home, "bin", "java")) if home else shutil.which("java")
    remedy = "run `make java`, or install a Java 17 runtime (openjdk-17-jre-headless)"
    if program is None or not Path(program).exists():
        return Finding("Java", "fail", "none", remedy)
    done = subprocess.run([program, "-version"], capture_output=True, text=True)
    major = java_major(done.stderr + done.stdout)
    if major is None or major < 17:
        return Finding("Java", "fail", f"version {major}", remedy)
    return Finding("Java", "ok", f"version {major}")


def check_memory() -> Finding:
    """The demo needs under 6 GiB."""
    import psutil

    free = psutil.virtual_memory().available / GIB
    fit = free >= 6
    return Finding(
        "Memory",
        "ok" if fit else "warn",
        f"{free:.1f} GiB available",
        "" if fit else "close other programs: the demo needs about 6 GiB",
    )


def check_disk() -> Finding:
    """Environment, models and a lake need a few GiB."""
    folder = settings().home
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / GIB
    fit = free >= 5
    return Finding(
        "Disk",
        "ok" if fit else "fail",
        f"{free:.0f} GiB free",
        "" if fit else "free 5 GiB, or set FLASHSALE_HOME to a larger disk",
    )


def check_ports() -> list[Finding]:
    """The loopback ports of `make up`."""
    from flashsale.local.environment import Ports
    from flashsale.local.processes import Processes
    from flashsale.local.service import port_is_free

    mine = bool(Processes(settings().home).running())
    found = []
    for name, port in vars(Ports.configured()).items():
        free = mine or port_is_free(port)
        words = "used by this platform" if mine else ("free" if free else "taken")
        remedy = "" if free else f"set FLASHSALE_{name.upper()}_PORT to a free port (the demo finds its own)"
        found.append(Finding(f"Port {port} ({name})", "ok" if free else "warn", words, remedy))
    return found


def check_packages() -> Finding:
    """The packages the platform cannot do without are installed."""
    names = ("airflow", "dbt", "duckdb", "great_expectations", "mlflow", "pyspark", "torch", "transformers", "lightgbm")
    missing = [n for n in names if find_spec(n) is None]
    return Finding(
        "Packages",
        "fail" if missing else "ok",
        f"missing {', '.join(missing)}" if missing else f"{len(names)} found",
        "run `make setup`" if missing else "",
    )


def examine() -> list[Finding]:
    """All checks, worst news included."""
    return [check_python(), check_java(), check_packages(), check_memory(), check_disk(), *check_ports()]


def show(findings: list[Finding]) -> None:
    """One line a check."""
    mark = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}
    for item in findings:
        remedy = f"  ->  {item.remedy}" if item.remedy else ""
        print(f"{mark[item.level]}  {item.check:24} {item.found}{remedy}", file=sys.stderr)
