"""The rest of a running sale: what may still be decided, what it would earn, and what holds it.

Units sent are paid for; what is left to earn is (price - salvage value) a unit sold, less what moving units costs. A
unit moved to another region costs that region's shipping, as in the plan, and can be sold once it is there: until
then customers of that region meet the units it has. Prices change at once; the promotion and the start stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

FLOATS = 1e-6  # of money and units: sums of floats


@dataclass(frozen=True)
class Scenarios:
    """Demand from now on at the prices of now: `soon` until moved units arrive, `later` after it; units.

    `lot` are uniform draws that round demand at other prices without bias. Shapes (skus, regions, scenarios), that of
    `lot` with an axis of two before them.
    """

    soon: Ints
    later: Ints
    lot: Floats

    def only(self, pick: slice) -> Scenarios:
        """Some of the scenarios."""
        return Scenarios(self.soon[:, :, pick], self.later[:, :, pick], self.lot[:, :, :, pick])

    def at(self, factor: Floats) -> tuple[Ints, Ints]:
        """The same with each cell's demand multiplied, factor of shape (skus, regions)."""
        scale = factor[:, :, None]
        soon, later = (np.floor(units * scale + lot + FLOATS).astype(np.int64)
                       for units, lot in zip((self.soon, self.later), self.lot, strict=True))  # fmt: skip
        return soon, later


@dataclass(frozen=True)
class Rest:
    """What a re-plan may choose from and must keep to. Money in the request's currency; s SKUs, r regions.

    Args:
        prices: lawful prices of each SKU under the plan's promotion and start.
        now: index of each SKU's price of now, shape (s,).
        free: whether a SKU's price may be changed, shape (s,).
        factors: demand at a profile of prices over that at the prices of now, (s,) -> (s, r).
        sold, left: units so far and units on hand, shape (s, r).
        wanted: expected demand until now, met or lost, shape (s, r).
        space: most units on hand by region, shape (r,); `service`: least share of expected demand served.
        promotion: what discounts of units to come may cost, infinite without a budget.
        unsent: units of each SKU's supply that the plan kept back, shape (s,); `stock`: money left for them.
    """

    prices: list[Floats]
    now: Ints
    free: Bools
    factors: Callable[[Ints], Floats]
    sold: Ints
    left: Ints
    wanted: Floats
    salvage: Floats
    unit_cost: Floats
    list_price: Floats
    shipping: Floats
    space: Floats
    service: Floats
    promotion: float
    unsent: Ints
    stock: float

    def price(self, profile: Ints) -> Floats:
        """Each SKU's price, shape (s,)."""
        return np.array([own[a] for own, a in zip(self.prices, profile, strict=True)])

    def discount(self, profile: Ints) -> Floats:
        """What the promotion budget pays for a unit sold, shape (s,)."""
        return np.asarray(np.maximum(self.list_price - self.price(profile), 0.0))


@dataclass(frozen=True)
class Decision:
    """A re-plan: each SKU's price by index; by cell units taken out, brought in, sent of what the plan kept back."""

    profile: Ints
    out: Ints
    into: Ints
    sent: Ints

    @staticmethod
    def nothing(rest: Rest) -> Decision:
        """Leave everything as it is."""
        zero = np.zeros_like(rest.left)
        return Decision(rest.now.copy(), zero, zero.copy(), zero.copy())

    def units(self, rest: Rest) -> Ints:
        """Units on hand once everything has arrived, shape (s, r)."""
        return np.asarray(rest.left - self.out + self.into + self.sent)


def sales(rest: Rest, decision: Decision, soon: Ints, later: Ints) -> Ints:
    """Units sold from now on, shape (s, r, scenarios)."""
    here = (rest.left - decision.out)[:, :, None]
    first = np.minimum(here, soon)
    return np.asarray(first + np.minimum(here - first + (decision.into + decision.sent)[:, :, None], later))


def earnings(rest: Rest, decision: Decision, scenarios: Scenarios) -> Floats:
    """What is still to earn above salvage, by cell and scenario, shape (s, r, scenarios)."""
    soon, later = scenarios.at(rest.factors(decision.profile))
    margin = (rest.price(decision.profile) - rest.salvage)[:, None, None]
    sending = rest.shipping + (rest.unit_cost - rest.salvage)[:, None]
    cost = rest.shipping * decision.into + sending * decision.sent
    return np.asarray(margin * sales(rest, decision, soon, later) - cost[:, :, None])


def expected_sales(rest: Rest, decision: Decision, scenarios: Scenarios) -> Floats:
    """Mean units sold from now on, shape (s, r)."""
    return np.asarray(sales(rest, decision, *scenarios.at(rest.factors(decision.profile))).mean(axis=2))


def service_floor(rest: Rest, scenarios: Scenarios, factor: Floats) -> Floats:
    """Units that minimum service asks for from now on, shape (s, r), once demand is multiplied by `factor`.

    Where the plan's units can no longer serve that much, a re-plan must serve at least what they would.
    """
    soon, later = scenarios.at(factor)
    asked = rest.service * (rest.wanted + (soon + later).mean(axis=2)) - rest.sold
    return np.asarray(np.minimum(asked, expected_sales(rest, Decision.nothing(rest), scenarios)))


def promotion_room(rest: Rest, scenarios: Scenarios) -> float:
    """What discounts to come may cost: the budget's rest, or what they cost if nothing is changed, if that is more.

    A sale that runs better than planned overspends by itself; a re-plan must not add to that.
    """
    nothing = Decision.nothing(rest)
    return max(rest.promotion, promotion_of(rest, nothing, expected_sales(rest, nothing, scenarios)))


def promotion_of(rest: Rest, decision: Decision, sold: Floats) -> float:
    """Expected cost of discounts to come."""
    return float((rest.discount(decision.profile)[:, None] * sold).sum())
