"""Which units of a running sale to move between regions, at given prices: one by one, the best first.

A unit is worth (price - salvage value) times the chance that it is sold, which falls with every unit that a cell has
and rises with every unit taken away: the values are concave, so that within one SKU the best single moves add up to
the best plan (Fox 1966). Regions' space and the promotion budget couple SKUs: a move that does not fit is passed over.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from ml.allocation.rest import FLOATS, Decision, Rest, Scenarios, promotion_of, promotion_room, sales, service_floor

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

LEAST_PER_UNIT = 0.05  # of the price: what moving a unit must bring on top of its cost
SUPPLY = -1  # the source that is no region


def best_moves(rest: Rest, base: Decision, scenarios: Scenarios, movable: Bools, *, supply: bool = False) -> Decision:
    """The decision with further units moved, at its prices.

    Args:
        rest: what is left of the sale.
        base: a decision whose moves stand.
        scenarios: that chances are taken over.
        movable: SKUs whose units may be moved, shape (skus,).
        supply: also send units that the plan kept back, as far as the stock budget goes.
    """
    books = _Books.of(rest, base, scenarios)
    skus = [_Sku.of(rest, base, books, i, supply) for i in np.flatnonzero(movable).tolist()]
    queue: list[tuple[float, int]] = []
    for at, sku in enumerate(skus):
        _push(queue, at, sku.best(books))
    while queue:
        worth, at = heapq.heappop(queue)
        found = skus[at].best(books)  # space or money may have gone since it was queued
        if found is None:
            continue
        if found.worth < -worth - FLOATS:
            _push(queue, at, found)
            continue
        skus[at].take(found, books)
        _push(queue, at, skus[at].best(books))
    out, into, sent = base.out.copy(), base.into.copy(), base.sent.copy()
    for sku in skus:
        out[sku.index], into[sku.index], sent[sku.index] = sku.out, sku.into, sku.sent
    return replace(base, out=out, into=into, sent=sent)


@dataclass(frozen=True)
class _Move:
    worth: float
    source: int
    target: int
    more_sales: float


def _push(queue: list[tuple[float, int]], at: int, move: _Move | None) -> None:
    if move is not None:
        heapq.heappush(queue, (-move.worth, at))


@dataclass
class _Books:
    """What all SKUs share: space by region, money for discounts and for stock; and each cell's chances."""

    space: Floats
    promotion: float
    stock: float
    soon: Ints
    later: Ints
    sold: Ints
    floor: Floats

    @staticmethod
    def of(rest: Rest, base: Decision, scenarios: Scenarios) -> _Books:
        soon, later = scenarios.at(rest.factors(base.profile))
        sold = sales(rest, base, soon, later)
        units = base.units(rest).sum(axis=0)
        spent = promotion_of(rest, base, sold.mean(axis=2))
        room = np.maximum(rest.space, rest.left.sum(axis=0)) - units
        stock = rest.stock - float((rest.unit_cost * base.sent.sum(axis=1)).sum())
        floor = service_floor(rest, scenarios, rest.factors(base.profile))
        return _Books(room, promotion_room(rest, scenarios) - spent, stock, soon, later, sold, floor)


@dataclass
class _Sku:
    """One SKU's units on the move: chances of the next unit taken from each region, and of the next one sent there."""

    index: int
    margin: float
    least: float
    discount: float
    unit_cost: float
    salvage: float
    shipping: list[float]
    losing: list[Floats]
    winning: list[Floats]
    spare: list[int]
    unsent: int
    out: list[int]
    into: list[int]
    sent: list[int]
    moved: list[int] = field(default_factory=list)

    @staticmethod
    def of(rest: Rest, base: Decision, books: _Books, i: int, supply: bool) -> _Sku:
        price = float(rest.price(base.profile)[i])
        losing, winning, spare = [], [], []
        for r in range(rest.left.shape[1]):
            soon, later = books.soon[i, r], books.later[i, r]
            have, extra = int(rest.left[i, r] - base.out[i, r]), int(base.into[i, r] + base.sent[i, r])
            unserved = np.maximum(later - np.maximum(have - soon, 0), 0)
            losing.append(_chances(soon + later, have)[::-1])
            winning.append(_chances(unserved, int(unserved.max(initial=0)))[extra:])
            spare.append(_spare(losing[-1], books.sold[i, r].mean() - books.floor[i, r]) if not extra else 0)
        unsent = int(rest.unsent[i] - base.sent[i].sum()) if supply else 0
        return _Sku(
            int(i), price - float(rest.salvage[i]), LEAST_PER_UNIT * price, float(rest.discount(base.profile)[i]),
            float(rest.unit_cost[i]), float(rest.salvage[i]), rest.shipping.tolist(), losing, winning, spare, unsent,
            base.out[i].tolist(), base.into[i].tolist(), base.sent[i].tolist(), [0] * rest.left.shape[1],
        )  # fmt: skip

    def best(self, books: _Books) -> _Move | None:
        """The move that brings most and fits; None where none brings enough."""
        sources = [r for r in range(len(self.spare)) if self.spare[r] > 0 and self.moved[r] <= 0]
        found: _Move | None = None
        for target in range(len(self.winning)):
            if self.moved[target] < 0 or self.out[target] or self.moved[target] >= len(self.winning[target]):
                continue
            if books.space[target] < 1.0:
                continue
            for source in [*sources, *([SUPPLY] if self.unsent > 0 and books.stock >= self.unit_cost else [])]:
                if source == target:
                    continue
                move = self._move(source, target)
                fits = self.discount * move.more_sales <= books.promotion + FLOATS
                if fits and move.worth > (self.least if found is None else found.worth):
                    found = move
        return found

    def _move(self, source: int, target: int) -> _Move:
        wins = float(self.winning[target][self.moved[target]])
        if source == SUPPLY:
            cost = self.shipping[target] + self.unit_cost - self.salvage
            return _Move(self.margin * wins - cost, source, target, wins)
        more = wins - float(self.losing[source][-self.moved[source]])
        return _Move(self.margin * more - self.shipping[target], source, target, more)

    def take(self, move: _Move, books: _Books) -> None:
        """Move the unit and book it."""
        books.space[move.target] -= 1.0
        books.promotion -= self.discount * move.more_sales
        self.moved[move.target] += 1
        if move.source == SUPPLY:
            self.sent[move.target] += 1
            self.unsent -= 1
            books.stock -= self.unit_cost
            return
        self.into[move.target] += 1
        books.space[move.source] += 1.0
        self.out[move.source] += 1
        self.moved[move.source] -= 1
        self.spare[move.source] -= 1


def _chances(units: Ints, most: int) -> Floats:
    """P(units >= k) for k = 1 … most."""
    ordered = np.sort(units)
    return np.asarray(1.0 - np.searchsorted(ordered, np.arange(1, most + 1), side="left") / len(ordered))


def _spare(losing: Floats, above: float) -> int:
    """Units that may leave a cell until its expected sales have fallen by what they are above its minimum."""
    return int((np.cumsum(losing) <= above + FLOATS).sum())
