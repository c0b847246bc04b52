"""A recommendation in words: why these units, this price, and what holds them back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """What one row's sentence is made of; money in the request's currency."""

    units: int
    price: float
    list_price: float
    p10: float
    p50: float
    p90: float
    expected_sales: float
    next_unit: float
    fractile: float
    bound_by: list[str]
    text_share: float | None
    other_price: float | None
    currency: str
    by_mean: bool = False


_BY_MEAN = "Planned for mean demand and the errors of past forecasts, whose intervals did not hold what they promise."


def explain(facts: Facts) -> str:
    """One or two plain sentences about a row of the plan."""
    if facts.units == 0:
        why = f"held back by {_names(facts.bound_by)}" if facts.bound_by else "no unit earns its cost at this price"
        none = f"Send none: {why}; demand is put at {facts.p50:.0f} ({facts.p10:.0f} to {facts.p90:.0f})."
        return f"{none} {_BY_MEAN}" if facts.by_mean else none
    off = 1.0 - facts.price / facts.list_price
    words = [
        f"Send {facts.units} at {facts.price:.2f} {facts.currency} ({off:.0%} below list): demand is put at "
        f"{facts.p50:.0f} ({facts.p10:.0f} to {facts.p90:.0f}), {facts.expected_sales:.0f} sales expected."
    ]
    if facts.bound_by:
        words.append(
            f"Held back by {_names(facts.bound_by)}: one more unit would add {facts.next_unit:.2f} {facts.currency}."
        )
    else:
        words.append(f"More would not pay: the chance of selling one more falls below {facts.fractile:.0%}.")
    if facts.by_mean:
        words.append(_BY_MEAN)
    if facts.text_share is not None and abs(facts.text_share) >= 0.05:
        change = "raises" if facts.text_share > 0 else "lowers"
        words.append(f"What people write {change} the forecast by {abs(facts.text_share):.0%}.")
    if facts.other_price is not None:
        words.append(f"The lot chose this price over {facts.other_price:.2f}, to learn what prices do.")
    return " ".join(words)


def _names(limits: list[str]) -> str:
    return " and ".join(_name(limit) for limit in limits)


def _name(limit: str) -> str:
    kind, _, place = limit.partition(":")
    named = {
        "supply": "the SKU's supply",
        "stock_budget": "the stock budget",
        "promotion_budget": "the promotion budget",
        "min_service": "minimum service elsewhere",
    }
    return f"space in {place}" if kind == "space" else named.get(kind, kind)
