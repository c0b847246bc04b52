"""Runs two sides in turn (A B B A …), and states the ratio of their times with a 95 % bootstrap interval."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Result:
    """One comparison; `ratio` > 1 means ours is better, `low` and `high` bound it with 95 % confidence."""

    name: str
    ratio: float
    low: float
    high: float
    ours: float
    peer: float
    unit: str
    machine: str


def machine() -> str:
    """Processor, cores and Python of this machine."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores{_gpu()}, Python {platform.python_version()}"


def _gpu() -> str:
    """The GPU's name where PyTorch is at work and sees one."""
    torch = sys.modules.get("torch")
    return f", {torch.cuda.get_device_name()}" if torch is not None and torch.cuda.is_available() else ""


def compare(
    name: str,
    ours: Callable[[], Any],
    peer: Callable[[], Any],
    *,
    rounds: int,
    same: Callable[[Any, Any], bool] | None,
    work: int = 0,
    unit: str = "s",
) -> Result:
    """Time both sides, interleaved; `same` checks that they computed the same.

    With `work`, the pieces of work in one call, the two sides are stated as work a second in `unit`, else as seconds.

    Each round runs ours, peer, peer, ours, so that a machine that slows down wrongs neither. The ratio is the median of
    the rounds' ratios of peer over ours; its interval is a bootstrap over rounds.
    """
    first, second = ours(), peer()  # a warm-up of both, and the check
    if same is not None and not same(first, second):
        raise AssertionError(f"{name}: the two sides do not agree")
    mine, theirs = [], []
    for _ in range(rounds):
        a, b = _seconds(ours), _seconds(peer)
        c, d = _seconds(peer), _seconds(ours)
        mine.append(a + d)
        theirs.append(b + c)
    ratio = median_interval(np.array(theirs) / np.array(mine))
    sides = [float(np.median(times)) / 2 for times in (mine, theirs)]
    stated = [work / seconds for seconds in sides] if work else sides
    return Result(name, *ratio, *stated, unit, machine())


def median_interval(ratios: Sequence[float] | NDArray[np.float64]) -> tuple[float, float, float]:
    """Median of the rounds' ratios and its 95 % bootstrap interval over rounds."""
    draws = np.random.default_rng(0).choice(np.asarray(ratios), (2000, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    return float(np.median(ratios)), float(low), float(high)


def _seconds(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def write(name: str, results: list[Result], *, quick: bool, others: bool = False) -> None:
    """Print the table and leave `results/<name>.json`; what a quick run says stays out of git, in `results/quick/`.

    With `others`, results of other names that the file holds stay before these.
    """
    folder = RESULTS / "quick" if quick else RESULTS
    folder.mkdir(exist_ok=True)
    path, now = folder / f"{name}.json", {r.name for r in results}
    before = json.loads(path.read_text()) if others and path.exists() else []
    rounded = [{k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(r).items()} for r in results]
    kept = [row for row in before if row["name"] not in now]
    path.write_text(json.dumps(kept + rounded, indent=1, ensure_ascii=False) + "\n")
    print(f"{'name':34} {'ratio':>8} {'95 % interval':>18} {'ours':>10} {'peer':>10} unit")
    for r in results:
        print(f"{r.name:34} {r.ratio:8.2f} {f'{r.low:.2f} to {r.high:.2f}':>18} {r.ours:10.4f} {r.peer:10.4f} {r.unit}")


def parser(words: str) -> argparse.ArgumentParser:
    """The command line every benchmark has."""
    made = argparse.ArgumentParser(description=words)
    made.add_argument("--quick", action="store_true", help="small sizes, few rounds: does it run, not what it says")
    return made
