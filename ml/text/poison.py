"""Labels under attack: whether what a model is to be trained on was changed on the way.

Three checks, from the exact to the statistical:

1. **Public sentences** are held against digests pinned in `checks/label_digests.yaml`: one changed label, at any rate,
   changes the digest. A training example that contradicts the public label of its own sentence is named.
2. **Known sentences**, those in the ledger of what the champion was trained on, must have the label they had: every
   changed one is found and named.
3. **New sentences** (label files) are judged by models that never saw them (`ml.text.doubt`). A label in doubt stops
   the training until a second person has read it: the file's column `checked_by` names them.

Intents and spans that a file gives are held against the rules and the ledger (`ml.text.weak_doubt`).

What none of them can see is said in `docs/text_checks.md`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from flashsale.corpora import load_sentences
from flashsale.corpora.normal import same
from flashsale.errors import InputError
from ml.text.data import IGNORED, SENTIMENTS, Example
from ml.text.doubt import Doubt, doubt
from ml.text.verdict import Check
from ml.text.weak_doubt import Weak, weak_doubt, weak_of

DIGESTS = Path(__file__).parent / "checks" / "label_digests.yaml"
LEDGER_FILE = "label_ledger.parquet"
#: One row per distinct sentence that a model was trained on, by the hash of what two copies of it share.
LEDGER = pa.schema(
    [
        pa.field("identity", pa.string(), False),
        pa.field("sentiment", pa.string()),  # null where nobody gave one
        pa.field("intent", pa.bool_()),
        pa.field("spans", pa.string()),
    ]
)
#: One row per label to read, the worst first.
SUSPICIOUS = pa.schema([(name, pa.string()) for name in ("text", "language", "sentiment", "likelier", "why")])
SHOWN = 50


@dataclass(frozen=True)
class Ledger:
    """What a model was trained on, by the hash of a sentence: its sentiment, and its intent and spans."""

    sentiments: Mapping[str, str] = field(default_factory=dict)
    weak: Mapping[str, Weak] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What was found in a set of labels.

    `checks` give the reasons; `suspicious` are rows for a person to read, the worst first, each with `text`,
    `language`, `sentiment`, `likelier` (what the check would have said) and `why`; `figures` are the numbers behind.
    """

    checks: list[Check]
    suspicious: list[dict[str, Any]]
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(check.passed for check in self.checks)

    @property
    def reasons(self) -> list[str]:
        """One line a check."""
        return [check.reason() for check in self.checks]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        found = {"passed": self.passed, "reasons": self.reasons, "suspicious": self.suspicious[:SHOWN]}
        return found | {"figures": self.figures}


def key_of(text: str) -> str:
    """SHA-256 of what two copies of a sentence share (`flashsale.corpora.normal.same`)."""
    return hashlib.sha256(same(text).encode()).hexdigest()


def ledger_of(examples: Iterable[Example]) -> pa.Table:
    """The ledger (`LEDGER`) of labelled examples, in the order of the hash; the last label given to one counts."""
    rows: dict[str, dict[str, Any]] = {}
    for example in examples:
        key, (intent, spans) = key_of(example.text), weak_of(example)
        before = rows.get(key, {}).get("sentiment")
        sentiment = before if example.sentiment == IGNORED else SENTIMENTS[example.sentiment]
        rows[key] = {"identity": key, "sentiment": sentiment, "intent": bool(intent), "spans": spans}
    return pa.Table.from_pylist([row for _, row in sorted(rows.items())], schema=LEDGER)


def write_ledger(examples: Iterable[Example], folder: Path) -> Path:
    """Write the ledger to `folder` and return its path; it is kept with the training run."""
    path = folder / LEDGER_FILE
    pq.write_table(ledger_of(examples), path, compression="zstd")
    return path


def read_ledger(path: Path) -> Ledger:
    """What a ledger's file says. Raises InputError where it is none; an older one knows no intent and no spans."""
    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"label ledger {path.name}", f"it cannot be read: {error}", "fetch it again") from error
    for name in ("identity", "sentiment"):
        if name not in table.column_names:
            raise InputError(
                f"label ledger {path.name}", "the column is missing", "name a run's ledger file", field=name
            )
    rows = table.to_pylist()
    return Ledger(
        {row["identity"]: row["sentiment"] for row in rows if row["sentiment"]},
        {row["identity"]: (int(row["intent"]), row["spans"]) for row in rows if row.get("spans") is not None},
    )


def champion_ledger(model: str) -> Ledger | None:
    """The ledger kept with the run of the champion of `model`; None where there is no champion, or it has none.

    Raises InputError where the registry or the run's files cannot be reached: that is not the same as none.
    """
    import tempfile

    import mlflow
    from mlflow.exceptions import MlflowException

    from ml import registry, tracking

    holder = registry.champion(model) if registry.is_set() else None
    if holder is None or not holder.run_id:
        return None
    files, kept, remedy = tracking.client(), f"evaluation/{LEDGER_FILE}", "see that MLflow's artifacts can be read"
    if not tracking.asked(lambda: files.list_artifacts(holder.run_id)):  # a run that was handed in has a card at least
        raise InputError(f"label ledger of {holder.label}", "the files of its run are not there", remedy)
    listed = tracking.asked(lambda: files.list_artifacts(holder.run_id, "evaluation")) or []
    if kept not in {file.path for file in listed}:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        try:
            path = mlflow.artifacts.download_artifacts(run_id=holder.run_id, artifact_path=kept, dst_path=scratch)
        except (MlflowException, OSError) as error:
            words = f"it is there, and could not be downloaded ({type(error).__name__})"
            raise InputError(f"label ledger of {holder.label}", words, remedy) from error
        return read_ledger(Path(path))


def source_digests(table: pa.Table) -> dict[str, dict[str, Any]]:
    """`{source: {"rows", "sha256"}}` over the sorted pairs of identity and label of `load_sentences`' table."""
    lines: dict[str, list[str]] = {}
    columns = (table[name].to_pylist() for name in ("source", "text", "sentiment"))
    for source, text, sentiment in zip(*columns, strict=True):
        lines.setdefault(source, []).append(f"{key_of(text)} {sentiment}\n")
    return {
        source: {"rows": len(found), "sha256": hashlib.sha256("".join(sorted(found)).encode()).hexdigest()}
        for source, found in sorted(lines.items())
    }


def pinned_digests() -> dict[str, dict[str, Any]]:
    """The digests that the repository pins, by source."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(DIGESTS.read_text(encoding="utf-8"))["sources"]
    return found


def read_again(path: Path) -> frozenset[str]:
    """Keys (`key_of`) of the rows of a label file that a second person has read: those with `checked_by`."""
    from ml.text.score import read_texts

    rows = read_texts(path).to_pylist()
    return frozenset(key_of(row["text"]) for row in rows if row.get("checked_by"))


def check_file(labels: Path | None, *, ledger: Path | None = None, out: Path | None = None) -> dict[str, Any]:
    """Check the public labels and a label file by itself, all its rows, and return the verdict as plain values.

    `ledger` is a ledger file; without it the champion's is asked for. Rows to read are written to `out`. Raises
    InputError, with every reason, where a check fails.
    """
    from ml.text.data import load_examples, with_sentiment
    from ml.text.labels import read_labels
    from ml.text.pipeline import MODEL
    from ml.text.score import writable, write_table

    if out is not None:
        writable(out, SUSPICIOUS)
    splits = ("train", "valid", "test")
    own = [example for split in splits for example in read_labels(labels, split)] if labels else []
    known = read_ledger(ledger) if ledger else champion_ledger(MODEL) if own else None
    trusted = load_examples("train") + load_examples("valid") if own else []
    read = read_again(labels) if labels else frozenset()
    verdict = check(trusted + with_sentiment(own), known, own=own, read=read)
    if out is not None:
        rows = pa.Table.from_pylist(verdict.suspicious, schema=SUSPICIOUS)
        write_table(rows, out)
    if not verdict.passed:
        named = f"label file {labels.name}" if labels else "public labels"
        raise InputError(
            named,
            "\n- " + "\n- ".join(verdict.reasons) + "\n",
            "read the rows that --out names; mend a wrong label, or name the second reader of a right one in the "
            "column `checked_by`; where known or public labels changed, find out who changed them first",
        )
    return verdict.as_dict()


def check(
    examples: Sequence[Example],
    ledger: Ledger | None = None,
    *,
    own: Sequence[Example] = (),
    read: frozenset[str] = frozenset(),
    public: pa.Table | None = None,
    seed: int = 0,
) -> Verdict:
    """Hold the labels of `examples` against what is known of them.

    Args:
        examples: what is to be trained on, public sentences and those of label files alike.
        ledger: what the champion was trained on (`champion_ledger`); None where there is none yet.
        own: the rows of label files, those without a sentiment too: their intents and spans are looked at.
        read: keys of new sentences whose label a second person has read (`read_again`); they are not judged again.
        public: the public sentences as they were read; default: `load_sentences()`.
        seed: of the folds and of the draws behind p-values.
    """
    table = load_sentences() if public is None else public
    checks = _public_checks(table)
    known = (ledger or Ledger()).sentiments
    labels = {key_of(t): s for t, s in zip(table["text"].to_pylist(), table["sentiment"].to_pylist(), strict=True)}
    trusted: list[Example] = []
    fresh: list[Example] = []
    changed, contradicting, suspicious = [], [], []
    for example in examples:
        key, label = key_of(example.text), SENTIMENTS[example.sentiment]
        before = labels.get(key, known.get(key))
        if labels.get(key, label) != label:
            contradicting.append(_row(example, labels[key], "contradicts the public label of the same sentence"))
        elif known.get(key, label) != label:
            changed.append(_row(example, known[key], "the champion was trained on another label of this sentence"))
        else:
            (fresh if before is None else trusted).append(example)
    checks.append(_count("training labels that contradict the public ones", len(contradicting), "sentences"))
    missing = "" if ledger is not None else "no champion keeps a ledger yet, so none is known"
    checks.append(_count("known sentences whose label changed", len(changed), "sentences", missing))
    unread = [example for example in fresh if key_of(example.text) not in read]
    found = doubt(trusted, unread, seed=seed) if unread else Doubt([], [], {})
    figures = {"trusted": len(trusted), "new": len(fresh), "read_again": len(fresh) - len(unread), **found.figures}
    if own:
        keyed = ((key, example) for example in own if (key := key_of(example.text)) not in read)
        weak = weak_doubt(keyed, (ledger or Ledger()).weak, labels.keys())
        checks, suspicious = [*checks, *weak.checks], weak.suspicious
    rows = [*contradicting, *changed, *suspicious, *found.suspicious]
    return Verdict([*checks, *found.checks], rows, figures)


def _public_checks(table: pa.Table) -> list[Check]:
    pinned = pinned_digests()
    read = source_digests(table)
    checks = [Check(f"public labels of {s}", False, note="none were read") for s in sorted(set(pinned) - set(read))]
    for source, found in read.items():
        words = ""
        if source not in pinned:
            words = "it has no pinned digest"
        elif found != pinned[source]:
            words = f"its labels are not the pinned ones ({found['rows']} rows, {pinned[source]['rows']} pinned)"
        if words:
            words += "; see `python -m ml text check-labels --digests`"
        checks.append(Check(f"public labels of {source}", not words, note=words or "as pinned"))
    return checks


def _count(name: str, count: int, unit: str, note: str = "") -> Check:
    return Check(name, count == 0, float(count), 0.0, unit, note)


def _row(example: Example, likelier: str, why: str) -> dict[str, Any]:
    label = SENTIMENTS[example.sentiment]
    return {
        "text": example.text,
        "language": example.language,
        "sentiment": label,
        "likelier": likelier,
        "why": why,
    }
