"""Judging a text model on the frozen test sentences, beside its baseline and the champion."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml.text.calibrate import BINS, calibration_error, error_beyond_chance
from ml.text.data import SENTIMENTS, Example
from ml.text.verdict import Check

if TYPE_CHECKING:
    from ml.text.baseline import Predicted
    from ml.text.margin import Margin
    from ml.text.scorer import Scorer

Metrics = dict[str, float]
_TOLERANCE = 0.01
MOST_CALIBRATION_ERROR = 0.03


def predict(scorer: Scorer, examples: Sequence[Example]) -> list[Predicted]:
    """Predictions of the model as it is served, cut and rounded like there."""
    from ml.text.baseline import Predicted

    frame = scorer.score([example.text for example in examples])
    sure = frame[[f"p_{name}" for name in SENTIMENTS]].max(axis=1)
    rows = zip(frame["sentiment"], frame["p_intent"], frame["spans"], sure, strict=True)
    return [
        Predicted(
            SENTIMENTS.index(sentiment),
            int(intent >= scorer.intent_threshold),
            tuple((span["start"], span["end"]) for span in json.loads(spans)),
            float(confidence),
        )
        for sentiment, intent, spans, confidence in rows
    ]


def macro_f1(truth: Sequence[int], found: Sequence[int]) -> float:
    """Mean F1 over the classes that `truth` has; a prediction of another class is an error."""
    scores = [f1([t == label for t in truth], [p == label for p in found]) for label in sorted(set(truth))]
    return sum(scores) / len(scores)


def f1(truth: Sequence[bool | int], found: Sequence[bool | int]) -> float:
    """F1 of the positive class; 0 where there is nothing right."""
    right = sum(1 for t, p in zip(truth, found, strict=True) if t and p)
    total = sum(map(bool, truth)) + sum(map(bool, found))
    return 2 * right / total if total else 0.0


def span_f1(truth: Sequence[Sequence[tuple[int, int]]], found: Sequence[Sequence[tuple[int, int]]]) -> float:
    """Entity-level F1: a span counts when both ends are right (Tjong Kim Sang and De Meulder 2003)."""
    pairs = [(set(t), set(p)) for t, p in zip(truth, found, strict=True)]
    right = sum(len(t & p) for t, p in pairs)
    total = sum(len(t) + len(p) for t, p in pairs)
    return 2 * right / total if total else 0.0


def metrics(examples: Sequence[Example], found: Sequence[Predicted]) -> Metrics:
    """Scores by language and their means, as `<what>.<language>` and `<what>.mean`."""
    result: Metrics = {}
    languages = sorted({example.language for example in examples})
    for language in languages:
        pairs = [(e, p) for e, p in zip(examples, found, strict=True) if e.language == language]
        truth, guessed = [e for e, _ in pairs], [p for _, p in pairs]
        sentiments = [e.sentiment for e in truth], [p.sentiment for p in guessed]
        hits = sum(t == p for t, p in zip(*sentiments, strict=True))
        result[f"sentiment_f1.{language}"] = macro_f1(*sentiments)
        result[f"sentiment_accuracy.{language}"] = hits / len(pairs)
        result[f"intent_f1.{language}"] = f1([e.intent for e in truth], [p.intent for p in guessed])
        result[f"span_f1.{language}"] = span_f1([e.spans for e in truth], [p.spans for p in guessed])
        sure = [p.confidence for p in guessed if p.confidence is not None]
        if len(sure) == len(guessed):
            right = [t == p for t, p in zip(*sentiments, strict=True)]
            result[f"calibration_error.{language}"] = calibration_error(sure, right)
            result[f"calibration_beyond_chance.{language}"] = error_beyond_chance(sure, right)
    for what in sorted({name.split(".")[0] for name in result}):
        result[f"{what}.mean"] = sum(result[f"{what}.{language}"] for language in languages) / len(languages)
    return {name: round(value, 4) for name, value in result.items()}


def gate(
    candidate: Metrics,
    baseline: Metrics,
    champion: Metrics | None,
    ahead: Mapping[str, Margin],
    *,
    checks: Iterable[Check] = (),
    calibration_limit: float = MOST_CALIBRATION_ERROR,
    smaller: bool = False,
) -> dict[str, Any]:
    """Whether a candidate deserves a reviewer's time, with a reason for each comparison and check.

    It must beat the baseline's sentiment macro-F1 (mean of the languages) and, where there is a champion, the
    champion's, each beyond chance: the lower end of the margin's interval in `ahead` (by the peer's name) is above 0.
    And it may lose no more than 0.01 to the champion in any language. A `smaller` model, which
    the champion taught, is not made to beat it: that comparison is told, and what it may lose is among `checks`.
    Languages in which a peer is ahead are named whatever the outcome: the reviewer decides.

    Its calibration error, where it was measured, may be at most `calibration_limit` in each language (what of it is not
    chance is told beside it: of a few hundred sentences much of it is, whatever the model), and none of
    `checks` (intent and spans, speed, attacks, fairness, labels; see `ml.text.judged`) may fail. The answer is
    `{"passed", "reasons", "failed"}`, the last the names of what failed.
    """
    name = "sentiment_f1"
    languages = [key.split(".")[1] for key in candidate if key.startswith(f"{name}.") and not key.endswith("mean")]
    reasons: list[str] = []
    failed: list[str] = []
    for peer, scores in (("TF-IDF", baseline), ("champion", champion)):
        if scores is None:
            reasons.append("there is no champion yet")
            continue
        beyond, told = ahead[peer].low > 0, smaller and peer == "champion"
        failed += [] if beyond or told else [f"margin over {peer}"]
        words = "ahead" if beyond else "not ahead beyond chance"
        reasons.append(f"mean macro-F1 over {peer}: {ahead[peer]}, {words}")
        for language in languages:
            ours, theirs = candidate[f"{name}.{language}"], scores[f"{name}.{language}"]
            fallen = peer == "champion" and not told and ours < theirs - _TOLERANCE
            failed += [f"{language} against {peer}"] if fallen else []
            reasons.append(f"{language}: {ours:.3f} against {peer} {theirs:.3f}" + (", falls behind" if fallen else ""))
    every = [*_calibration(candidate, languages, calibration_limit), *checks]
    reasons += [check.reason() for check in every]
    failed += [check.name for check in every if not check.passed]
    return {"passed": not failed, "reasons": reasons, "failed": failed}


def _calibration(candidate: Metrics, languages: Iterable[str], limit: float) -> list[Check]:
    checks = []
    for language in languages:
        error, beyond = (candidate.get(f"calibration_{what}.{language}") for what in ("error", "beyond_chance"))
        if error is not None:
            note = f"{BINS} bins" if beyond is None else f"{BINS} bins; {beyond:.4f} beyond chance"
            checks.append(Check(f"{language}: calibration error", error <= limit, error, limit, note=note))
    return checks


def table(columns: Mapping[str, Metrics]) -> str:
    """A Markdown table of metrics, a column a model."""
    names = sorted({name for found in columns.values() for name in found})
    lines = ["| metric | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name in names:
        cells = (f"{found[name]:.3f}" if name in found else "" for found in columns.values())
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def confusion(examples: Sequence[Example], found: Sequence[Predicted], language: str) -> list[list[int]]:
    """Counts by true (row) and predicted (column) sentiment, in the order of `SENTIMENTS`."""
    counts = [[0] * len(SENTIMENTS) for _ in SENTIMENTS]
    for example, guess in zip(examples, found, strict=True):
        if example.language == language:
            counts[example.sentiment][guess.sentiment] += 1
    return counts


def draw_confusion(examples: Sequence[Example], found: Sequence[Predicted], path: Path) -> None:
    """Write a picture of the confusion of each language side by side."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    languages = sorted({example.language for example in examples})
    figure, axes = pyplot.subplots(1, len(languages), figsize=(4.2 * len(languages), 4), squeeze=False)
    for axis, language in zip(axes[0], languages, strict=True):
        counts = confusion(examples, found, language)
        axis.imshow(counts, cmap="Blues")
        axis.set_xticks(range(len(SENTIMENTS)), SENTIMENTS)
        axis.set_yticks(range(len(SENTIMENTS)), SENTIMENTS, rotation=90, va="center")
        axis.set(title=f"{language}: {sum(map(sum, counts))} test sentences", xlabel="predicted", ylabel="true")
        darkest = max(max(row) for row in counts) or 1
        for row, line in enumerate(counts):
            for column, count in enumerate(line):
                shade = "white" if count > darkest / 2 else "black"
                axis.text(column, row, str(count), ha="center", va="center", color=shade)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
