"""A few price changes of a running sale, with the moves of units that go with them.

At most m prices may change (Cheung, Simchi-Levi, Wang 2017: what a limited number of changes costs is little). They are
found one by one: of all SKUs and all their lawful prices the change that adds most, rivals' demand and the best moves
taken into account; the next one is looked for beside it. A change must earn its trouble on scenarios it was not
chosen on, or it is taken back: a sale that runs as foreseen is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ml.allocation.moves import best_moves
from ml.allocation.rest import (
    FLOATS,
    Decision,
    Rest,
    Scenarios,
    earnings,
    expected_sales,
    promotion_of,
    promotion_room,
    service_floor,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

LOOKED_AT = 6  # changes that are given their own moves, of those that look best with the units as they are


@dataclass(frozen=True)
class Search:
    """What a re-plan is looked for with.

    `chosen_on` and `checked_on` are scenarios of one belief; `least_gain` is what a change of one SKU must add, as a
    share of what the rest of the sale is expected to earn with a SKU on average.
    """

    rest: Rest
    chosen_on: Scenarios
    checked_on: Scenarios
    least_gain: float

    def worth(self, decision: Decision) -> float:
        """Expected earnings on the scenarios that decisions are chosen on."""
        return float(earnings(self.rest, decision, self.chosen_on).sum(axis=(0, 1)).mean())

    def checked(self, decision: Decision) -> float:
        """Expected earnings on the others."""
        return float(earnings(self.rest, decision, self.checked_on).sum(axis=(0, 1)).mean())

    @property
    def least(self) -> float:
        """What a change must add, in money."""
        return self.least_gain * max(self.checked(Decision.nothing(self.rest)), 0.0) / len(self.rest.now)

    def holds(self, decision: Decision) -> bool:
        """Whether the promotion budget and minimum service hold, as far as they would without a re-plan."""
        sold = expected_sales(self.rest, decision, self.chosen_on)
        if promotion_of(self.rest, decision, sold) > promotion_room(self.rest, self.chosen_on) + FLOATS:
            return False
        served = self.rest.service > 0
        floor = service_floor(self.rest, self.chosen_on, self.rest.factors(decision.profile))
        return bool((sold >= floor - FLOATS)[:, served].all())


def improve(search: Search, base: Decision, changes: int, *, supply: bool = False) -> Decision:
    """The best re-plan found on top of `base` with at most so many further price changes; `base` where none pays.

    Args:
        supply: also send units that the plan kept back.
    """
    movable = np.ones(len(base.profile), dtype=np.bool_)
    profile = _prices(search, base, changes, movable, supply)
    for _ in range(len(movable) + changes + 1):  # every round takes something back, or is the last
        decision = best_moves(search.rest, replace(base, profile=profile), search.chosen_on, movable, supply=supply)
        weak_price, weak_moves = _weakest_price(search, base, decision), _weak_moves(search, base, decision)
        if weak_price is not None:
            profile = _with(profile, weak_price, int(base.profile[weak_price]))
        elif weak_moves.any():
            movable = movable & ~weak_moves
        else:
            return decision if search.holds(decision) else base
    return base


def _prices(search: Search, base: Decision, changes: int, movable: Bools, supply: bool) -> Ints:
    """Prices found by adding the best change again and again, shape (skus,)."""
    rest, best = search.rest, best_moves(search.rest, base, search.chosen_on, movable, supply=supply)
    for _ in range(changes):
        value, found = search.worth(best), None
        for profile in _candidates(search, base, best):
            trial = best_moves(rest, replace(base, profile=profile), search.chosen_on, movable, supply=supply)
            worth = search.worth(trial)
            if worth > value + FLOATS and search.holds(trial):
                value, found = worth, trial
        if found is None:
            break
        best = found
    return best.profile


def _candidates(search: Search, base: Decision, best: Decision) -> list[Ints]:
    """Profiles with one more price changed, those that look best with the units of `best`."""
    looked: list[tuple[float, int, int]] = []
    for i in np.flatnonzero(search.rest.free & (best.profile == search.rest.now)).tolist():
        if not (search.rest.left[i].any() or base.sent[i].any()):
            continue
        for a in range(len(search.rest.prices[i])):
            if a != best.profile[i]:
                looked.append((-search.worth(replace(best, profile=_with(best.profile, i, a))), i, a))
    return [_with(best.profile, i, a) for _, i, a in sorted(looked)[:LOOKED_AT]]


def _with(profile: Ints, i: int, action: int) -> Ints:
    moved = profile.copy()
    moved[i] = action
    return moved


def _weakest_price(search: Search, base: Decision, decision: Decision) -> int | None:
    """The SKU whose new price adds least, if that is less than it must; None where all earn their trouble."""
    value, gains = search.checked(decision), {}
    for i in np.flatnonzero(decision.profile != base.profile).tolist():
        old = _with(decision.profile, i, int(base.profile[i]))
        gains[i] = value - search.checked(replace(decision, profile=old))
    weakest = min(gains, key=lambda i: (gains[i], i), default=None)
    return weakest if weakest is not None and gains[weakest] < search.least else None


def _weak_moves(search: Search, base: Decision, decision: Decision) -> Bools:
    """SKUs whose moves add less than they must, shape (skus,): at given prices a SKU's moves touch no other's sales."""
    stay = replace(decision, out=base.out, into=base.into, sent=base.sent)
    after, before = (earnings(search.rest, d, search.checked_on).sum(axis=1).mean(axis=1) for d in (decision, stay))
    moved = (decision.into != base.into) | (decision.out != base.out) | (decision.sent != base.sent)
    return np.asarray(moved.any(axis=1) & (after - before < search.least))
