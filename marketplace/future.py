"""The next sale of the simulated shop: what is asked for, and what only an examiner may know."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa

from marketplace.choice import Floats, Ints
from marketplace.columns import moments, money, pick
from marketplace.events import CURRENCY
from marketplace.sales import LOT_CHANCE, Cells, Schedule
from marketplace.world import (
    DAY_US,
    DIURNAL,
    HOUR_US,
    PROMO_TYPES,
    SHOCK_SD,
    World,
    generator,
)

LOOKBACK_DAYS = 30
LADDER_STEPS = (1.0, 0.93, 0.86)
LEAD_DAYS = 1
DURATION_HOURS = 24


@dataclass(frozen=True)
class NextSale:
    """The sale that is asked for: its SKUs with their lawful prices (cents) and demand shocks."""

    sku: Ints
    prices: list[list[int]]
    promos: list[list[int]]
    shock: Floats
    slots_us: list[int]

    def announced(self) -> tuple[Ints, Ints, Floats]:
        """(start, SKU, shock) for the posts of the week before it."""
        return np.full(len(self.sku), self.slots_us[0]), self.sku, self.shock


def next_sale(world: World, cells: Cells) -> NextSale:
    """Choose SKUs, lawful price ladders (from the lowest price of the look-back days) and shocks."""
    size, rng = world.size, generator(world.size.seed, "next sale")
    ready = np.flatnonzero(world.launched_us + 28 * DAY_US < size.end_us)
    sku = np.sort(rng.choice(ready, min(len(ready), max(2, round(0.6 * size.skus))), replace=False))
    prices = [_ladder(world, cells, int(i)) for i in sku]
    asked = [i for i, ladder in enumerate(prices) if ladder]
    promos = [sorted({0, int(rng.integers(0, len(PROMO_TYPES)))}) for _ in sku]
    shock = rng.normal(0.0, SHOCK_SD, len(sku)) - SHOCK_SD**2 / 2
    first = size.end_us + LEAD_DAYS * DAY_US
    return NextSale(
        sku[asked],
        [prices[i] for i in asked],
        [promos[i] for i in asked],
        shock[asked],
        [first, first + 12 * HOUR_US],
    )


def _ladder(world: World, cells: Cells, sku: int) -> list[int]:
    recent = (cells.sku == sku) & (cells.ends_us > world.size.end_us - LOOKBACK_DAYS * DAY_US)
    lowest = min(int(world.list_cents[sku]), int(cells.price_cents[recent].min(initial=2**40)))
    steps = {int(lowest * step) // 10 * 10 for step in LADDER_STEPS}
    return sorted(p for p in steps if p >= world.cost_at(world.size.end_us)[sku] * 1.08)


def sale_means(world: World, sale: NextSale, price: Ints, promo: Ints, slot_us: Ints) -> Floats:
    """True mean demand of the next sale as one whole, shape (SKUs, regions), units.

    Args:
        price: offer price of each SKU of the sale, cents, shape (SKUs,).
        promo: index into PROMO_TYPES of each.
        slot_us: start of each, microseconds.
    """
    means = world.sale_mean(*_offered(world, sale, price, promo, slot_us))
    return means.reshape(len(sale.sku), len(world.region_ids))


def sale_prices(world: World, sale: NextSale, price: Ints, promo: Ints, slot_us: Ints) -> Floats:
    """Mean price that a unit of each cell is sold at, cents, shape (SKUs, regions); arguments as of `sale_means`.

    The offer price, but for full reductions whose baskets do not all reach the threshold.
    """
    shape = (len(sale.sku), len(world.region_ids))
    reduced = np.ones(shape)
    if world.size.regime.baskets:
        reduced = world.basket_means(*_offered(world, sale, price, promo, slot_us))[1].reshape(shape)
    listed = world.list_cents[sale.sku][:, None]
    return np.asarray(price[:, None] * reduced + listed * (1.0 - reduced), dtype=np.float64)


def _offered(
    world: World, sale: NextSale, price: Ints, promo: Ints, slot_us: Ints
) -> tuple[Ints, Ints, Floats, Ints, Ints, int, Floats]:
    """The next sale's offers as `World.sale_mean` takes them, by SKU and region."""
    skus, regions = len(sale.sku), len(world.region_ids)
    ratio, shock = np.repeat(price / world.list_cents[sale.sku], regions), np.repeat(sale.shock, regions)
    sku, region = np.repeat(sale.sku, regions), np.tile(np.arange(regions), skus)
    return sku, region, ratio, np.repeat(promo, regions), np.repeat(slot_us, regions), DURATION_HOURS, shock


def true_means(world: World, sale: NextSale) -> pa.Table:
    """True mean demand of every action, the SKU's rivals at the middle of their ladders, in its slot."""
    middle = np.array([ladder[len(ladder) // 2] for ladder in sale.prices])
    first = np.array([promos[0] for promos in sale.promos])
    regions = np.arange(len(world.region_ids))
    rows: dict[str, list[Any]] = {"sku": [], "region": [], "price": [], "promo": [], "slot": [], "mean": []}
    for i, sku in enumerate(sale.sku):
        for price, promo, slot in product(sale.prices[i], sale.promos[i], sale.slots_us):
            prices, promos = middle.copy(), first.copy()
            prices[i], promos[i] = price, promo
            mean = sale_means(world, sale, prices, promos, np.full(len(sale.sku), slot))[i]
            fixed = {"sku": sku, "price": price, "promo": promo, "slot": slot}
            for name, value in fixed.items():
                rows[name].extend([value] * len(regions))
            rows["region"].extend(regions)
            rows["mean"].extend(mean)
    index = {name: np.array(values) for name, values in rows.items()}
    return pa.table(
        {
            "sku_id": pick(world.sku_ids, index["sku"]),
            "region_id": pick(world.region_ids, index["region"]),
            "offer_price": money(index["price"]),
            "promo_type": pick(PROMO_TYPES, index["promo"]),
            "starts_at": moments(index["slot"]),
            "mean_units": pa.array(index["mean"]),
        }
    )


def cell_truth(world: World, plan: Schedule, cells: Cells) -> pa.Table:
    """True demand of each past cell, and what its window would have sold without a sale."""
    hour = np.arange(int(cells.hours.max()))
    moment = cells.starts_us[:, None] + hour * HOUR_US - world.size.start_us
    day = np.minimum(moment // DAY_US, world.size.days - 1)
    usual = world.daily[cells.sku[:, None], cells.region[:, None], day] * DIURNAL[moment // HOUR_US % 24] / 24
    return pa.table(
        {
            "campaign_id": pick(plan.campaign_ids, cells.campaign),
            "sku_id": pick(world.sku_ids, cells.sku),
            "region_id": pick(world.region_ids, cells.region),
            "expected_demand": pa.array(cells.expected),
            "demanded_units": pa.array(cells.demanded),
            "served_units": pa.array(cells.served),
            "baseline_units": pa.array((usual * (hour < cells.hours[:, None])).sum(axis=1)),
            "shock": pa.array(cells.shock),
        }
    )


def past_plans(world: World, cells: Cells) -> pa.Table:
    """What published plans of the past sales had drawn by lot, in columns of `allocation_recommendations`."""
    drawn = np.flatnonzero(cells.other_cents > 0)
    return pa.table(
        {
            "sku_id": pick(world.sku_ids, cells.sku[drawn]),
            "region_id": pick(world.region_ids, cells.region[drawn]),
            "starts_at": moments(cells.starts_us[drawn]),
            "status": ["published"] * len(drawn),
            "allocate_units": pa.array(cells.allocated[drawn]),
            "offer_price": money(cells.price_cents[drawn]),
            "experiment_arm": ["drawn"] * len(drawn),
            "experiment_propensity": np.full(len(drawn), LOT_CHANCE),
            "experiment_other_price": pa.array(cells.other_cents[drawn] / 100.0),
        }
    )


def product_truth(world: World, sale: NextSale) -> pa.Table:
    """Own-price elasticity of each SKU, and the next sale's shock where it is asked for."""
    shock = np.full(len(world.sku_ids), np.nan)
    shock[sale.sku] = sale.shock
    return pa.table(
        {
            "sku_id": world.sku_ids,
            "elasticity": pa.array(world.elasticity),
            "next_shock": pa.array(shock, from_pandas=True),
        }
    )


def request(world: World, sale: NextSale) -> dict[str, Any]:
    """The sale request as a mapping; budgets, supply and the space of one region bind a little."""
    rng = generator(world.size.seed, "request")
    middle = np.array([ladder[len(ladder) // 2] for ladder in sale.prices])
    listed = world.list_cents[sale.sku]
    r = len(world.region_ids)
    usual = world.sale_mean(
        np.repeat(sale.sku, r),
        np.tile(np.arange(r), len(sale.sku)),
        np.repeat(middle / listed, r),
        np.zeros(len(sale.sku) * r, dtype=np.int64),
        sale.slots_us[1],
        DURATION_HOURS,
        np.zeros(len(sale.sku) * r),
    ).reshape(len(sale.sku), r)
    units = usual.sum(axis=1)
    supply = np.ceil(units * rng.uniform(0.9, 1.7, len(units)) * world.size.regime.supply_factor).astype(int)
    cost = world.cost_at(world.size.end_us)
    stock_budget = 0.5 * float((cost[sale.sku] * units).sum()) / 100
    promotion = 0.4 * float(((listed - middle) * units).sum()) / 100
    moment = [datetime.fromtimestamp(us / 1e6, UTC) for us in (world.size.end_us, *sale.slots_us)]
    return {
        "request_id": f"{moment[1]:%Y-%m-%d}-main",
        "currency": CURRENCY,
        "as_of": _iso(moment[0]),
        "start_slots": [_iso(m) for m in moment[1:]],
        "duration_hours": DURATION_HOURS,
        "stock_budget": float(round(stock_budget, -2)),
        "promotion_budget": float(round(promotion, -2)),
        "max_price_changes": 2,
        "price_lookback_days": LOOKBACK_DAYS,
        "regions": [
            {
                "region_id": name,
                "capacity_units": int(np.ceil((0.5 if i == 1 else 1.0) * usual[:, i].sum())),
                "min_service": 0.2 if i == 0 else 0.0,
            }
            for i, name in enumerate(world.region_ids)
        ],
        "skus": [
            {
                "sku_id": world.sku_ids[s],
                "supply_units": int(supply[i]),
                "unit_cost": int(cost[s]) / 100,
                "salvage_value": int(cost[s] * 0.45) // 10 * 10 / 100,
                "prices": [p / 100 for p in sale.prices[i]],
                "promo_types": [PROMO_TYPES[p] for p in sale.promos[i]],
            }
            for i, s in enumerate(sale.sku)
        ],
    }


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
