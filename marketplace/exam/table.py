"""The sale that is examined, as arrays: what may be offered, the request's limits, and true demand."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from marketplace.choice import Floats, Ints
from marketplace.delivery import kept
from marketplace.future import NextSale, sale_means, sale_prices
from marketplace.world import PROMO_TYPES, World

Action = tuple[int, int, int]  # price in cents, index into PROMO_TYPES, start in microseconds


@dataclass(frozen=True)
class Sale:
    """One request with its world. Money in cents; arrays by SKU (s) and region (r).

    `holding[s, r]` is what a unit sent costs above its salvage value: cost - salvage + shipping.
    """

    world: World
    asked: NextSale
    actions: list[list[Action]]
    salvage: Floats
    cost: Floats
    listed: Floats
    shipping: Floats
    supply: Ints
    space: Ints
    service: Floats
    stock_budget: float
    promotion_budget: float
    _known: dict[tuple[Action, ...], Floats] = field(default_factory=dict, repr=False)

    @property
    def holding(self) -> Floats:
        """Cost of a unit that stays, shape (s, r), cents."""
        return np.asarray((self.cost - self.salvage)[:, None] + self.shipping[None, :], dtype=np.float64)

    def margins(self, chosen: list[Action]) -> Floats:
        """What a unit sold brings above its salvage value, shape (s, r), cents; less where slow delivery undoes sales.

        A unit that is cancelled or sent back because of it is worth its salvage value.
        """
        stays = kept(self.world.delay)
        return np.asarray((self.paid(chosen) - self.salvage[:, None]) * stays[None, :], dtype=np.float64)

    def paid(self, chosen: list[Action]) -> Floats:
        """Mean price that a unit is sold at, shape (s, r), cents: see `sale_prices`."""
        price, promo, slot = (np.array(column, dtype=np.int64) for column in zip(*chosen, strict=True))
        return sale_prices(self.world, self.asked, price, promo, slot)

    def discounts(self, chosen: list[Action]) -> Floats:
        """What the promotion budget pays for a unit of each SKU, cents, shape (s,)."""
        return np.asarray(np.maximum(self.listed - prices_of(chosen), 0.0), dtype=np.float64)

    def means(self, chosen: list[Action]) -> Floats:
        """True mean demand of all SKUs offered as chosen, shape (s, r), units."""
        key = tuple(chosen)
        if key not in self._known:
            price, promo, slot = (np.array(column, dtype=np.int64) for column in zip(*chosen, strict=True))
            self._known[key] = sale_means(self.world, self.asked, price, promo, slot)
        return self._known[key]

    def largest_means(self) -> Floats:
        """An upper limit of mean demand by cell: each SKU's best action with every rival at its dearest, times two."""
        dearest = [max(own) for own in self.actions]
        largest = np.zeros((len(self.actions), len(self.space)))
        for i, own in enumerate(self.actions):
            for action in own:
                mean = self.means([*dearest[:i], action, *dearest[i + 1 :]])[i]
                largest[i] = np.maximum(largest[i], mean)
        return 2.0 * largest

    def managers(self) -> list[Action]:
        """What the shop's manager would offer: the middle of each ladder, its first promotion, the first slot."""
        chosen = []
        for own in self.actions:
            prices = sorted({a[0] for a in own})
            middle = [a for a in own if a[0] == prices[len(prices) // 2]]
            chosen.append(min(middle, key=lambda a: (a[2], a[1])))
        return chosen


def make_sale(world: World, asked: NextSale, request: dict[str, Any]) -> Sale:
    """The request as arrays."""
    skus, regions = request["skus"], request["regions"]
    return Sale(
        world=world,
        asked=asked,
        actions=[
            list(product(prices, promos, asked.slots_us))
            for prices, promos in zip(asked.prices, asked.promos, strict=True)
        ],
        salvage=np.array([round(s["salvage_value"] * 100) for s in skus], dtype=np.float64),
        cost=np.array([round(s["unit_cost"] * 100) for s in skus], dtype=np.float64),
        listed=world.list_cents[asked.sku].astype(np.float64),
        shipping=world.shipping_cents.astype(np.float64),
        supply=np.array([s["supply_units"] for s in skus], dtype=np.int64),
        space=np.array([r["capacity_units"] for r in regions], dtype=np.int64),
        service=np.array([r["min_service"] for r in regions], dtype=np.float64),
        stock_budget=request["stock_budget"] * 100.0,
        promotion_budget=request["promotion_budget"] * 100.0,
    )


def prices_of(chosen: list[Action]) -> Floats:
    """Offer price of each SKU, cents, shape (s,)."""
    return np.array([action[0] for action in chosen], dtype=np.float64)


def promo_index(name: str) -> int:
    """Index of a promotion type."""
    return PROMO_TYPES.index(name)
