"""Texts of a replay: cleaned by the Spark job, scored once for each different text and model version, ever.

Scores are kept under the platform's cache, by model version and text hash, so that a second replay (of the same shop
or of another with the same texts) scores what is new alone.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flashsale.errors import InputError
from flashsale.lake import Lake
from flashsale.replay.commands import ROOT, Commands
from flashsale.settings import settings
from flashsale.tables import SCORED_TEXTS
from flashsale.text_serving import model_version, serve

NAME = "flashsale-text"
SCORES = ["sentiment", "p_negative", "p_neutral", "p_positive", "p_intent", "spans"]
KEPT = pa.schema([("text_hash", pa.string()), *[SCORED_TEXTS.field(name) for name in SCORES]])


def find_model(given: Path | None) -> Path | None:
    """Folder of the text model: the one given, else the champion last fetched on this machine, else None."""
    if given is not None:
        if not given.is_dir():
            raise InputError(f"text model {given}", "there is no such folder", "give a fetched version or model folder")
        return given.absolute()
    registry = settings().models_dir / "registry"
    pointer = registry / f"{NAME}.champion"
    if not pointer.is_file():
        return None
    folder = registry / pointer.read_text(encoding="utf-8").strip()
    return folder if (folder / "version.json").is_file() else None


def version_of(folder: Path) -> str:
    """Name of a model in tables and in the cache: its registered version, else a hash of its manifest."""
    if (folder / "version.json").is_file():
        return model_version(folder)
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        raise InputError(f"text model {folder.name}", "the folder holds no text model", "name one `text train` wrote")
    return "local-" + hashlib.sha256(manifest.read_bytes()).hexdigest()[:12]


def clean_and_score(commands: Commands, model: Path) -> dict[str, Any]:
    """Clean the texts of the lake, score the different ones and let the warehouse read the scores.

    Returns the model version, texts, different texts and how many of these were scored now.
    """
    lake, version = Lake(commands.lake_uri), version_of(model)
    job = str(ROOT / "spark_jobs" / "clean_social_text.py")
    commands.run("clean text", job, "--lake", commands.lake_uri)
    clean = lake.read("text/clean")
    clean = clean.filter(pc.is_valid(clean["clean_text"]))
    once = clean.group_by("text_hash").aggregate([("clean_text", "min")]).sort_by("text_hash")
    known = _cached(version)
    fresh = once.filter(pc.invert(pc.is_in(once["text_hash"], value_set=known["text_hash"])))
    if fresh.num_rows:
        _score(commands, model, version, fresh)
        known = _cached(version)
    _commit(lake, clean, known, version)
    serve(lake, version)
    return {"model_version": version, "texts": clean.num_rows, "different": once.num_rows, "scored": fresh.num_rows}


def _folder(version: str) -> Path:
    return (settings().cache or settings().home) / "text_scores" / version


def _cached(version: str) -> pa.Table:
    """Every score kept for a model version, a row a text."""
    tables = [pq.ParquetFile(path).read() for path in sorted(_folder(version).glob("*.parquet"))]
    if not tables:
        return KEPT.empty_table()
    whole = pa.concat_tables(tables)  # two replays at once may have scored the same text: the first stays
    place = pa.array(range(whole.num_rows))
    first = whole.append_column("place", place).group_by("text_hash").aggregate([("place", "min")])
    return whole.take(first["place_min"])


def _score(commands: Commands, model: Path, version: str, texts: pa.Table) -> None:
    """Score texts with the models' own command and keep the scores; the file appears whole or not at all."""
    source, target = commands.home / "texts.parquet", commands.home / "texts_scored.parquet"
    pq.write_table(texts.rename_columns(["text_hash", "text"]), source)
    commands.run(
        "score text", "-m", "ml", "text", "score", "--in", str(source), "--out", str(target), "--model", str(model)
    )
    scored = pq.ParquetFile(target).read().select(KEPT.names).cast(KEPT)
    folder = _folder(version)
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256("".join(scored["text_hash"].to_pylist()).encode()).hexdigest()[:16]
    staged = folder / f".{name}.{os.getpid()}"
    pq.write_table(scored, staged, compression="zstd")
    os.replace(staged, folder / f"{name}.parquet")


def _commit(lake: Lake, clean: pa.Table, scores: pa.Table, version: str) -> None:
    """Scored texts by day, as the Spark job commits them."""
    names = [name for name in SCORED_TEXTS.names if name in clean.column_names]
    joined = clean.select(names).join(scores, "text_hash", join_type="inner")
    joined = joined.append_column("model_version", pa.array([version] * joined.num_rows, pa.string()))
    table = (
        joined.select(SCORED_TEXTS.names)
        .cast(SCORED_TEXTS)
        .sort_by([("event_at", "ascending"), ("event_id", "ascending")])
    )
    days = pc.strftime(table["event_at"], format="%Y-%m-%d")
    start = 0
    for item in pc.value_counts(days).to_pylist():  # in order of appearance: the rows are in order of time
        part = table.slice(start, item["counts"])
        start += item["counts"]
        lake.write(f"text/scored/model_version={version}", f"date={item['values']}", part)
