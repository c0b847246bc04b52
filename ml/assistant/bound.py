"""From which confidence on an answer is given, so that few answers are wrong.

**What is promised.** Of all messages, answered or not, at most `most_wrong` get a wrong answer. That share falls when
the bound rises, so the bound is the lowest one at which the share on held-out messages, with one imagined further
message that is wrong, is still within the promise:

    (n R(t) + 1) / (n + 1) <= most_wrong

where R(t) is the share of the n held-out messages that are answered at bound t and wrongly so. This is conformal risk
control (Angelopoulos, Bates, Fisch, Lei and Schuster 2022, theorem 1), split conformal prediction (Vovk et al. 2005)
for a loss that falls with t: where held-out and future messages are exchangeable, the expected share of wrong answers
among future messages is at most `most_wrong`, whatever the model and however the confidences are made. It needs n of
at least 1 / most_wrong - 1; with fewer the bound is infinite and every message goes to a person.

**Two kinds of messages.** Held-out questions in scope and out of scope are not mixed as the shop's messages will be, so
the left side is the mean of both kinds' terms, weighted by the expected share of out-of-scope messages. The theorem
holds for each kind's term with the same t, because t does not fall when a message of either kind is put in the place of
the imagined one, hence for their mean.

**What is not promised.** The promise is a mean over draws of the held-out messages. For the draw at hand,
`Bound.upper` is an upper limit of the share of wrong answers by Clopper and Pearson (1934): each kind's one-sided limit
at 97.5 %, so both hold with 95 %. The bound was chosen on the same messages, so it describes rather than promises. None
of it holds where the shop's messages are of another kind than those held out.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashsale.errors import InputError

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Held:
    """Held-out messages of one kind: confidence of the best guess, shape (n,), and whether that guess is wrong."""

    confidence: Floats
    wrong: Flags

    def __post_init__(self) -> None:
        if self.confidence.shape != self.wrong.shape or not np.isfinite(self.confidence).all():
            raise InputError("held-out messages", "confidences are missing or infinite", "give one finite number each")

    def answered_wrongly(self, bound: float) -> int:
        """Messages that are answered at this bound and wrongly so."""
        return int((self.wrong & (self.confidence >= bound)).sum())

    def term(self, bound: float) -> float:
        """Share of wrong answers with one imagined further message that is wrong; 1 where nothing was held out."""
        size = len(self.confidence)
        return (self.answered_wrongly(bound) + 1) / (size + 1)


@dataclass(frozen=True)
class Bound:
    """A chosen bound and what was seen at it on the held-out messages.

    Args:
        at: answers are given from this confidence on; infinite where no bound keeps the promise.
        most_wrong: the promise, a share of all messages.
        outside_share: the expected share of out-of-scope messages.
        wrong: share of held-out messages that were answered wrongly, kinds weighted.
        upper: upper limit of that share, see the module.
        answered_inside: share of in-scope messages that were answered.
        answered_outside: share of out-of-scope messages that were answered.
        held_inside: how many in-scope messages were held out.
        held_outside: how many out-of-scope messages were held out.
    """

    at: float
    most_wrong: float
    outside_share: float
    wrong: float
    upper: float
    answered_inside: float
    answered_outside: float
    held_inside: int
    held_outside: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; an infinite bound is null."""
        found = asdict(self)
        return found | {"at": self.at if np.isfinite(self.at) else None}


def choose(inside: Held, outside: Held, *, most_wrong: float = 0.02, outside_share: float = 0.2) -> Bound:
    """The lowest bound that keeps the promise, see the module.

    Out of scope every answer is wrong, so `outside.wrong` is all true. Raises InputError for shares out of range.
    """
    for name, value in (("most_wrong", most_wrong), ("outside_share", outside_share)):
        if not 0 <= value < 1:
            raise InputError("bound", f"{value} is no such share", "give a share from 0 to below 1", field=name)
    if most_wrong == 0:
        raise InputError("bound", "no bound is never wrong", "give a share above 0", field="most_wrong")
    weights = (1 - outside_share, outside_share)

    def share(bound: float) -> float:
        parts = zip(weights, (inside, outside), strict=True)
        return sum(weight * held.term(bound) for weight, held in parts if weight > 0)

    wrong = np.concatenate([held.confidence[held.wrong] for held in (inside, outside)])
    every = np.unique(np.concatenate([inside.confidence, outside.confidence]))
    # The share falls only where a wrong message is left out: just above each of them lie the bounds to try.
    steps = [float(every[0])] if len(every) else []
    steps += [
        float(every[place]) for place in np.searchsorted(every, np.unique(wrong), side="right") if place < len(every)
    ]
    low, high = 0, len(steps)
    while low < high:  # the share never rises with the bound
        middle = (low + high) // 2
        low, high = (low, middle) if share(steps[middle]) <= most_wrong else (middle + 1, high)
    return _seen(steps[low] if low < len(steps) else np.inf, inside, outside, most_wrong, outside_share)


def clopper_pearson(wrong: int, size: int, *, sure: float = 0.975) -> float:
    """One-sided upper limit of a share of which `wrong` of `size` were seen (Clopper and Pearson 1934)."""
    from scipy.stats import beta

    return 1.0 if wrong >= size else float(beta.ppf(sure, wrong + 1, size - wrong))


def _seen(at: float, inside: Held, outside: Held, most_wrong: float, outside_share: float) -> Bound:
    shares, limits, answered = [], [], []
    for held in (inside, outside):
        wrong, size = held.answered_wrongly(at), len(held.confidence)
        shares.append(wrong / size if size else 0.0)
        limits.append(clopper_pearson(wrong, size))
        answered.append(float((held.confidence >= at).mean()) if size else 0.0)
    weights = np.array([1 - outside_share, outside_share])
    return Bound(
        at=float(at),
        most_wrong=most_wrong,
        outside_share=outside_share,
        wrong=float(weights @ shares),
        upper=float(weights @ limits),
        answered_inside=answered[0],
        answered_outside=answered[1],
        held_inside=len(inside.confidence),
        held_outside=len(outside.confidence),
    )
