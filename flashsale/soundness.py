"""What no plan can rest on, whoever finds it: money in several currencies, offers without a cost, sales without orders.

A replay looks at the records of its source before the work, a plan at the published marts; both refuse in these words.
"""

from __future__ import annotations

from collections.abc import Iterable

from flashsale import warehouse
from flashsale.errors import InputError
from flashsale.request import SaleRequest

_ENDED = "(SELECT max(ordered_at) FROM marts.fct_orders)"


def check_history(request: SaleRequest) -> None:
    """Raise InputError for the first thing in the published marts that no plan for the request could rest on.

    A campaign counts as ended once an order of any kind is later than its end.
    """
    prices = warehouse.read("SELECT currency, min(sku_id) AS sku_id FROM marts.dim_products GROUP BY 1 ORDER BY 1")
    refuse_currencies([(row["currency"], row["sku_id"]) for row in prices.to_pylist()], request)
    unknown = warehouse.read("SELECT min(unknown_sku) AS sku_id FROM marts.dim_campaigns")
    refuse_unknown_offer(unknown["sku_id"][0].as_py())
    silent = warehouse.read(
        f"""
        SELECT campaign_id FROM marts.fct_sale_performance
        GROUP BY campaign_id
        HAVING max(ends_at) <= {_ENDED} AND sum(allocated_units) > 0 AND sum(units_sold) = 0
        ORDER BY min(starts_at), campaign_id LIMIT 1
        """
    ).to_pylist()
    refuse_silent_campaign(silent[0]["campaign_id"] if silent else None)


def refuse_currencies(found: Iterable[tuple[str, str]], request: SaleRequest) -> None:
    """InputError for the first (currency, one of its SKUs) that is not the request's."""
    other = next(((currency, sku) for currency, sku in found if currency != request.currency), None)
    if other:
        raise InputError(
            "stream catalog",
            f"{other[1]} is priced in {other[0]}, the request in {request.currency}: money of two currencies is no sum",
            "deliver all prices and the request in one currency",
            field="currency",
            row=other[1],
        )


def refuse_unknown_offer(sku: str | None) -> None:
    """InputError for a SKU that was offered and stands in no catalog record; nothing for None."""
    if sku is not None:
        raise InputError(
            "stream campaigns",
            f"{sku} was offered and stands in no catalog record: its cost is unknown",
            "deliver its catalog record with unit_cost",
            field="unit_cost",
            row=sku,
        )


def refuse_silent_campaign(campaign: str | None) -> None:
    """InputError for a campaign that has ended and that no order names; nothing for None."""
    if campaign is not None:
        raise InputError(
            "stream orders",
            f"campaign {campaign} has ended and no order names it",
            "deliver its orders with campaign_id, or leave the campaign out",
            field="campaign_id",
            row=campaign,
        )


def refuse_all_sold_out(cells: int, censored: int) -> None:
    """InputError where every past offer sold out: nothing then says how much more was wanted."""
    if cells and censored == cells:
        raise InputError(
            "stream inventory",
            f"all {cells} past offers sold out, so that no sale shows demand to its end",
            "deliver sales that kept stock, or check that on_hand is not 0 throughout",
            field="on_hand",
            row="every campaign",
        )
