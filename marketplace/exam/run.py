"""The whole exam: many shops, some at once, then one summary a regime."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flashsale.corpora import load_sentences
from flashsale.errors import InputError
from marketplace.exam import report
from marketplace.exam.sitting import Paper, sit
from marketplace.regimes import REGIMES
from marketplace.world import Size


def exam(
    size: Size, regimes: list[str], seeds: int, out: Path, text_model: Path | None = None, workers: int = 2
) -> list[dict[str, Any]]:
    """Examine every planner on `seeds` shops of each regime.

    Args:
        size: of the shops; its seed is the first one.
        regimes: names of `REGIMES`.
        seeds: shops a regime; at least 2, since intervals are over shops.
        out: folder for `exam.json`, `exam.md`, `exam.png`.
        text_model: folder of a text model that scores the posts; without one the corpora's labels do.
        workers: shops at once.

    Returns:
        One summary a regime (see `report.summarise`).
    """
    if seeds < 2:
        raise InputError("exam", f"{seeds} shop a regime leaves no interval", "ask for 2 or more", field="seeds")
    out.mkdir(parents=True, exist_ok=True)
    summaries = []
    with tempfile.TemporaryDirectory(prefix="exam-") as place:
        scores = None if text_model is None else score_sentences(text_model, Path(place))
        papers = [
            Paper(replace(size, seed=size.seed + k, regime=REGIMES[name]), Path(place) / f"{name}-{k}", scores)
            for name in regimes
            for k in range(seeds)
        ]
        # Spawned, not forked: the parent holds threads of Arrow and DuckDB.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            results = list(pool.map(sit, papers))
    for place_of, name in enumerate(regimes):
        facts = {"regime": name, "skus": size.skus, "regions": size.regions, "sales": size.sales, "days": size.days,
                 "texts_scored_by": "labels" if text_model is None else text_model.name}  # fmt: skip
        summaries.append(report.summarise(results[place_of * seeds : (place_of + 1) * seeds], facts))
    _publish(out, summaries, results)
    return summaries


def _publish(out: Path, summaries: list[dict[str, Any]], results: list[dict[str, Any]]) -> None:
    report.write(out, "exam.json", summaries)
    report.write(out, "marks.json", results)
    pages = [f"### {s['regime']} ({len(s['seeds'])} simulated shops)\n\n{report.table(s)}" for s in summaries]
    (out / "exam.md").write_text("\n".join(pages), encoding="utf-8")
    report.picture(summaries, out / "exam.png")


def score_sentences(model: Path, folder: Path) -> Path:
    """What a text model says of every sentence that shops write their texts from, scored by the models' own command."""
    sentences = load_sentences()
    once = sentences.filter(pc.not_equal(sentences["split"], "test")).group_by("text").aggregate([])
    source, target = folder / "sentences.parquet", folder / "scores.parquet"
    pq.write_table(once.append_column("text_hash", once["text"]), source)
    command = [sys.executable, "-m", "ml", "text", "score", "--in", str(source), "--out", str(target), "--model",
               str(model)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise InputError(f"text model {model}", f"it scored nothing: {words}", "name a folder `text train` wrote")
    scored = pq.ParquetFile(target).read()
    kept = pa.table({name: scored[name] for name in ("text", "sentiment", "p_intent")})
    pq.write_table(kept, folder / "kept.parquet")
    return folder / "kept.parquet"
