"""How far one model is ahead of another on the same test sentences, with an interval.

A paired bootstrap over sentences (Efron and Tibshirani 1993, chapter 16): both models are judged on the same resampled
sentences, so what is hard for both cancels out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
DRAWS = 2000


@dataclass(frozen=True)
class Margin:
    """Difference of sentiment macro-F1 (mean of the languages) and its 95 % interval, in points of F1 (0 to 1)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.4f} ({self.low:+.4f} to {self.high:+.4f})"


def paired_margin(
    truth: Sequence[int],
    languages: Sequence[str],
    ours: Sequence[int],
    theirs: Sequence[int],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Margin:
    """Margin of `ours` over `theirs`; all four sequences have one entry a sentence, classes are whole numbers."""
    dice = np.random.default_rng(seed)
    marks = np.asarray(languages)
    stated: list[NDArray[np.float64]] = []
    spread: list[NDArray[np.float64]] = []
    for language in sorted(set(languages)):
        rows = np.flatnonzero(marks == language)
        goals, mine, peers = (np.asarray(side, dtype=np.int64)[rows] for side in (truth, ours, theirs))
        everything = np.arange(len(rows))[None, :]
        drawn = dice.integers(0, len(rows), (draws, len(rows)))
        for picks, out in ((everything, stated), (drawn, spread)):
            out.append(_macro_f1(goals, mine, picks) - _macro_f1(goals, peers, picks))
    low, high = np.quantile(np.mean(spread, axis=0), [0.025, 0.975])
    return Margin(float(np.mean(stated)), float(low), float(high))


def _macro_f1(truth: Ints, found: Ints, picks: Ints) -> NDArray[np.float64]:
    """Macro-F1 of every row of `picks` (draws, sentences), over the classes that `truth` has."""
    scores = []
    for label in np.unique(truth):
        is_true, is_found = truth == label, found == label
        right = (is_true & is_found)[picks].sum(1)
        total = is_true[picks].sum(1) + is_found[picks].sum(1)
        scores.append(np.where(total > 0, 2 * right / np.maximum(total, 1), 0.0))
    return np.asarray(np.mean(scores, axis=0), dtype=np.float64)
