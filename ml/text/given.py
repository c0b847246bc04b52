"""What a training is given: the public splits, label files, texts that nobody judged; what the card says of each."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flashsale.settings import settings
from ml.text.copies import copies, rule, without_copies
from ml.text.data import Example, examples_digest
from ml.text.distill import unjudged
from ml.text.labels import read_labels
from ml.text.score import read_texts

Sets = dict[str, list[Example]]


@dataclass(frozen=True)
class Given:
    """Training input. `sets` are the public splits without near-copies of held-out sentences; `own` the rows of a
    label file that are trained on, `heard` texts for a teacher; `notes` are the card's lines, `params` the run's.
    """

    sets: Sets
    own: list[Example] = field(default_factory=list)
    heard: list[Example] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)


def gather(sets: Sets, labels: Path | None, texts: Sequence[Path]) -> Given:
    """Read the files beside the public `sets` and leave out what the split rule, or likeness, keeps from training.

    Raises InputError as the readers of the files do.
    """
    held = [*sets["valid"], *sets["test"]]
    clean = {
        "train": _without(sets["train"], held),
        "valid": _without(sets["valid"], sets["test"]),
        "test": sets["test"],
    }
    notes: list[str] = []
    params: dict[str, str] = {}
    dropped = sum(len(sets[name]) - len(rows) for name, rows in clean.items())
    if dropped:
        notes.append(f"{dropped} public sentences that are nearly held-out ones were left out.")
    own: list[Example] = []
    if labels:
        own = without_copies(read_labels(labels, "train"), held)
        notes.append(_card(labels, own))
        params |= {"labels": labels.name, "labels_sha256": file_digest(labels)}
    heard = without_copies(unjudged(texts, [*clean["train"], *own]), held) if texts else []
    if texts:
        names = ", ".join(f"`{path.name}` (SHA-256 {file_digest(path)[:12]}…)" for path in texts)
        notes.append(f"{names}: {len(heard)} different texts, which the teacher answers.")
        params |= {
            "texts": ", ".join(path.name for path in texts),
            "texts_sha256": ", ".join(file_digest(path)[:16] for path in texts),
        }
    return Given(clean, own, heard, notes, params)


def _card(path: Path, used: Sequence[Example]) -> str:
    """A label file's data card, one line: its hash, how many rows are trained on, where they are from."""
    rows = read_texts(path).to_pylist()
    texts = {example.text for example in used}
    trained = [row for row in rows if row["text"] in texts]
    counts = Counter((row["language"], str(row["source"]), str(row["licence"])) for row in trained)
    parts = [f"{lang}, {source} ({licence}): {n}" for (lang, source, licence), n in sorted(counts.items())]
    said = "; ".join(parts) or "none"
    read = sum(bool(row.get("checked_by")) for row in trained)
    kept_out = len(rows) - len(trained)
    return (
        f"`{path.name}` (SHA-256 {file_digest(path)[:12]}…): {len(rows)} rows, {len(trained)} trained on, {read} of "
        f"them read by a second person; {kept_out} belong to the held-out splits, or are nearly one of theirs. "
        f"By language, source and licence: {said}."
    )


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _without(train: list[Example], held: list[Example]) -> list[Example]:
    """`without_copies` of public splits, found once for the same sentences and then read from the platform's home."""
    key = hashlib.sha256(f"{rule()} {examples_digest(train)} {examples_digest(held)}".encode()).hexdigest()[:16]
    path = settings().models_dir / "copies" / f"{key}.json"
    if path.is_file():
        left_out = set(json.loads(path.read_text(encoding="utf-8")))
    else:
        left_out = set(copies(train, held))
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = path.with_name(f".{path.name}.{os.getpid()}")
        staged.write_text(json.dumps(sorted(left_out)), encoding="utf-8")
        staged.replace(path)
    return [example for at, example in enumerate(train) if at not in left_out]
