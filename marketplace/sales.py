"""Past sales of the simulated shop: offers, stock sent by a manager's rule, arrivals, stock-outs.

A *cell* is one campaign x SKU x region offer. Demand arrives line by line over the hours of the sale and
takes what stock is left; what came after the last unit is lost, and known only to `truth/`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from marketplace.baskets import settled, with_top_ups
from marketplace.choice import Floats, Ints
from marketplace.costs import passed_on
from marketplace.world import (
    DAY_US,
    HOUR_US,
    PROMO_TYPES,
    SALE_MEAN_QUANTITY,
    SHOCK_SD,
    World,
    generator,
)

ANNOUNCED_BEFORE_US = 3 * DAY_US
PRICE_LADDER = np.array([0.70, 0.75, 0.80, 0.85, 0.90, 0.95])
START_HOURS = np.array([0, 12, 4])
PER_USER_LIMIT = 2
FIRST_SALE_DAY = 14
MOST_BASKETS = 10**7  # of one sale: numbers of baskets do not meet
LOT_CHANCE = 0.5  # of either price, where a lot draws


@dataclass(frozen=True)
class Schedule:
    """When the sales run. Arrays have one entry a sale."""

    campaign_ids: list[str]
    starts_us: Ints
    hours: Ints

    @property
    def ends_us(self) -> Ints:
        """Exclusive ends, microseconds."""
        return np.asarray(self.starts_us + self.hours * HOUR_US, dtype=np.int64)


@dataclass(frozen=True)
class Cells:
    """Offers of all sales, ordered by campaign, SKU, region; arrays have one entry a cell."""

    campaign: Ints
    sku: Ints
    region: Ints
    promo: Ints
    price_cents: Ints
    other_cents: Ints  # price that a lot did not draw, 0 where there was no lot
    allocated: Ints
    starts_us: Ints
    hours: Ints
    shock: Floats
    expected: Floats  # true mean demand, units
    keen: Floats  # share of it by customers who mind the price; 0 where customers have no classes
    demanded: Ints  # units that were wanted
    served: Ints  # units that were handed over
    sold_out_us: Ints  # moment the last unit went, -1 where stock was left

    @property
    def ends_us(self) -> Ints:
        """Exclusive ends, microseconds."""
        return np.asarray(self.starts_us + self.hours * HOUR_US, dtype=np.int64)


@dataclass(frozen=True)
class Lines:
    """Arrivals of buyers in sales, ordered by cell and time; arrays have one entry a line."""

    cell: Ints
    time_us: Ints
    wanted: Ints
    basket: Ints  # the same for two lines of one order, -1 where a line is an order
    reduced: Ints  # 0 where a full reduction's basket stayed below the threshold
    served: Ints


@dataclass
class _Memory:
    """What the manager remembers of each SKU x region: units sold last time, -1 where there was no sale."""

    sold: Floats
    parts: list[dict[str, np.ndarray]] = field(default_factory=list)
    lines: list[dict[str, np.ndarray]] = field(default_factory=list)


def schedule(world: World) -> Schedule:
    """Start and duration of each past sale: evenly spread over the history, none within a day of its end."""
    size, rng = world.size, generator(world.size.seed, "schedule")
    last_day = size.days - 4
    days = np.linspace(min(FIRST_SALE_DAY, last_day), last_day, size.sales)
    hour = rng.choice(START_HOURS, size.sales, p=[0.45, 0.45, 0.10])
    hours = rng.choice([24, 12], size.sales, p=[0.8, 0.2])
    starts = size.start_us + np.floor(days).astype(np.int64) * DAY_US + hour * HOUR_US
    return Schedule([f"c{i + 1:03d}" for i in range(size.sales)], starts, hours.astype(np.int64))


def run_sales(world: World, plan: Schedule) -> tuple[Cells, Lines]:
    """Play all sales in order: offers, stock by the manager's rule, arrivals, stock-outs."""
    memory = _Memory(np.full(world.base.shape, -1.0))
    for k in range(len(plan.campaign_ids)):
        _run_one(world, plan, k, memory)
    cells = Cells(**{key: np.concatenate([p[key] for p in memory.parts]) for key in memory.parts[0]})
    lines = Lines(**{key: np.concatenate([p[key] for p in memory.lines]) for key in memory.lines[0]})
    return cells, lines


def _run_one(world: World, plan: Schedule, k: int, memory: _Memory) -> None:
    rng = generator(world.size.seed, f"sale {k}")
    start, hours = int(plan.starts_us[k]), int(plan.hours[k])
    offer = _offers(world, rng, start)
    sku, region = offer["sku"], offer["region"]
    shown = (sku, region, offer["price_cents"] / world.list_cents[sku], offer["promo"], start, hours, offer["shock"])
    expected, keen = world.sale_mean(*shown), np.zeros(len(sku))
    if world.size.regime.has_classes:
        keen = world.class_means(*shown)[0] / np.maximum(expected, 1e-300)
    stock = _managers_stock(world, rng, memory.sold[sku, region], sku, region, start)
    first_cell = sum(len(p["sku"]) for p in memory.parts)
    if world.size.regime.baskets:
        own, _, rule, passing = world.basket_means(*shown)
        lines = _arrivals(world, rng, sku, own, start, hours)
        lines = with_top_ups(generator(world.size.seed, f"baskets {k}"), rule, passing, lines, k * MOST_BASKETS)
    else:
        lines = _arrivals(world, rng, sku, expected, start, hours)
    wished = _by_cell(lines, lines["wanted"], len(sku))
    if world.size.regime.spill:
        lines = _with_second_choices(world, k, offer, lines, stock)
    served, gone = _serve(lines, stock)
    sold_out = np.full(len(sku), -1, dtype=np.int64)
    sold_out[lines["cell"][gone]] = lines["time_us"][gone]
    units = _by_cell(lines, served, len(sku))
    memory.sold[sku, region] = units
    same = {
        "campaign": np.full(len(sku), k),
        "starts_us": np.full(len(sku), start),
        "hours": np.full(len(sku), hours),
    }
    memory.parts.append(
        offer
        | same
        | {
            "allocated": stock,
            "expected": expected,
            "keen": keen,
            "served": units,
            "sold_out_us": sold_out,
            "demanded": wished,
        }
    )
    lines["reduced"] = settled(lines, served)
    memory.lines.append(lines | {"cell": lines["cell"] + first_cell, "served": served})


def _serve(lines: dict[str, np.ndarray], stock: Ints) -> tuple[Ints, np.ndarray]:
    """Units handed over a line, and whether it took the last one; lines are ordered by cell and time."""
    wanted_before = np.cumsum(lines["wanted"]) - lines["wanted"]
    firsts = np.searchsorted(lines["cell"], np.arange(len(stock)))
    opening = np.append(wanted_before, lines["wanted"].sum())[firsts]
    before = wanted_before - opening[lines["cell"]]
    served = np.clip(stock[lines["cell"]] - before, 0, lines["wanted"])
    gone = (before + lines["wanted"] >= stock[lines["cell"]]) & (served > 0)
    return served, gone


def _by_cell(lines: dict[str, np.ndarray], units: Ints, cells: int) -> Ints:
    """Sum of a line's units by cell, shape (cells,)."""
    return np.asarray(np.bincount(lines["cell"], units, cells).round(), dtype=np.int64)


def _with_second_choices(
    world: World, k: int, offer: dict[str, np.ndarray], first: dict[str, np.ndarray], stock: Ints
) -> dict[str, np.ndarray]:
    """Lines and the second tries of customers who found nothing: at once, at a rival of the category that has stock.

    What a second try takes may leave a later customer without his first choice, so customers come one by one.
    """
    rng = generator(world.size.seed, f"second choices {k}")
    tries, draw = rng.random(len(first["cell"])) < world.size.regime.spill, rng.random(len(first["cell"]))
    kind = world.category[offer["sku"]] * len(world.region_ids) + offer["region"]
    rivals = [np.flatnonzero(kind == own) for own in kind]
    left, second = stock.copy(), np.full(len(tries), -1, dtype=np.int64)
    for n in np.argsort(first["time_us"], kind="stable"):
        cell = first["cell"][n]
        if left[cell] == 0:
            open_ = rivals[cell][left[rivals[cell]] > 0] if tries[n] else []
            if not len(open_):
                continue
            cell = second[n] = open_[int(draw[n] * len(open_))]
        left[cell] -= min(left[cell], first["wanted"][n])
    more = {name: values[second >= 0] for name, values in first.items()} | {"cell": second[second >= 0]}
    joined = {name: np.concatenate([first[name], more[name]]) for name in first}
    order = np.lexsort((joined["time_us"], joined["cell"]))
    return {name: values[order] for name, values in joined.items()}


def _offers(world: World, rng: np.random.Generator, start: int) -> dict[str, np.ndarray]:
    """SKUs, regions, prices and promotion types of one sale, with its demand shocks."""
    n, r = world.base.shape
    ready = np.flatnonzero(world.launched_us + 7 * DAY_US < start)
    count = min(len(ready), max(2, round(n * rng.uniform(0.4, 0.6))))
    chosen = np.sort(rng.choice(ready, count, replace=False))
    held_out = rng.permutation(r)[: int(rng.choice([0, 1, 2], p=[0.6, 0.3, 0.1]))] if r > 2 else np.array([], int)
    regions = np.setdiff1d(np.arange(r), held_out)
    opens = world.size.end_us - world.size.regime.new_region_days * DAY_US
    if world.size.regime.new_region_days and start < opens:
        regions = np.setdiff1d(regions, [r - 1])
        regions = regions if len(regions) else np.array([0])
    shock = rng.normal(0.0, SHOCK_SD, count) - SHOCK_SD**2 / 2
    # A manager who senses demand gives less discount away: price is not random, as in a real shop.
    sensed = rng.integers(0, len(PRICE_LADDER), count) + np.round(world.size.regime.manager_sense * shock / SHOCK_SD)
    ratio = PRICE_LADDER[np.clip(sensed, 0, len(PRICE_LADDER) - 1).astype(int)]
    if world.size.regime.cost_swing:
        cost, usual = world.cost_at(start - ANNOUNCED_BEFORE_US), world.cost_cents
        ratio = passed_on(ratio, cost[chosen], usual[chosen], world.size.regime.cost_pass)
    price = np.round(world.list_cents[chosen] * ratio, -1).astype(np.int64)
    other = np.zeros(count, dtype=np.int64)
    if world.size.regime.lot_share:
        price, other = _by_lot(world, start, world.list_cents[chosen], price)
    promo = rng.choice(len(PROMO_TYPES), count, p=[0.4, 0.2, 0.25, 0.15])
    k = len(regions)
    return {
        "sku": np.repeat(chosen, k),
        "region": np.tile(regions, count),
        "promo": np.repeat(promo, k),
        "price_cents": np.repeat(price, k),
        "other_cents": np.repeat(other, k),
        "shock": np.repeat(shock, k),
    }


def _by_lot(world: World, start: int, listed: Ints, price: Ints) -> tuple[Ints, Ints]:
    """Prices of one sale after a lot between some and a neighbour a step nearer the ladder's middle; and the others.

    A price and its neighbour are drawn half and half; 0 stands for the other price where a SKU had no lot.
    """
    rng = generator(world.size.seed, f"lots {start}")
    step = np.where(price / listed > PRICE_LADDER.mean(), -1, 1) * (PRICE_LADDER[1] - PRICE_LADDER[0])
    neighbour = np.round(price + step * listed, -1).astype(np.int64)
    joins, swapped = rng.random(len(price)) < world.size.regime.lot_share, rng.random(len(price)) < LOT_CHANCE
    drawn = np.where(joins & swapped, neighbour, price)
    return drawn, np.where(joins, price + neighbour - drawn, 0)


def _managers_stock(world: World, rng: np.random.Generator, last: Floats, sku: Ints, region: Ints, start: int) -> Ints:
    """Last sale's units x 1.1, pulled towards a multiple of the baseline, human noise and the regime's factor."""
    habit = world.level_at(start)[sku, region] * 8.0
    wish = np.where(last >= 0, 0.45 * last * 1.1 + 0.55 * habit, habit)
    wish = wish * world.size.regime.stock_factor
    return np.maximum(2, np.round(wish * rng.lognormal(0.0, 0.25, len(sku)))).astype(np.int64)


def _arrivals(
    world: World, rng: np.random.Generator, sku: Ints, expected: Floats, start: int, hours: int
) -> dict[str, np.ndarray]:
    """Poisson arrivals over the category's hourly curve, ordered by cell and time."""
    count = rng.poisson(expected / SALE_MEAN_QUANTITY)
    cell = np.repeat(np.arange(len(sku)), count)
    hour = np.zeros(len(cell), dtype=np.int64)
    uniform = rng.random(len(cell))
    kind = world.category[sku][cell]
    for c in np.unique(kind):
        curve = np.cumsum(world.curve(int(c), int(start // HOUR_US % 24), hours))
        hour[kind == c] = np.searchsorted(curve, uniform[kind == c] * curve[-1])
    time = start + np.minimum(hour, hours - 1) * HOUR_US + rng.integers(0, HOUR_US, len(cell))
    wanted = np.where(rng.random(len(cell)) < SALE_MEAN_QUANTITY - 1.0, 2, 1).astype(np.int64)
    order = np.lexsort((time, cell))
    whole = np.ones(len(cell), dtype=np.int64)
    lines = {"cell": cell[order], "time_us": time[order], "wanted": wanted[order]}
    return lines | {"basket": -whole, "reduced": whole}


def cell_at(cells: Cells, sku: Ints, region: Ints, time_us: Ints) -> Ints:
    """The cell whose sale runs at a moment for a SKU and region, -1 where none does."""
    regions = int(max(cells.region.max(initial=0), region.max(initial=0))) + 1
    key = cells.sku * regions + cells.region
    order = np.lexsort((cells.starts_us, key))
    origin = int(min(cells.starts_us.min(), time_us.min(initial=cells.starts_us.min())))
    span = int(max(cells.ends_us.max(), time_us.max(initial=0))) - origin + 1
    begins = key[order] * span + (cells.starts_us[order] - origin)
    at = np.searchsorted(begins, (sku * regions + region) * span + (time_us - origin), side="right") - 1
    found = order[np.maximum(at, 0)]
    ok = (at >= 0) & (key[found] == sku * regions + region) & (time_us < cells.ends_us[found])
    return np.where(ok, found, -1)
