"""The allocation problem: SKUs with lawful actions, regions with space, demand scenarios, budgets.

Profit of a plan in one scenario: sum of price x sales - unit cost x allocated units + salvage x units left
- shipping x units sent. Sales are min(units, demand) cell by cell, so expected profit is concave in each cell's
units and the survival function P(D >= q + 1) is all that a solver needs of the scenarios.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SLACK = 1e-9  # share of a limit that the rounding of sums of floats may take; less than a cent of any budget


def with_slack(limits: Floats) -> Floats:
    """Limits as they are held: what uses one up exactly is not refused for how floats add up."""
    return limits * (1 + SLACK) + 1e-9


@dataclass(frozen=True)
class Action:
    """A lawful way of offering a SKU."""

    price: float
    promo_type: str
    starts_at: datetime


@dataclass(frozen=True)
class Sku:
    """One SKU: its lawful actions and its demand.

    Args:
        demand: scenarios of units, shape (actions, regions, scenarios), whole numbers.
    """

    sku_id: str
    unit_cost: float
    salvage_value: float
    list_price: float
    supply_units: int
    actions: list[Action]
    demand: Ints


@dataclass(frozen=True)
class Region:
    """One region: space for units, cost of sending one there, least share of expected demand served per SKU."""

    region_id: str
    capacity_units: int
    shipping_cost: float
    min_service: float = 0.0


@dataclass(frozen=True)
class Problem:
    """What a plan may choose from and must keep to. A budget of None is no limit."""

    skus: list[Sku]
    regions: list[Region]
    stock_budget: float | None = None
    promotion_budget: float | None = None
    tables: list[Tables] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tables", [make_tables(sku, self.regions) for sku in self.skus])

    @property
    def limits(self) -> Floats:
        """Right-hand sides of the coupling rows: stock budget, promotion budget, space by region (inf: none)."""
        budgets = [self.stock_budget, self.promotion_budget]
        space = [float(region.capacity_units) for region in self.regions]
        return np.array([np.inf if b is None else float(b) for b in budgets] + space)

    @property
    def limit_names(self) -> list[str]:
        """Names of the coupling rows, in the order of `limits`."""
        return ["stock_budget", "promotion_budget", *(f"space:{region.region_id}" for region in self.regions)]


@dataclass(frozen=True)
class Tables:
    """What the solver needs of one SKU.

    `survival[a, r, q]` is P(D >= q + 1), `sales[a, r, q]` is E min(q, D); `least[a, r]` the units that minimum
    service asks for; `margin[a]` = price - salvage; `holding[r]` = unit cost - salvage + shipping;
    `discount[a]` = list price - offer price.
    """

    survival: Floats
    sales: Floats
    least: Ints
    margin: Floats
    holding: Floats
    discount: Floats


def make_tables(sku: Sku, regions: list[Region]) -> Tables:
    """Survival and expected-sales tables up to the SKU's supply or the largest demand, whichever is less.

    Where minimum service alone asks for more than the supply they reach that far: what cannot be had has to be seen.
    """
    ordered = np.sort(sku.demand, axis=2)
    needed = [
        _needed(ordered[a, r], region.min_service)
        for a in range(len(sku.actions))
        for r, region in enumerate(regions)
        if region.min_service > 0
    ]
    most = int(min(max([sku.supply_units, *needed]), max(int(sku.demand.max(initial=0)), 1)))
    steps = np.arange(1, most + 1)
    scenarios = sku.demand.shape[2]
    survival = np.empty((len(sku.actions), len(regions), most))
    for a in range(len(sku.actions)):
        for r in range(len(regions)):
            survival[a, r] = 1.0 - np.searchsorted(ordered[a, r], steps, side="left") / scenarios
    sales = np.concatenate([np.zeros((*survival.shape[:2], 1)), np.cumsum(survival, axis=2)], axis=2)
    least = np.zeros(survival.shape[:2], dtype=np.int64)
    for r, region in enumerate(regions):
        if region.min_service > 0:
            wanted = region.min_service * sku.demand[:, r, :].mean(axis=1)
            for a in range(len(sku.actions)):
                least[a, r] = min(int(np.searchsorted(sales[a, r], wanted[a] - 1e-9)), most)
    return Tables(
        survival=survival,
        sales=sales,
        least=least,
        margin=np.array([action.price - sku.salvage_value for action in sku.actions]),
        holding=np.array([sku.unit_cost - sku.salvage_value + region.shipping_cost for region in regions]),
        discount=np.array([sku.list_price - action.price for action in sku.actions]),
    )


def _needed(ordered: Ints, service: float) -> int:
    """Units whose expected sales are at least this share of expected demand; `ordered` scenarios, shape (n,).

    Expected sales rise along a line between two scenarios, by the share of scenarios above.
    """
    count = len(ordered)
    before = np.concatenate([[0], ordered[:-1]])
    above = (count - np.arange(count)) / count
    reached = np.cumsum((ordered - before) * above)
    wanted = service * float(ordered.mean()) - 1e-9
    k = int(np.searchsorted(reached, wanted))
    if k == count:
        return int(ordered[-1])
    return int(np.ceil(ordered[k] - (reached[k] - wanted) / above[k]))


@dataclass(frozen=True)
class Choice:
    """One SKU's part of a plan: index of its action and units by region, shape (regions,)."""

    action: int
    units: Ints


def value_of(tables: Tables, choice: Choice) -> float:
    """Expected profit of one SKU's part, in money."""
    region = np.arange(len(choice.units))
    sales = tables.sales[choice.action, region, choice.units]
    return float(tables.margin[choice.action] * sales.sum() - (tables.holding * choice.units).sum())


def relative_gap(value: float, bound: float) -> float:
    """Relative distance of a plan's value to an upper bound, at least 0."""
    return max(bound - value, 0.0) / max(abs(bound), 1.0)


def use_of(sku: Sku, tables: Tables, choice: Choice) -> Floats:
    """What one SKU's part takes of the coupling rows, in the order of `Problem.limits`."""
    region = np.arange(len(choice.units))
    sales = float(tables.sales[choice.action, region, choice.units].sum())
    total = float(choice.units.sum())
    discount = max(float(tables.discount[choice.action]), 0.0)
    return np.array([sku.unit_cost * total, discount * sales, *choice.units.astype(np.float64)])


def realised_profit(problem: Problem, choices: list[Choice], demand: list[Ints]) -> Floats:
    """Profit of a plan in every scenario of other demand, shape (scenarios,).

    Args:
        demand: by SKU, shape (actions, regions, scenarios), actions as in the problem.
    """
    total = np.zeros(demand[0].shape[2])
    for tables, choice, wanted in zip(problem.tables, choices, demand, strict=True):
        sales = np.minimum(choice.units[:, None], wanted[choice.action])
        total += tables.margin[choice.action] * sales.sum(axis=0) - float((tables.holding * choice.units).sum())
    return total
