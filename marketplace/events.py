"""The commerce streams of the simulated shop: catalogue, regions, campaigns, orders, traffic, inventory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from marketplace import delivery
from marketplace.baskets import FULL_REDUCTION
from marketplace.choice import CLASS_SHARES, Floats, Ints
from marketplace.columns import moments, money, numbered, pick, stream_table
from marketplace.costs import COST_DAYS
from marketplace.sales import ANNOUNCED_BEFORE_US, PER_USER_LIMIT, Cells, Lines, Schedule, cell_at
from marketplace.world import (
    BASE_MEAN_QUANTITY,
    BRANDS,
    CATEGORIES,
    DAY_US,
    DIURNAL,
    HOUR_US,
    PROMO_TYPES,
    World,
    generator,
)

MINUTE_US = 60_000_000
STATUSES = ("placed", "cancelled", "returned")
ACTIONS = ("impression", "view", "favourite", "cart", "notify_me", "sold_out_view")
IMPRESSION, VIEW, FAVOURITE, CART, NOTIFY_ME, SOLD_OUT_VIEW = range(6)
CURRENCY = "CNY"


@dataclass(frozen=True)
class Orders:
    """Order lines of the whole history, ordered by time; arrays have one entry a line."""

    time_us: Ints
    user: Ints
    sku: Ints
    region: Ints
    cell: Ints  # -1 outside sales
    quantity: Ints
    reduced: Ints  # 0 where a full reduction's basket stayed below the threshold
    order: Ints  # number of the order, the same for lines of one basket
    line_no: Ints


def spillover(world: World, cells: Cells) -> Floats:
    """Multiplier on the daily baseline, shape (s, r, d): what sales do to the days and SKUs around them.

    Waiting for the announced sale, a dip after it (purchases pulled forward), halo on SKUs of the same brand,
    cannibalisation of the same category, and less stock for a held-out region fed by the same warehouse.
    """
    size = world.size
    factor = np.ones(world.daily.shape)
    day = (cells.starts_us - size.start_us) // DAY_US
    for c in np.unique(cells.campaign):
        mine = cells.campaign == c
        d, sku, region = int(day[mine][0]), np.unique(cells.sku[mine]), np.unique(cells.region[mine])
        inside = np.ix_(sku, region)
        for ahead, keep in ((1, 0.90), (2, 0.95)):
            if d - ahead >= 0:
                factor[:, :, d - ahead][inside] *= keep
        for after in range(1, 7):
            if d + after < size.days:
                factor[:, :, d + after][inside] *= 1.0 - 0.30 * np.exp(-(after - 1) / 2.0)
        others = np.setdiff1d(np.arange(len(world.sku_ids)), sku)
        halo = np.isin(world.brand[others], world.brand[sku])
        rival = np.isin(world.category[others], world.category[sku])
        factor[:, :, d][np.ix_(others, region)] *= (np.where(halo, 1.08, 1.0) * np.where(rival, 0.93, 1.0))[:, None]
        absent = np.setdiff1d(np.arange(len(world.region_ids)), region)
        starved = absent[np.isin(world.warehouse[absent], world.warehouse[region])]
        factor[:, :, d][np.ix_(sku, starved)] *= 0.8
    return factor


def all_orders(world: World, cells: Cells, lines: Lines) -> Orders:
    """Baseline lines thinned out of sale windows, and the served lines of sales, in order of time."""
    rng = generator(world.size.seed, "orders")
    count = rng.poisson(world.daily * spillover(world, cells) / BASE_MEAN_QUANTITY)
    sku, region, day = (np.repeat(index.ravel(), count.ravel()) for index in np.indices(count.shape))
    time = world.size.start_us + day * DAY_US + _time_of_day(rng, len(day))
    usual = cell_at(cells, sku, region, time) < 0
    kept = lines.served > 0
    quantity = 1 + (rng.random(len(sku)) < 0.14) + (rng.random(len(sku)) < 0.02) * 2
    parts = {
        "time_us": (time[usual], lines.time_us[kept]),
        "sku": (sku[usual], cells.sku[lines.cell[kept]]),
        "region": (region[usual], cells.region[lines.cell[kept]]),
        "cell": (np.full(int(usual.sum()), -1), lines.cell[kept]),
        "quantity": (quantity[usual], lines.served[kept]),
        "reduced": (np.ones(int(usual.sum())), lines.reduced[kept]),
        "basket": (np.full(int(usual.sum()), -1), lines.basket[kept]),
    }
    joined = {name: np.concatenate(pair).astype(np.int64) for name, pair in parts.items()}
    order = np.lexsort((joined["sku"], joined["region"], joined["time_us"]))
    joined = {name: values[order] for name, values in joined.items()}
    user = users_of(world, rng, joined["region"])
    if world.size.regime.has_classes:
        user = _of_their_class(world, cells, joined["cell"], user)
    number, line_no = _one_order(joined.pop("basket"))
    return Orders(user=user[number], order=number, line_no=line_no, **joined)


def _one_order(basket: Ints) -> tuple[Ints, Ints]:
    """Number of each line's order, that of its first line, and its place in it; -1 stands for an order of one line."""
    number, line_no = np.arange(len(basket)), np.ones(len(basket), dtype=np.int64)
    joined = np.flatnonzero(basket >= 0)
    _, first, which = np.unique(basket[joined], return_index=True, return_inverse=True)
    number[joined] = joined[first][which]
    line_no[joined] += number[joined] != joined
    return number, line_no


def _of_their_class(world: World, cells: Cells, cell: Ints, user: Ints) -> Ints:
    """Customers of the class that bought: even numbers mind the price, odd ones are loyal.

    Args:
        cell: cell of each order line, -1 outside sales, where prices are the list's.
        user: who would have bought if all were alike; a region's numbers begin with an even one.
    """
    keen = np.where(cell >= 0, cells.keen[cell], CLASS_SHARES[0])
    loyal = generator(world.size.seed, "classes").random(len(cell)) >= keen
    return np.asarray(user // 2 * 2 + loyal, dtype=np.int64)


def _time_of_day(rng: np.random.Generator, n: int) -> Ints:
    hour = np.searchsorted(np.cumsum(DIURNAL) / DIURNAL.sum(), rng.random(n))
    return np.asarray(np.minimum(hour, 23) * HOUR_US + rng.integers(0, HOUR_US, n), dtype=np.int64)


def users_of(world: World, rng: np.random.Generator, region: Ints) -> Ints:
    """A customer of each region; a few buy often (rank drawn as a power of a uniform)."""
    per_region = world.users // len(world.region_ids)
    return np.asarray(
        region * per_region + (per_region * rng.random(len(region)) ** 2).astype(np.int64), dtype=np.int64
    )


def order_table(world: World, cells: Cells, orders: Orders) -> pa.Table:
    """The `orders` stream: each line placed, some cancelled within the hour, some returned days later."""
    rng = generator(world.size.seed, "order events")
    n = len(orders.time_us)
    promo = np.where(orders.cell >= 0, cells.promo[orders.cell], -1)
    price = np.where(orders.cell >= 0, cells.price_cents[orders.cell], world.list_cents[orders.sku])
    listed, full = world.list_cents[orders.sku], (promo == FULL_REDUCTION) & world.size.regime.baskets
    price = np.where(full & (orders.reduced == 0), listed, price)
    # A coupon, and a reduction that hangs on the basket, leave the shelf price as it is and lower what is paid.
    shown = np.where((promo == PROMO_TYPES.index("coupon")) | full, listed, price)
    fate = rng.random(n)
    delay = world.delay[orders.region]
    cancelled = fate < delivery.cancelled(delay)
    returned = ~cancelled & (fate < delivery.cancelled(delay) + delivery.returned(delay))
    later = {
        1: orders.time_us + rng.integers(2 * MINUTE_US, 50 * MINUTE_US, n),
        2: orders.time_us + rng.integers(2 * DAY_US, 9 * DAY_US, n),
    }
    rows = [np.arange(n), np.flatnonzero(cancelled), np.flatnonzero(returned)]
    status = np.repeat([0, 1, 2], [len(r) for r in rows])
    row = np.concatenate(rows)
    moment = np.concatenate([orders.time_us, later[1][rows[1]], later[2][rows[2]]])
    known = moment < world.size.end_us
    row, status, moment = row[known], status[known], moment[known]
    return stream_table(
        "orders",
        {
            "event_at": moments(moment),
            "order_id": numbered("o", orders.order[row]),
            "line_no": pa.array(orders.line_no[row].astype(np.int32)),
            "user_id": numbered("u", orders.user[row]),
            "sku_id": pick(world.sku_ids, orders.sku[row]),
            "region_id": pick(world.region_ids, orders.region[row]),
            "quantity": pa.array(orders.quantity[row].astype(np.int32)),
            "unit_price": money(shown[row]),
            "paid_amount": money(price[row] * orders.quantity[row], 14),
            "promo_type": pick(PROMO_TYPES, promo[row]),
            "campaign_id": pick(
                campaign_names(cells), np.where(orders.cell >= 0, cells.campaign[orders.cell], -1)[row]
            ),
            "status": pick(STATUSES, status),
        },
    )


def campaign_names(cells: Cells) -> list[str]:
    """Names of the campaigns, by index."""
    return [f"c{i + 1:03d}" for i in range(int(cells.campaign.max()) + 1)]


def traffic_table(world: World, cells: Cells, lines: Lines, orders: Orders) -> pa.Table:
    """The `traffic` stream: visits of buyers and of others, and visits to offers with no stock left."""
    rng = generator(world.size.seed, "traffic")
    parts = [*_buyers(rng, orders), *_others(world, rng, orders), *_announced(world, rng, cells)]
    lost = np.flatnonzero((lines.wanted > lines.served) & (rng.random(len(lines.cell)) < 0.6))
    sku, region = cells.sku[lines.cell[lost]], cells.region[lines.cell[lost]]
    visitor = users_of(world, rng, region)
    parts.append((np.full(len(lost), VIEW), lines.time_us[lost], visitor, sku, region))
    asked = rng.random(len(lost)) < 0.15
    parts.append(
        (
            np.full(int(asked.sum()), NOTIFY_ME),
            lines.time_us[lost][asked] + 20_000_000,
            visitor[asked],
            sku[asked],
            region[asked],
        )
    )
    action, time, user, sku, region = (np.concatenate([p[i] for p in parts]).astype(np.int64) for i in range(5))
    cell = cell_at(cells, sku, region, time)
    empty = (cell >= 0) & (cells.sold_out_us[cell] >= 0) & (time > cells.sold_out_us[cell])
    action = np.where(empty & (action == VIEW), SOLD_OUT_VIEW, action)
    possible = np.where(action == NOTIFY_ME, empty, ~empty | (action == SOLD_OUT_VIEW))
    open_ = (time >= np.maximum(world.size.start_us, world.launched_us[sku])) & (time < world.size.end_us)
    keep = possible & open_
    action, time, user, sku, region, cell = (a[keep] for a in (action, time, user, sku, region, cell))
    session = user * 4096 + (time - world.size.start_us) // (30 * MINUTE_US) % 4096
    return stream_table(
        "traffic",
        {
            "event_at": moments(time),
            "session_id": numbered("s", session, 9),
            "user_id": numbered("u", user),
            "sku_id": pick(world.sku_ids, sku),
            "region_id": pick(world.region_ids, region),
            "action": pick(ACTIONS, action),
            "campaign_id": pick(campaign_names(cells), np.where(cell >= 0, cells.campaign[cell], -1)),
        },
    )


_Part = tuple[Ints, Ints, Ints, Ints, Ints]


def _buyers(rng: np.random.Generator, orders: Orders) -> list[_Part]:
    """What buyers did in the minutes before they bought."""
    parts = []
    for action, share, low, high in ((VIEW, 0.8, 3, 20), (CART, 0.35, 1, 3), (FAVOURITE, 0.08, 1, 15)):
        row = np.flatnonzero(rng.random(len(orders.time_us)) < share)
        time = orders.time_us[row] - rng.integers(low * MINUTE_US, high * MINUTE_US, len(row))
        parts.append((np.full(len(row), action), time, orders.user[row], orders.sku[row], orders.region[row]))
    return parts


def _others(world: World, rng: np.random.Generator, orders: Orders) -> list[_Part]:
    """Visitors who did not buy, near in time to those who did; impressions are a sample."""
    parts = []
    for action, mean in ((VIEW, 1.0), (IMPRESSION, 0.6), (CART, 0.08), (FAVOURITE, 0.05)):
        row = np.repeat(np.arange(len(orders.time_us)), rng.poisson(mean, len(orders.time_us)))
        time = orders.time_us[row] + rng.integers(-90 * MINUTE_US, 90 * MINUTE_US, len(row))
        region = orders.region[row]
        parts.append((np.full(len(row), action), time, users_of(world, rng, region), orders.sku[row], region))
    return parts


def _announced(world: World, rng: np.random.Generator, cells: Cells) -> list[_Part]:
    """Visits between announcement and start, a little more where demand will be strong."""
    count = rng.poisson(4.0 * np.exp(0.4 * cells.shock))
    row = np.repeat(np.arange(len(cells.sku)), count)
    time = cells.starts_us[row] - rng.integers(0, ANNOUNCED_BEFORE_US, len(row))
    action = np.where(rng.random(len(row)) < 0.15, FAVOURITE, VIEW)
    region = cells.region[row]
    return [(action, time, users_of(world, rng, region), cells.sku[row], region)]


def inventory_table(world: World, cells: Cells, lines: Lines) -> pa.Table:
    """The `inventory` stream: daily; in a sale at its start, hourly, and when the last unit goes."""
    rng = generator(world.size.seed, "inventory")
    sku, region, day = (index.ravel() for index in np.indices(world.daily.shape))
    time = world.size.start_us + day * DAY_US
    usual = (world.launched_us[sku] <= time) & (cell_at(cells, sku, region, time) < 0)
    sku, region, time = sku[usual], region[usual], time[usual]
    shelf = np.round(world.base[sku, region] * 14 * rng.uniform(0.7, 1.4, len(sku))).astype(np.int64) + 5
    hourly = [(cells.sku[c], cells.region[c], t, stock) for c, t, stock in _sale_readings(cells, lines)]
    parts = [(sku, region, time, shelf), *hourly]
    sku, region, time, stock = (np.concatenate([p[i] for p in parts]).astype(np.int64) for i in range(4))
    known = time < world.size.end_us
    return stream_table(
        "inventory",
        {
            "event_at": moments(time[known]),
            "sku_id": pick(world.sku_ids, sku[known]),
            "region_id": pick(world.region_ids, region[known]),
            "on_hand": pa.array(stock[known]),
        },
    )


def _sale_readings(cells: Cells, lines: Lines) -> list[tuple[Ints, Ints, Ints]]:
    """(cell, moment, on hand) of readings in sales, and of the shelf restocked at each sale's end."""
    n = len(cells.sku)
    cell = np.repeat(np.arange(n), cells.hours)
    hour = np.arange(len(cell)) - np.repeat(np.cumsum(cells.hours) - cells.hours, cells.hours)
    time = cells.starts_us[cell] + hour * HOUR_US
    origin = int(cells.starts_us.min())
    span = int(cells.ends_us.max()) - origin + 1
    running = np.append(0, np.cumsum(lines.served))
    at = np.searchsorted(lines.cell * span + lines.time_us - origin, cell * span + time - origin)
    first = np.searchsorted(lines.cell, np.arange(n))
    left = cells.allocated[cell] - (running[at] - running[first][cell])
    gone = np.flatnonzero(cells.sold_out_us >= 0)
    restocked = np.arange(n)
    return [
        (cell, time, left),
        (gone, cells.sold_out_us[gone], np.zeros(len(gone), dtype=np.int64)),
        (restocked, cells.ends_us, cells.allocated + 20),
    ]


def catalog_table(world: World) -> pa.Table:
    """The `catalog` stream: a version a SKU from its launch or the history's start on, and one at each new cost."""
    sku, since, cost = _versions(world)
    return stream_table(
        "catalog",
        {
            "event_at": moments(since),
            "sku_id": pick(world.sku_ids, sku),
            "title": pick(world.titles, sku),
            "category": pick([c.name for c in CATEGORIES], world.category[sku]),
            "brand": pick(BRANDS, world.brand[sku]),
            "list_price": money(world.list_cents[sku]),
            "unit_cost": money(cost),
            "currency": pa.array([CURRENCY] * len(sku)),
            "launched_at": moments(world.launched_us[sku]),
        },
    )


def _versions(world: World) -> tuple[Ints, Ints, Ints]:
    """(SKU, moment from which it holds, unit cost in cents) of each catalogue version."""
    first = np.maximum(world.launched_us, world.size.start_us)
    contracts = world.contract_cents.shape[1]
    begins = world.size.start_us + np.arange(contracts) * COST_DAYS * DAY_US
    sku, contract = (index.ravel() for index in np.indices(world.contract_cents.shape))
    since, until = begins[contract], np.append(begins[1:], world.size.end_us)[contract]
    known = until > first[sku]  # a contract that ended before the launch is nobody's
    sku, contract, since = sku[known], contract[known], np.maximum(since, first[sku])[known]
    cost = world.contract_cents[sku, contract]
    same = (np.diff(sku, prepend=-1) == 0) & (np.diff(cost, prepend=-1) == 0)
    return sku[~same], since[~same], cost[~same]


def region_table(world: World) -> pa.Table:
    """The `regions` stream: one version a region; the last shares the first one's warehouse."""
    r = len(world.region_ids)
    return stream_table(
        "regions",
        {
            "event_at": moments(np.full(r, world.size.start_us)),
            "region_id": pa.array(world.region_ids),
            "warehouse_id": pa.array([f"wh-{w + 1}" for w in world.warehouse]),
            "name": pa.array([f"{name.title()} (simulated)" for name in world.region_ids]),
            "capacity_units": pa.array(world.capacity),
            "shipping_cost": money(world.shipping_cents),
        },
    )


def campaign_table(world: World, plan: Schedule, cells: Cells) -> pa.Table:
    """The `campaigns` stream: every offer, announced days before its start."""
    return stream_table(
        "campaigns",
        {
            "event_at": moments(cells.starts_us - ANNOUNCED_BEFORE_US),
            "campaign_id": pick(plan.campaign_ids, cells.campaign),
            "sku_id": pick(world.sku_ids, cells.sku),
            "region_id": pick(world.region_ids, cells.region),
            "promo_type": pick(PROMO_TYPES, cells.promo),
            "offer_price": money(cells.price_cents),
            "allocated_units": pa.array(cells.allocated),
            "per_user_limit": pa.array(np.full(len(cells.sku), PER_USER_LIMIT, dtype=np.int32)),
            "starts_at": moments(cells.starts_us),
            "ends_at": moments(cells.ends_us),
        },
    )
