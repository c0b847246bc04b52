"""Which actions a request may take: its ladder of prices and promotions, cut by law, or a clear refusal.

A discount counts from the lowest price of the look-back days (China, SAMR order 32: 7 days; EU: 30), so a price
above that lowest one is no lawful offer and leaves the ladder. A SKU that is left with none is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flashsale.errors import InputError
from flashsale.request import SaleRequest
from ml.allocation.problem import Action


@dataclass(frozen=True)
class Ladder:
    """Lawful actions by SKU, and the prices that were left out as (SKU, price, lowest price)."""

    actions: dict[str, list[Action]]
    dropped: list[tuple[str, float, float]]


def lawful_ladder(request: SaleRequest, lowest: Mapping[str, float]) -> Ladder:
    """Lawful actions of every SKU of a request, in order of price, promotion and start.

    Args:
        request: the sale request.
        lowest: lowest price of each SKU over the look-back days; a SKU without one is not bound.

    Raises:
        InputError: naming the SKU, where every price is unlawful.
    """
    actions: dict[str, list[Action]] = {}
    dropped = []
    for sku in request.skus:
        limit = lowest.get(sku.sku_id, float("inf")) if request.price_lookback_days else float("inf")
        prices = sorted({float(p) for p in sku.prices})
        lawful = [p for p in prices if p <= limit + 0.005]
        dropped += [(sku.sku_id, p, limit) for p in prices if p not in lawful]
        if not lawful:
            raise InputError(
                f"sale request {request.request_id}",
                f"every price lies above {limit:.2f}, the lowest of the last {request.price_lookback_days} days",
                f"offer {limit:.2f} or less, or leave the SKU out",
                field="prices",
                row=sku.sku_id,
            )
        actions[sku.sku_id] = [
            Action(price, promo, slot) for price in lawful for promo in sku.promo_types for slot in request.start_slots
        ]
    return Ladder(actions, dropped)
