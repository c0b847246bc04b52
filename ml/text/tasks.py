"""Intent and spans on the frozen sentences: held to a floor, and beside the champion.

Their labels are the rules' (`ml.text.weak`), so what is measured is agreement with the rules. A training whose labels
of either were changed shows here, since the test sentences keep theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ml.text.baseline import Predicted
from ml.text.data import Example
from ml.text.margin import DRAWS, Margin
from ml.text.verdict import Check

LEAST_F1 = 0.2
"""Under it a head is of no use: saying yes to every text has an F1 of 0.05 to 0.1 in intent."""
Counts = NDArray[np.int64]
Tallies = Callable[[Example, Predicted], tuple[int, int]]


def _intent(example: Example, guess: Predicted) -> tuple[int, int]:
    return int(bool(example.intent) and bool(guess.intent)), int(example.intent) + int(guess.intent)


def _spans(example: Example, guess: Predicted) -> tuple[int, int]:
    true, found = set(example.spans), set(guess.spans)
    return len(true & found), len(true) + len(found)


TASKS: dict[str, Tallies] = {"intent": _intent, "spans": _spans}


def task_checks(
    examples: Sequence[Example], ours: Sequence[Predicted], champion: Sequence[Predicted] | None
) -> list[Check]:
    """A floor for each task and language, and whether the candidate is behind the champion beyond chance."""
    checks: list[Check] = []
    for task, tally in TASKS.items():
        for language in sorted({example.language for example in examples}):
            rows = [at for at, example in enumerate(examples) if example.language == language]
            mine = _counts(tally, examples, ours, rows)
            value = float(_f1(mine[None])[0])
            name = f"{language}: F1 of {task}"
            checks.append(Check(name, value >= LEAST_F1, value, LEAST_F1, note="at least"))
            if champion is not None:
                ahead = f1_margin(mine, _counts(tally, examples, champion, rows))
                note = f"{ahead}; behind beyond chance" if ahead.high < 0 else str(ahead)
                checks.append(Check(f"{name} over the champion", ahead.high >= 0, ahead.value, note=note))
    return checks


def f1_margin(ours: Counts, theirs: Counts, *, draws: int = DRAWS, seed: int = 0) -> Margin:
    """Difference of F1 of two models and its 95 % interval, by a paired bootstrap over sentences.

    Both are (sentences, 2): what is right, and what is true plus what was found.
    """
    dice = np.random.default_rng(seed)
    picks = dice.integers(0, len(ours), (draws, len(ours)))
    low, high = np.quantile(_f1(ours[picks]) - _f1(theirs[picks]), [0.025, 0.975])
    return Margin(float((_f1(ours[None]) - _f1(theirs[None]))[0]), float(low), float(high))


def _counts(tally: Tallies, examples: Sequence[Example], found: Sequence[Predicted], rows: Iterable[int]) -> Counts:
    return np.array([tally(examples[at], found[at]) for at in rows], dtype=np.int64)


def _f1(counts: Counts) -> NDArray[np.float64]:
    """F1 of (draws, sentences, 2) counts: shape (draws,)."""
    right, total = counts.sum(1).T
    return np.asarray(np.where(total > 0, 2 * right / np.maximum(total, 1), 0.0), dtype=np.float64)
