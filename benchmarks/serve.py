"""The text service under load, beside itself without micro-batching; wrk sends, on loopback alone.

    python benchmarks/serve.py [--quick] [--model FOLDER]

Two services of the same model run side by side, `--threads` each, and are loaded in turn (A B B A …): ours joins
concurrent requests, the peer makes one model call a request (window 0, one text a batch). Bodies are frozen test
sentences, one a request or sixteen, each sent once before any is sent again. Every load is bounded in time. Requests
and texts a second, p50 and p99 are printed for 1, 4 and 16 connections; the stated ratios are those at 16.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import httpx

from benchmarks.harness import Result, machine, median_interval, parser, write

CONNECTIONS = 16
LONGEST = 60  # seconds of one load
SIDES = {"ours": [], "peer": ["--window-ms", "0", "--batch-texts", "1"]}
ENOUGH = "1000000000"  # the limit of texts a second is not what is measured


@dataclass(frozen=True)
class Load:
    """What wrk saw: requests and texts a second, latencies in milliseconds; and processor milliseconds a text."""

    requests: float
    texts: float
    p50: float
    p99: float
    cpu: float


def write_bodies(path: Path, texts: list[str], size: int) -> None:
    """One request body a line, `size` texts each."""
    parts = [texts[at : at + size] for at in range(0, len(texts) - size + 1, size)]
    lines = [json.dumps({"texts": part}, ensure_ascii=False) for part in parts]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@contextmanager
def service(folder: Path, side: str, threads: int, home: Path) -> Iterator[tuple[str, str]]:
    """A running service's address and token."""
    command = [sys.executable, "-m", "ml", "serve", "--model", str(folder), "--port", "0", "--threads", str(threads)]
    environment = {
        **os.environ,
        "FLASHSALE_HOME": str(home),
        "FLASHSALE_SERVE_BURST_TEXTS": ENOUGH,
        "FLASHSALE_SERVE_TEXTS_PER_SECOND": ENOUGH,
    }
    log = home / f"{side}.log"
    home.mkdir(exist_ok=True)
    with log.open("w") as written:
        started = subprocess.Popen(
            [*command, *SIDES[side]], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=written
        )
    try:
        yield _address(started, log), (home / "secrets" / "serve.token").read_text()
    finally:
        started.terminate()
        try:
            started.wait(30)
        except subprocess.TimeoutExpired:
            started.kill()


def _address(started: subprocess.Popen[bytes], log: Path) -> str:
    """The address that a service logs when it listens."""
    until = time.monotonic() + 120
    while time.monotonic() < until and started.poll() is None:
        for line in log.read_text().splitlines():
            if '"listening"' in line:
                return str(json.loads(line)["url"])
        time.sleep(0.1)
    raise RuntimeError(f"the service did not start: {log.read_text()}")


def load(address: tuple[str, str], bodies: Path, size: int, connections: int, seconds: int) -> Load:
    """One bounded load; a slow machine that answers nothing in that time gets more of it.

    Raises RuntimeError where a request failed: a refusal is quick and would flatter.
    """
    url, token = address
    before = _used(address)
    script = str(ROOT / "benchmarks" / "serve.lua")
    command = ["wrk", f"-t{min(2, connections)}", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", script]
    environment = {**os.environ, "SERVE_TOKEN": token, "SERVE_BODIES": str(bodies)}
    done = subprocess.run(
        [*command, url], env=environment, capture_output=True, text=True, timeout=seconds + 60, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    if not found["requests"] and not found["failed"] and seconds < LONGEST:
        return load(address, bodies, size, connections, min(LONGEST, 4 * seconds))
    if found["failed"] or not found["requests"]:
        raise RuntimeError(f"wrk saw failures: {found}")
    rate = found["requests"] / found["seconds"]
    after = _used(address)
    cpu = 1000 * (after[0] - before[0]) / (after[1] - before[1])
    return Load(rate, rate * size, found["p50"], found["p99"], cpu)


def _used(address: tuple[str, str]) -> tuple[float, float]:
    """Processor seconds and texts of a service so far, asked when the model has nothing left to do."""
    url, token = address
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        client.post("/v1/score", json={"texts": ["."]}).raise_for_status()
        text = client.get("/metrics").text
    found = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return float(found["process_cpu_seconds_total"]), float(found['flashsale_serve_texts_total{caller="local"}'])


def compared(
    name: str, sides: dict[str, tuple[str, str]], bodies: Path, size: int, rounds: int, seconds: int
) -> list[Result]:
    """Throughput and p99 of both sides at `CONNECTIONS`, in turn: ours, peer, peer, ours."""
    seen: dict[str, list[tuple[Load, Load]]] = {side: [] for side in SIDES}
    for side in SIDES:
        load(sides[side], bodies, size, CONNECTIONS, 2)  # warm
    for _ in range(rounds):
        order = ("ours", "peer", "peer", "ours")
        a, b, c, d = (load(sides[side], bodies, size, CONNECTIONS, seconds) for side in order)
        seen["ours"].append((a, d))
        seen["peer"].append((b, c))
    results = []
    for figure, unit, better_is_more in (("texts", "texts/s", True), ("p99", "ms", False)):
        mine, theirs = (
            [sum(getattr(seen_load, figure) for seen_load in pair) / 2 for pair in seen[side]] for side in SIDES
        )
        pairs = zip(mine, theirs, strict=True)
        ratios = [ours / peer if better_is_more else peer / ours for ours, peer in pairs]
        middle = [sorted(values)[len(values) // 2] for values in (mine, theirs)]
        results.append(Result(f"{name}_{figure}", *median_interval(ratios), *middle, unit, machine()))
    return results


def table(sides: dict[str, tuple[str, str]], bodies: dict[int, Path], seconds: int) -> None:
    """Print what each number of connections gives."""
    head = ("requests/s", "texts/s", "p50 ms", "p99 ms", "CPU ms/text")
    print(f"{'side':6}{'texts':>6}{'conn.':>7}" + "".join(f"{words:>12}" for words in head))
    for size, path in bodies.items():
        for connections in (1, 4, CONNECTIONS):
            for side, address in sides.items():
                seen = load(address, path, size, connections, seconds)
                figures = (seen.requests, seen.texts, seen.p50, seen.p99, seen.cpu)
                print(f"{side:6}{size:6}{connections:7}" + "".join(f"{x:12.1f}" for x in figures), flush=True)


def main() -> None:
    """Measure and write `results/serve.json`."""
    from ml.text.data import load_examples
    from ml.text.score import locate

    arguments = parser(__doc__ or "")
    arguments.add_argument("--model", help="a model folder or registry name; default: the champion")
    arguments.add_argument("--threads", type=int, default=2, help="CPU threads of a model call (default: 2)")
    args: Any = arguments.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed to load the service; install it, for example: sudo apt-get install -y wrk")
    folder, label = locate(args.model)
    rounds, seconds = (1, 2) if args.quick else (5, 10)
    texts = list(dict.fromkeys(e.text for e in load_examples("test")))
    print(f"model {label}, {len(texts)} distinct sentences, {args.threads} threads, {seconds} s a load", flush=True)
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        place = Path(scratch)
        bodies = {size: place / f"{size}.jsonl" for size in (1, 16)}
        for size, path in bodies.items():
            write_bodies(path, texts, size)
        sides = {s: stack.enter_context(service(folder, s, args.threads, place / s)) for s in SIDES}
        table(sides, bodies, seconds)
        results: list[Result] = []
        for size, name in ((1, "serve_single_texts"), (16, "serve_batches_of_16")):
            results += compared(f"{name}_vs_no_batching", sides, bodies[size], size, rounds, seconds)
            write("serve", results, quick=args.quick)  # a long run keeps what it has measured


if __name__ == "__main__":
    main()
