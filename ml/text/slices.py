"""Where a text model is good and where it is not: scores by language, length, and what a sentence contains."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml.text.calibrate import BINS
from ml.text.data import Example
from ml.text.evaluate import macro_f1

if TYPE_CHECKING:
    from ml.text.baseline import Predicted

_NEGATED = re.compile(r"n't\b|\b(?:no|not|never|nothing|hardly|without)\b|[不没无别]", re.I)
_TURNED = re.compile(r"\b(?:but|however|although|though|yet)\b|但|可是|不过|然而|虽然", re.I)
_LOUD = re.compile(r"[!?]{2,}|[\U0001F300-\U0001FAFF☹☺]")
SLICES: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("all", lambda text: True),
    ("up to 20 characters", lambda text: len(text) <= 20),
    ("21 to 60 characters", lambda text: 20 < len(text) <= 60),
    ("61 to 150 characters", lambda text: 60 < len(text) <= 150),
    ("over 150 characters", lambda text: len(text) > 150),
    ("with a negation", lambda text: bool(_NEGATED.search(text))),
    ("with a but", lambda text: bool(_TURNED.search(text))),
    ("loud (!!, ??, emoji)", lambda text: bool(_LOUD.search(text))),
)
LEAST = 10


def by_slice(examples: Sequence[Example], found: Sequence[Predicted]) -> list[dict[str, Any]]:
    """Rows of `language`, `slice`, `sentences`, `accuracy`, `macro_f1`; slices of fewer than ten are left out."""
    rows = []
    for language in sorted({example.language for example in examples}):
        for name, fits in SLICES:
            pairs = [
                (e.sentiment, p.sentiment)
                for e, p in zip(examples, found, strict=True)
                if e.language == language and fits(e.text)
            ]
            if len(pairs) < LEAST:
                continue
            truth, guessed = [t for t, _ in pairs], [g for _, g in pairs]
            right = sum(t == g for t, g in pairs) / len(pairs)
            scores = {"accuracy": round(right, 4), "macro_f1": round(macro_f1(truth, guessed), 4)}
            rows.append({"language": language, "slice": name, "sentences": len(pairs), **scores})
    return rows


def write_slices(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the table as CSV."""
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, fieldnames=["language", "slice", "sentences", "accuracy", "macro_f1"])
        writer.writeheader()
        writer.writerows(rows)


def draw_reliability(examples: Sequence[Example], found: Sequence[Predicted], path: Path) -> None:
    """Write a picture of accuracy by confidence, a line a language; the diagonal is what probabilities promise."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(4.6, 4.4))
    axis.plot([0, 1], [0, 1], color="grey", linewidth=0.8, label="promised")
    for language in sorted({example.language for example in examples}):
        places: dict[int, list[tuple[float, bool]]] = {}
        for example, guess in zip(examples, found, strict=True):
            if example.language == language and guess.confidence is not None:
                place = min(int(guess.confidence * BINS), BINS - 1)
                places.setdefault(place, []).append((guess.confidence, guess.sentiment == example.sentiment))
        full = [rows for _, rows in sorted(places.items()) if len(rows) >= LEAST]
        confidence = [sum(c for c, _ in rows) / len(rows) for rows in full]
        accuracy = [sum(hit for _, hit in rows) / len(rows) for rows in full]
        axis.plot(confidence, accuracy, marker="o", label=language)
    axis.set(xlabel="confidence", ylabel="accuracy", xlim=(0.3, 1), ylim=(0.3, 1), title="Sentiment, test sentences")
    axis.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
