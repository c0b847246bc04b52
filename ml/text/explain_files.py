"""Explanations of one text, of a file's sample, and of a sample of the lake's newest scores."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from flashsale import jsonlines
from flashsale.errors import InputError
from flashsale.lake import Lake, Manifest
from flashsale.tables import EXPLAINED_TEXTS
from ml.text.score import locate, read_texts, writable, write_table

if TYPE_CHECKING:
    from ml.text.explain import Explained, Explainer

_GAPS = ("gap_sentiment", "gap_intent")
#: One row per explained text of a file.
EXPLAINED = pa.schema(
    [
        ("text", pa.string()),
        ("sentiment", pa.string()),
        ("p_sentiment", pa.float64()),
        ("p_intent", pa.float64()),
        ("words", pa.string()),
        ("gap_sentiment", pa.float64()),
        ("gap_intent", pa.float64()),
        ("model_version", pa.string()),
    ]
)


def explain_text(text: str, *, model: str | None, threads: int) -> dict[str, Any]:
    """Explain one text; its marked line goes to stderr, in colour on a terminal.

    `model` is a registry URI or name, or a folder; default: the champion. Raises InputError for a blank text.
    """
    from ml.text.explain import marked

    text = jsonlines.printable(text)  # a shell hands over bytes that are no UTF-8 as half surrogate pairs
    if not text.strip():
        raise InputError("text", "it is blank", "give a text with at least one word")
    explainer, label = _explainer(model, threads)
    found = explainer.explain(text)
    print(marked(found, colour=sys.stderr.isatty()), file=sys.stderr, flush=True)
    return {**found.as_dict(), "model_version": label}


def explain_file(source: Path, target: Path | None, *, sample: int, model: str | None, threads: int) -> dict[str, Any]:
    """Explain `sample` texts of a file, chosen by hash, into `target`; returns counts and how far the order is true.

    `deletion` is the mean area under the deletion curves by attribution and in random order (see `ml.text.explain`).
    """
    if target is None:
        raise InputError("explain", "there is no place for the result", "name a .parquet or .jsonl file with --out")
    if sample < 1:
        raise InputError("explain", f"a sample of {sample} holds nothing", "give --sample 1 or more")
    writable(target, EXPLAINED)
    texts = [text for text in read_texts(source)["text"].to_pylist() if text and text.strip()]
    chosen = sorted(dict.fromkeys(texts), key=lambda text: hashlib.sha256(text.encode()).digest())[:sample]
    explainer, label = _explainer(model, threads)
    rows, areas = [], []
    for text in chosen:
        found = explainer.explain(text)
        rows.append({"text": text, **_plain(found), "model_version": label})
        if len(found.words) > 4:  # a shorter text has no order worth asking about
            areas.append(explainer.deletion_area(found))
    write_table(pa.Table.from_pylist(rows, schema=EXPLAINED), target)
    ours, theirs = (round(sum(a[side] for a in areas) / max(len(areas), 1), 4) for side in (0, 1))
    deletion = {"texts": len(areas), "by_attribution": ours, "at_random": theirs} if areas else None
    return {"rows": len(rows), "out": str(target), "model_version": label, "deletion": deletion}


def explain_scored(lake: Lake, model: str, *, texts: int, days: int, threads: int) -> dict[str, Any]:
    """Explain up to `texts` texts of each of the `days` newest days that the version in folder `model` has scored.

    The texts of a day are those whose hash with the version is smallest, so a run chooses what the one before chose. A
    day whose scores are the ones already explained is left alone. Partitions go to
    `text/explained/model_version=<version>`, with the columns of `EXPLAINED_TEXTS`.
    """
    from flashsale.text_serving import model_version

    version = model_version(Path(model))
    scored = lake.partitions(f"text/scored/model_version={version}")
    target = f"text/explained/model_version={version}"
    newest = list(scored.items())[-days:] if days and texts else []
    marks = {partition: f"{manifest.content_hash[:32]}-{texts}" for partition, manifest in newest}
    pending = [
        (partition, manifest)
        for partition, manifest in newest
        if (done := lake.manifest(target, partition)) is None or done.watermark != marks[partition]
    ]
    outcome: dict[str, Any] = {"model_version": version, "days": 0, "rows": 0, "changed": 0}
    if not pending:
        return outcome
    explainer, _ = _explainer(model, threads)
    for partition, manifest in pending:
        rows = _explained_day(lake, explainer, manifest, texts)
        table = pa.Table.from_pylist(rows, schema=EXPLAINED_TEXTS)
        commit = lake.write(target, partition, table, watermark=marks[partition])
        outcome["days"] += 1
        outcome["rows"] += table.num_rows
        outcome["changed"] += int(commit.changed)
    return outcome


def _explained_day(lake: Lake, explainer: Explainer, manifest: Manifest, texts: int) -> list[dict[str, Any]]:
    """Rows of one day, in the order of event; a text that has several events is explained for the first."""
    kept = [field.name for field in EXPLAINED_TEXTS if field.name not in ("p_sentiment", "words", *_GAPS)]
    scores = lake.read_one(manifest, columns=kept).to_pylist()
    first = {row["text_hash"]: row for row in reversed(scores) if row["sentiment"] is not None}
    version = scores[0]["model_version"] if scores else ""
    chosen = sorted(first, key=lambda key: hashlib.sha256(f"{version} {key}".encode()).digest())[:texts]
    clean = lake.manifest("text/clean", manifest.partition)
    if clean is None:
        raise InputError(f"clean text {manifest.partition}", "it is not committed", "run process_social_text again")
    found = lake.read_one(clean, columns=["text_hash", "clean_text"]).to_pylist()
    words = {row["text_hash"]: row["clean_text"] for row in found}
    rows = [{**first[key], **_plain(explainer.explain(words[key]))} for key in chosen if (words.get(key) or "").strip()]
    return sorted(rows, key=lambda row: (row["event_at"], row["event_id"]))


def _plain(found: Explained) -> dict[str, Any]:
    """The columns that both schemas share; the answer is the full weights', which may differ from the served form's."""
    plain = found.as_dict()
    return {
        "sentiment": found.sentiment,
        "p_sentiment": round(found.shares[found.sentiment], 4),
        "p_intent": plain["p_intent"],
        "words": json.dumps(plain["words"], ensure_ascii=False),
        "gap_sentiment": plain["gap"]["sentiment"],
        "gap_intent": plain["gap"]["intent"],
    }


def _explainer(model: str | None, threads: int) -> tuple[Explainer, str]:
    import torch

    from ml.text.explain import Explainer

    torch.set_num_threads(threads)
    folder, label = locate(model)
    return Explainer(folder), label
