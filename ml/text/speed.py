"""What a version costs to serve, measured when it is handed in: its speed beside its own float32 weights and beside the
teacher it was made from, and what it answers otherwise.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ml.text import evaluate
from ml.text.data import Example
from ml.text.scorer import Scorer
from ml.text.verdict import Check

SAMPLE, ROUNDS = 256, 3
MOST_LOST = 0.01
"""Macro-F1 that a smaller model may lose to its teacher."""
OWN, TEACHER = "float32", "teacher"


@dataclass(frozen=True)
class Peered:
    """Another form beside the one served: how many times its speed ours is, what share of the sample it answers
    alike, and how much more macro-F1 (mean of the languages, all test sentences) it has; None where only the sample
    was read.
    """

    times: float
    alike: float
    lost: float | None = None


@dataclass(frozen=True)
class Speed:
    """Texts a second as served, and the other forms by name; `fewer`: whether it has fewer layers than its teacher."""

    precision: str
    texts_per_second: float
    peers: Mapping[str, Peered]
    fewer: bool = False

    def metrics(self) -> dict[str, float]:
        """Figures for the run."""
        found = {"speed.texts_per_second": round(self.texts_per_second, 1)}
        for name, peer in self.peers.items():
            found |= {f"speed.times_{name}": round(peer.times, 3), f"speed.alike_{name}": round(peer.alike, 4)}
            found |= {} if peer.lost is None else {f"speed.lost_to_{name}": round(peer.lost, 4)}
        return found

    def checks(self) -> list[Check]:
        """What a model with fewer layers than its teacher has to keep; none for another."""
        peer = self.peers.get(TEACHER)
        if peer is None or peer.lost is None or not self.fewer:
            return []
        lost, allowed = 100 * peer.lost, 100 * MOST_LOST
        return [
            Check("macro-F1 lost to the teacher", lost <= allowed, lost, allowed, "points"),
            Check("times the teacher's speed", peer.times > 1, peer.times, 1.0, note="above"),
        ]

    def section(self) -> str:
        """The card's paragraph."""
        lines = [
            f"**Cost of serving**, measured on the first {SAMPLE} test sentences on the machine that judged it: "
            f"{self.texts_per_second:.0f} texts a second as served ({self.precision})."
        ]
        words = {OWN: "its own weights in float32, through all layers", TEACHER: "its teacher as served"}
        for name, peer in self.peers.items():
            lost = "" if peer.lost is None else f", {100 * peer.lost:+.2f} points of macro-F1 behind on all of them"
            lines.append(f"{peer.times:.2f} times {words[name]}, {peer.alike:.1%} answered alike{lost}.")
        return "\n".join(lines) + "\n"


def measure(folder: Path, test: Sequence[Example], mine: Sequence[int], teacher: Path | None = None) -> Speed:
    """Time a model folder as served beside its other forms, one after the other in each round.

    `test` are the frozen sentences, `mine` the sentiments that the served model gave them (indices of `SENTIMENTS`).
    The teacher reads all of them, so that what the student loses is not of the sample alone.
    """
    served, sample = Scorer(folder), list(test[:SAMPLE])
    others: dict[str, Scorer] = {}
    if served.precision != "fp32" or len(served.stops) > 1:
        others[OWN] = Scorer(folder, precision="fp32", early=False)
    if teacher is not None:
        others[TEACHER] = Scorer(teacher)
    answers = {name: _sentiments(one, test if name == TEACHER else sample) for name, one in others.items()}
    seconds: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, one in {"served": served, **others}.items():
            began = time.perf_counter()
            one.score([example.text for example in sample])
            seconds.setdefault(name, []).append(time.perf_counter() - began)
    took = {name: statistics.median(found) for name, found in seconds.items()}
    peers = {
        name: Peered(
            took[name] / took["served"],
            sum(a == b for a, b in zip(answers[name][:SAMPLE], mine, strict=False)) / len(sample),
            _macro(test, answers[name]) - _macro(test, mine) if name == TEACHER else None,
        )
        for name in others
    }
    fewer = TEACHER in others and len(served.encoder.layers) < len(others[TEACHER].encoder.layers)
    return Speed(served.precision, len(sample) / took["served"], peers, fewer)


def _sentiments(scorer: Scorer, examples: Sequence[Example]) -> list[int]:
    return [found.sentiment for found in evaluate.predict(scorer, examples)]


def _macro(examples: Sequence[Example], found: Sequence[int]) -> float:
    """Macro-F1, mean of the languages."""
    scores = []
    for language in sorted({example.language for example in examples}):
        pairs = [(e.sentiment, f) for e, f in zip(examples, found, strict=True) if e.language == language]
        scores.append(evaluate.macro_f1([truth for truth, _ in pairs], [guess for _, guess in pairs]))
    return sum(scores) / len(scores)
