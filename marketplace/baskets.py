"""A full reduction as it is meant: the offers' reduced prices hold once the basket's list prices reach a threshold.

An offer that reaches it alone is a plain discount. Of the customers of a cheaper one a share adds one unit of another
full-reduction offer of the sale to get there; the others see the list price, and fewer of them buy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from marketplace.choice import Floats, Ints

THRESHOLD_CENTS = 30_000
TOP_UP = 0.5  # of customers who cannot reach the threshold alone and find an offer to reach it with
FULL_REDUCTION = 1  # its place among the promotion types
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Rule:
    """Who gets the reduction.

    `full` offers under it (offers,); `alone` those that reach the threshold by themselves; `partners[i, j]` whether j
    takes a basket with i over the threshold; `reach` share of an offer's customers who would get there.
    """

    full: Bools
    alone: Bools
    partners: Bools
    reach: Floats

    def seen_ratio(self, ratio: Floats, elasticity: Floats) -> Floats:
        """The plain price ratio that would bring as many customers as the rule does, shape (offers,)."""
        mixed = self.reach * ratio**-elasticity + 1.0 - self.reach
        return np.asarray(np.where(self.full, mixed ** (-1.0 / elasticity), ratio), dtype=np.float64)

    def passing(self, ratio: Floats, elasticity: Floats) -> Floats:
        """Share of an offer's buyers who get the reduction, shape (offers,); 1 where no rule holds."""
        pulled = self.reach * ratio**-elasticity
        return np.asarray(np.where(self.full, pulled / (pulled + 1.0 - self.reach), 1.0), dtype=np.float64)

    def added(self, lines: Floats) -> Floats:
        """Units that baskets of other offers add, shape (offers,).

        Args:
            lines: buyers of each offer who get the reduction, shape (offers,); each picks any partner as likely.
        """
        topping = np.where(self.full & ~self.alone, lines, 0.0)
        choices = np.maximum(self.partners.sum(axis=1), 1)
        return np.asarray((topping / choices) @ self.partners, dtype=np.float64)


def basket_rule(region: Ints, promo: Ints, list_cents: Ints) -> Rule:
    """The rule for the offers of one sale, shape (offers,) each."""
    full = promo == FULL_REDUCTION
    alone = list_cents >= THRESHOLD_CENTS
    together = list_cents[:, None] + list_cents[None, :] >= THRESHOLD_CENTS
    partners = full[:, None] & full[None, :] & (region[:, None] == region[None, :]) & together & ~alone[:, None]
    partners &= ~np.eye(len(full), dtype=bool)
    reach = np.where(alone, 1.0, np.where(partners.any(axis=1), TOP_UP, 0.0))
    return Rule(full, alone, partners, np.where(full, reach, 1.0))


def with_top_ups(
    rng: np.random.Generator, rule: Rule, passing: Floats, lines: dict[str, np.ndarray], first: int
) -> dict[str, np.ndarray]:
    """A sale's order lines with who gets the reduction and the lines that were added for it, by cell and time.

    Args:
        rule, passing: of the sale's offers (`Rule.passing`).
        lines: `cell`, `time_us`, `wanted`, `basket`, `reduced`, without what was added.
        first: number of the first basket.
    """
    cell = lines["cell"]
    reduced = rng.random(len(cell)) < passing[cell]
    topping = np.flatnonzero(reduced & rule.full[cell] & ~rule.alone[cell])
    basket = np.full(len(cell), -1, dtype=np.int64)
    basket[topping] = first + np.arange(len(topping))
    draw = rng.random(len(topping))
    options = [np.flatnonzero(rule.partners[i]) for i in range(len(rule.full))]
    other = np.array(
        [options[c][int(u * len(options[c]))] for c, u in zip(cell[topping], draw, strict=True)], dtype=int
    )
    parts = {
        "cell": (cell, other), "time_us": (lines["time_us"], lines["time_us"][topping]),
        "wanted": (lines["wanted"], np.ones(len(topping), dtype=np.int64)), "basket": (basket, basket[topping]),
        "reduced": (reduced.astype(np.int64), np.ones(len(topping), dtype=np.int64)),
    }  # fmt: skip
    joined = {name: np.concatenate(pair).astype(np.int64) for name, pair in parts.items()}
    order = np.lexsort((joined["time_us"], joined["cell"]))
    return {name: values[order] for name, values in joined.items()}


def settled(lines: dict[str, np.ndarray], served: Ints) -> Ints:
    """Whether each line is reduced in the end, 1 or 0: a basket that lost a line to a stock-out pays list prices."""
    of_basket = np.flatnonzero(lines["basket"] >= 0)
    _, which = np.unique(lines["basket"][of_basket], return_inverse=True)
    whole = np.bincount(which, served[of_basket] > 0) == 2
    reduced = lines["reduced"].copy()
    reduced[of_basket] = whole[which] if len(of_basket) else 0
    return np.asarray(reduced, dtype=np.int64)
