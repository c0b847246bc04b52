"""A replay: events of a folder and a sale request in; scores of past sales, a plan and what it rests on out.

The steps are those of the DAGs, by the same commands: ingest → gate → lake → clean and score text → warehouse →
unconstrain → demand model → score past sales → plan. No scheduler, no registry, and no clock: only what was known
before the request's `as_of` counts, and the same folder, request, seed and text model give the same bytes.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from flashsale.contracts import STREAMS
from flashsale.errors import InputError
from flashsale.lake import Lake
from flashsale.replay import results, streams, texts
from flashsale.replay.commands import Commands
from flashsale.request import SaleRequest, load_request


def say(words: str) -> None:
    """A line of progress."""
    print(words, file=sys.stderr, flush=True)


def replay(
    events: Path,
    request: Path,
    out: Path,
    *,
    with_text: bool = True,
    seed: int,
    text_model: Path | None = None,
    work: Path | None = None,
) -> dict[str, Any]:
    """Run the loop and leave its results in `out`.

    Args:
        events: a folder source.
        request: file of the sale request.
        out: folder of `allocation_recommendations.parquet`, `campaign_scores.parquet`, `plan.json`, the folder
            `plan_inputs` that `flashsale what-if` solves again, and `timings.json`.
        with_text: whether text may count.
        seed: of every random step.
        text_model: folder of the text model; by default the champion last fetched on this machine.
        work: folder for the replay's lake, warehouse and log, which must be empty or missing; by default a temporary
            one that is removed.

    Returns what `plan.json` holds. Raises InputError where the input cannot be planned on; `out` is untouched then.
    """
    if not events.is_dir():
        raise InputError(f"events {events}", "there is no such folder", "give a folder with one file a stream")
    asked = load_request(request)
    began = time.monotonic()
    results.check_out(out)
    with tempfile.TemporaryDirectory(prefix="flashsale-replay-") as scratch:
        home = _home(work, Path(scratch))
        commands = Commands(home, seed, say)
        found = _loop(commands, events.absolute(), request.absolute(), asked, with_text, text_model)
        results.write(commands, found, out)
    timings = {"total_s": round(time.monotonic() - began, 1)}
    timings |= {f"{stage} s": round(seconds, 1) for stage, seconds in commands.seconds.items()}
    (out / "timings.json").write_text(json.dumps(timings, indent=1) + "\n", encoding="utf-8")
    say("  ".join(f"{stage} {seconds}" for stage, seconds in timings.items()))
    return found


def _home(work: Path | None, scratch: Path) -> Path:
    if work is None:
        return scratch
    if work.exists() and not work.is_dir():
        raise InputError(f"folder {work}", "is no folder", "give --work a new folder")
    if work.is_dir() and any(work.iterdir()):
        raise InputError(f"folder {work}", "is not empty", "give --work a new folder: a replay starts from nothing")
    work.mkdir(parents=True, exist_ok=True)
    return work.absolute()


def _loop(
    commands: Commands, events: Path, request: Path, asked: SaleRequest, with_text: bool, text_model: Path | None
) -> dict[str, Any]:
    """Every step; returns the content of `plan.json`."""
    model = texts.find_model(text_model) if with_text else None
    source = ("--source", str(events), "--request", str(request))
    others = ",".join(name for name in STREAMS if name not in streams.TEXTS)

    def read_events() -> dict[str, Any]:
        loaded = commands.run("load events", "-m", "flashsale_plugins", "load", *source, "--streams", others)
        outcomes: dict[str, Any] = loaded["streams"]
        if not outcomes["regions"]["rows"]:
            streams.stand_in_regions(Lake(commands.lake_uri), asked)
        streams.check_streams(Lake(commands.lake_uri), asked)
        return outcomes

    (loaded, (spoken, text)) = side_by_side(read_events, lambda: _text(commands, model, source, with_text=with_text))
    outcomes = {**loaded, **spoken}
    decided = _decide(commands, asked, model if text["used"] else None)
    return {
        "request": asked.model_dump(mode="json"),
        "seed": commands.seed,
        "streams": {name: {"rows": o["rows"], "set_aside": o["quarantined"]} for name, o in outcomes.items()},
        "missing_streams": streams.missing_streams(outcomes),
        "text": text,
        **decided,
    }


def side_by_side(*steps: Callable[[], Any]) -> list[Any]:
    """Answers of steps that need nothing of each other, run at once; the first error, by their order, is raised."""
    with ThreadPoolExecutor(len(steps)) as pool:
        running = [pool.submit(step) for step in steps]
    return [step.result() for step in running]


def _text(
    commands: Commands, model: Path | None, source: tuple[str, ...], *, with_text: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Load and score the texts, or say why none counts and what that costs: outcomes by stream, and the account."""
    lost = "the forecast rests on sales, traffic and prices alone: demand that people announce in words is not seen"
    if not with_text:
        return {}, {"used": False, "why": "--without-text was given", "lost": lost}
    if model is None:
        why = "no text model was promoted or fetched on this machine yet; give one with --text-model"
        say(f"without text: {why}; {lost}")
        return {}, {"used": False, "why": why, "lost": lost}
    names = ",".join(streams.TEXTS)
    loaded = commands.run("load texts", "-m", "flashsale_plugins", "load", *source, "--streams", names)
    outcomes: dict[str, Any] = loaded["streams"]
    if not any(found["rows"] for found in outcomes.values()):
        say(f"without text: the source holds none; {lost}")
        return outcomes, {"used": False, "why": "the source holds no text", "lost": lost}
    found = texts.clean_and_score(commands, model)
    say(f"  {found['texts']} texts, {found['different']} different, {found.pop('scored')} of them scored now")
    return outcomes, {"used": True, **found}


def _decide(commands: Commands, asked: SaleRequest, model_of_texts: Path | None) -> dict[str, Any]:
    """Warehouse, demand model, scores and plan; without a model of texts nothing rests on words."""
    with_text = model_of_texts is not None

    def build() -> None:
        for step in ("load", "build", "publish"):
            commands.run(f"{step} warehouse", "-m", "flashsale", "warehouse", step)

    def embed() -> None:
        commands.run("embed titles", "-m", "ml", "text", "embed-titles", "--model", str(model_of_texts))

    side_by_side(build, *([embed] if with_text else []))
    unconstrained = commands.run("unconstrain", "-m", "ml", "demand", "unconstrain")
    plain = [] if with_text else ["--without-text"]
    model, kept = str(commands.home / "demand_model"), str(commands.home / results.INPUTS)

    def plan() -> tuple[dict[str, Any], dict[str, Any]]:
        trained = commands.run("train demand model", "-m", "ml", "demand", "train", "--out", model, *plain)
        asks = ["--request-id", asked.request_id, "--model", model, "--keep", kept, *plain]
        return trained, commands.run("plan", "-m", "ml", "allocation", "plan", *asks)

    scored, (trained, planned) = side_by_side(
        lambda: commands.run("score past sales", "-m", "ml", "scoring", "score"), plan
    )
    # nothing has left the replay's home yet, so that both audits may share a start
    commands.run("audit", "-m", "flashsale_plugins", "audit", "features", "plan", "--plan-id", planned["plan_id"])
    shown = ("cells", "censored", "units", "demand", "nothing_learnt")
    worth = ("with_text", "without_text", "text_worth", "text_worth_low", "text_worth_high")
    return {
        "plan": {name: value for name, value in planned.items() if with_text or name not in worth},
        "demand": {name: unconstrained[name] for name in shown},
        "demand_model": {name: trained[name] for name in ("gate", "metrics", "rows", "with_text")},
        "past_sales": {"scored": scored["campaigns"], "verdicts": scored["verdicts"]},
    }
