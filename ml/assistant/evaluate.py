"""How good an assistant's classifier is on labelled questions: right answers, wrong ones, hand-overs.

Beside it stands what a shop would build without an encoder: character TF-IDF with logistic regression, its confidence
the largest probability and its bound chosen in the same way on the same held-out kinds.
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsale.errors import InputError
from ml.assistant.bound import Bound, Held, choose
from ml.assistant.classify import FOLDS, fit, regression
from ml.assistant.vectors import copy_encoder, set_centre, vectors
from ml.text.pooled import pool

Floats = NDArray[np.float64]
_PEER_STRENGTH = 10.0
_SEED = 20261111
RESULT, PICTURE = "evaluation.json", "risk_coverage.png"


@dataclass(frozen=True)
class Questions:
    """Labelled questions; `labels` is empty where they are out of scope."""

    texts: list[str]
    labels: list[str]


@dataclass(frozen=True)
class Outcome:
    """What a method said about test questions: confidence and rightness in scope, confidence out of scope."""

    confidence: Floats
    right: NDArray[np.bool_]
    outside: Floats

    def curve(self, outside_share: float) -> tuple[Floats, Floats]:
        """Shares of all messages that are answered, and answered wrongly, as the bound falls; both of shape (n + 1,).

        Messages of one confidence are answered together.
        """
        inside = (1 - outside_share) / max(len(self.confidence), 1)
        beyond = outside_share / max(len(self.outside), 1)
        confidence = np.concatenate([self.confidence, self.outside])
        weight = np.concatenate([np.full(len(self.confidence), inside), np.full(len(self.outside), beyond)])
        wrong = np.concatenate([~self.right, np.ones(len(self.outside), dtype=bool)])
        order = np.argsort(-confidence, kind="stable")
        last = np.append(np.diff(confidence[order]) != 0, True)
        answered, mistaken = np.cumsum(weight[order])[last], np.cumsum((weight * wrong)[order])[last]
        return np.concatenate([[0.0], answered]), np.concatenate([[0.0], mistaken])

    def right_at(self, most_wrong: float, outside_share: float) -> float:
        """Largest share of all messages answered rightly with at most `most_wrong` answered wrongly."""
        answered, mistaken = self.curve(outside_share)
        return float((answered - mistaken)[mistaken <= most_wrong + 1e-12].max())

    def drawn(self, inside: NDArray[np.int64], outside: NDArray[np.int64]) -> Outcome:
        """The outcome on a bootstrap draw of the questions."""
        return Outcome(self.confidence[inside], self.right[inside], self.outside[outside])


def measures(outcome: Outcome, bound: Bound) -> dict[str, float | None]:
    """Accuracy, shares handed over, wrong answers (share of all messages at the bound's mixture), AUROC."""
    from sklearn.metrics import roc_auc_score

    answered, beyond = outcome.confidence >= bound.at, outcome.outside >= bound.at
    share = bound.outside_share
    wrong_inside = float((answered & ~outcome.right).mean())
    wrong_outside = float(beyond.mean()) if len(beyond) else 0.0
    known = np.concatenate([np.ones(len(answered)), np.zeros(len(beyond))])
    area = roc_auc_score(known, np.concatenate([outcome.confidence, outcome.outside])) if len(beyond) else None
    found = {
        "accuracy": float(outcome.right.mean()),
        "handed_over_inside": float(1 - answered.mean()),
        "handed_over_outside": 1 - wrong_outside if len(beyond) else None,
        "wrong_answers": (1 - share) * wrong_inside + share * wrong_outside,
        "wrong_inside": wrong_inside,
        "right_at_promise": outcome.right_at(bound.most_wrong, share),
        "auroc": area,
        "bound": bound.at if np.isfinite(bound.at) else None,
    }
    return {name: None if value is None else round(float(value), 4) for name, value in found.items()}


def ours(
    folder: Path, train: Questions, test: Questions, outside: Sequence[str], **given: Any
) -> tuple[Outcome, Bound]:
    """The assistant's classifier on vectors of a model folder; `given`: `layers`, `known_outside`, and `choose`'s."""
    known_outside, layers = given.pop("known_outside", []), given.pop("layers", None)
    with tempfile.TemporaryDirectory() as scratch:
        scorer = copy_encoder(folder, Path(scratch), layers)
        set_centre(scorer, Path(scratch), pool(scorer, train.texts))
        parts = [vectors(scorer, texts) for texts in (train.texts, test.texts, [*outside], [*known_outside]) if texts]
    rows = iter([part.astype(np.float64) for part in parts])
    seen, asked = next(rows), next(rows)
    nothing = np.zeros((0, seen.shape[1]))
    beyond = next(rows) if len(outside) else nothing
    classifier, *held = fit(seen, train.labels, next(rows) if known_outside else nothing)
    best, confidence = classifier.confidences(asked)
    right = np.array([classifier.names[at] == label for at, label in zip(best, test.labels, strict=True)])
    outer = classifier.confidences(beyond)[1] if len(beyond) else np.zeros(0)
    return Outcome(confidence, right, outer), choose(*held, **given)


def peer(train: Questions, test: Questions, outside: Sequence[str], **given: Any) -> tuple[Outcome, Bound]:
    """TF-IDF of character n-grams within words, 1 to 5 (1 to 3 of Chinese), and logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    chinese = sum(not text.isascii() for text in train.texts) > len(train.texts) / 2
    analyzer, sizes = ("char", (1, 3)) if chinese else ("char_wb", (1, 5))
    features = TfidfVectorizer(analyzer=analyzer, ngram_range=sizes, min_df=2, sublinear_tf=True, dtype=np.float32)
    labels = np.array(train.labels)
    rows = features.fit_transform(train.texts)
    fitted = regression(rows, labels, _PEER_STRENGTH)

    def sure(model: Any, asked: Any) -> tuple[Any, Floats]:
        shares = model.predict_proba(asked)
        return model.classes_[shares.argmax(1)], shares.max(1)

    best, confidence = sure(fitted, features.transform(test.texts))
    beyond = sure(fitted, features.transform(outside))[1] if len(outside) else np.zeros(0)
    held = [_peer_held(rows, labels, turn, sure) for turn in _turns(labels)]
    return Outcome(confidence, best == np.array(test.labels), beyond), choose(*held, **given)


def _turns(labels: NDArray[np.str_]) -> Iterator[NDArray[np.int64]]:
    """Which questions are held out together: by question, then by intent; none by intent where too few are left."""
    dice = np.random.default_rng(_SEED)
    yield dice.permutation(np.arange(len(labels)) % FOLDS)
    names, place = np.unique(labels, return_inverse=True)
    count = min(FOLDS, len(names))
    enough = len(names) - -(-len(names) // count) >= 2
    yield dice.permutation(np.arange(len(names)) % count)[place] if enough else np.zeros(0, dtype=np.int64)


def _peer_held(rows: Any, labels: NDArray[np.str_], turn: NDArray[np.int64], sure: Any) -> Held:
    """What models without a turn's questions say about them."""
    found, wrong = np.zeros(len(turn)), np.zeros(len(turn), dtype=bool)
    for at in np.unique(turn):
        mine = turn == at
        guessed, found[mine] = sure(regression(rows[~mine], labels[~mine], _PEER_STRENGTH), rows[mine])
        wrong[mine] = guessed != labels[mine]
    return Held(found, wrong)


def read_questions(path: Path, *, labelled: bool = True) -> Questions:
    """Questions of a CSV file with a header: `text` and, where they are labelled, `category`, in UTF-8.

    Raises InputError naming the field, the row (from 1, without the header) and the remedy.
    """
    subject = f"file {path.name}"
    wanted = ("text", "category") if labelled else ("text",)
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:  # some tools write a byte-order mark
            reader = csv.DictReader(handle)
            for name in wanted:
                if name not in (reader.fieldnames or []):
                    raise InputError(subject, "the column is missing", f"it needs {' and '.join(wanted)}", field=name)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(subject, f"it cannot be read: {error}", "name a CSV file in UTF-8") from error
    for place, row in enumerate(rows, 1):
        for name in wanted:
            if not (row[name] or "").strip():
                raise InputError(subject, "it is empty", "fill it or take the row out", field=name, row=place)
    if not rows:
        raise InputError(subject, "it has no rows", "name a file with questions")
    return Questions([row["text"] for row in rows], [row["category"] for row in rows] if labelled else [])


def evaluate_files(
    folder: Path, version: str, *, train: Path, test: Path, outside: Sequence[Path], out: Path, **given: Any
) -> dict[str, Any]:
    """Evaluate a model folder's vectors on CSV files; writes `evaluation.json` and a picture of risk and coverage.

    `given`: `layers`, `most_wrong`, `outside_share`. Raises InputError where a file cannot be used.
    """
    asked = read_questions(train), read_questions(test)
    beyond = [text for path in outside for text in read_questions(path, labelled=False).texts]
    if len(set(asked[0].labels)) < 2:
        raise InputError(f"file {train.name}", "it has one category", "give at least two", field="category")
    mine, bound = ours(folder, *asked, beyond, **given)
    given.pop("layers", None)
    theirs, other = peer(*asked, beyond, **given)
    table = {"assistant": measures(mine, bound), "tfidf": measures(theirs, other)}
    print_table(table)
    sizes = {"train": len(asked[0].texts), "test": len(asked[1].texts), "out_of_scope": len(beyond)}
    found = {"model_version": version, **sizes, **given, "measures": table}
    out.mkdir(parents=True, exist_ok=True)
    (out / RESULT).write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    draw({"assistant": (mine, bound), "TF-IDF": (theirs, other)}, out / PICTURE)
    return found | {"out": str(out)}


def print_table(table: dict[str, dict[str, float | None]]) -> None:
    """The measures of each method as lines on stderr."""
    for at, (method, row) in enumerate(table.items()):
        if not at:
            print(" ".join(["method".ljust(12), *(name.rjust(19) for name in row)]), file=sys.stderr)
        cells = ["-".rjust(19) if value is None else f"{value:19.4f}" for value in row.values()]
        print(" ".join([method.ljust(12), *cells]), file=sys.stderr, flush=True)


def draw(methods: dict[str, tuple[Outcome, Bound]], path: Path) -> None:
    """Share answered against share answered wrongly, of all messages; a dot marks each method's bound."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, (outcome, bound) in methods.items():
        answered, mistaken = outcome.curve(bound.outside_share)
        (line,) = axes.plot(answered, mistaken, label=name)
        at = min(int(answered.searchsorted(_answered(outcome, bound))), len(answered) - 1)
        axes.plot(answered[at], mistaken[at], "o", color=line.get_color())
        axes.axhline(bound.most_wrong, color="grey", linewidth=0.8, linestyle=":")
    axes.set_xlabel("share of all messages answered")
    axes.set_ylabel("share of all messages answered wrongly")
    axes.legend()
    figure.savefig(path, dpi=120, metadata={"Software": None})


def _answered(outcome: Outcome, bound: Bound) -> float:
    inside = float((outcome.confidence >= bound.at).mean())
    beyond = float((outcome.outside >= bound.at).mean()) if len(outcome.outside) else 0.0
    return (1 - bound.outside_share) * inside + bound.outside_share * beyond - 1e-9
