"""Simulated base weeks, and sales planted into them whose effect is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from marketplace.events import all_orders
from marketplace.sales import run_sales, schedule
from marketplace.world import BRANDS, CATEGORIES, DAY_US, Size, build_world
from ml.scoring.campaign import SaleEffects, sale_effects
from ml.scoring.panel import build_panel
from ml.scoring.window import window_of

FIRST = pd.Timestamp("2026-01-01")


@dataclass(frozen=True)
class Base:
    """Daily sales with hardly a sale in them, and what is known of SKUs and regions."""

    daily: pd.DataFrame
    products: pd.DataFrame
    warehouses: dict[str, str]

    def untied(self) -> Base:
        """The same shop, had every SKU a brand and a category of its own: many donors stay clean."""
        own = self.products.assign(brand=self.products.sku_id, category=self.products.sku_id)
        return Base(self.daily, own, self.warehouses)


def daily_frame(units: np.ndarray, skus: list[str], regions: list[str]) -> pd.DataFrame:
    """Daily sales of units of shape (SKUs, regions, days)."""
    days = pd.date_range(FIRST, periods=units.shape[2])
    index = pd.MultiIndex.from_product([skus, regions, days], names=["sku_id", "region_id", "sales_date"])
    columns = {"units": units.ravel(), "revenue": units.ravel() * 10.0, "in_campaign": False}
    return pd.DataFrame(columns, index=index).reset_index()


def plain_base(seed: int, skus: int = 12, regions: int = 4, days: int = 120) -> Base:
    """Poisson counts around series levels and a factor common to all; no SKU is tied to another."""
    rng = np.random.default_rng(seed)
    common = np.exp(np.cumsum(rng.normal(0, 0.03, days)))
    units = rng.poisson(rng.uniform(2, 9, (skus, regions, 1)) * common)
    names, places = [f"s{i:02d}" for i in range(skus)], [f"r{i}" for i in range(regions)]
    products = pd.DataFrame({"sku_id": names, "brand": names, "category": names})
    return Base(daily_frame(units, names, places), products, {r: f"w{r}" for r in places})


def shop_base(seed: int) -> Base:
    """Base weeks of the simulated shop: trends, weekdays, factors by region and category; one sale, at the start."""
    size = Size(seed=seed, sales=1)
    world = build_world(size)
    cells, lines = run_sales(world, schedule(world))
    orders = all_orders(world, cells, lines)
    units = np.zeros((size.skus, size.regions, size.days))
    np.add.at(units, (orders.sku, orders.region, (orders.time_us - size.start_us) // DAY_US), orders.quantity)
    frame = daily_frame(units, world.sku_ids, world.region_ids)
    age = size.start_us + np.arange(size.days) * DAY_US >= world.launched_us[:, None]
    frame = frame[np.broadcast_to(age[:, None, :], units.shape).ravel()].reset_index(drop=True)
    day = FIRST + pd.Timedelta(days=int(cells.starts_us[0] - size.start_us) // DAY_US)
    sold = {world.sku_ids[i] for i in cells.sku}
    frame["in_campaign"] = frame.sku_id.isin(sold) & frame.sales_date.isin([day, day + pd.Timedelta(days=1)])
    products = pd.DataFrame(
        {
            "sku_id": world.sku_ids,
            "brand": [BRANDS[b] for b in world.brand],
            "category": [CATEGORIES[c].name for c in world.category],
        }
    )
    places = zip(world.region_ids, world.warehouse, strict=True)
    return Base(frame, products, {r: f"wh-{w}" for r, w in places})


@dataclass(frozen=True)
class Sale:
    """A planted sale: its effects, its cells, the units that were added by cell, its days."""

    effects: SaleEffects
    offers: pd.DataFrame
    added: np.ndarray
    length: int


def plant(
    base: Base, day: int, length: int, skus: list[str], regions: list[str] | None = None, lift: float = 0.0,
    sold_out: bool = False,
) -> Sale:  # fmt: skip
    """Score a sale of `length` days that adds `lift` times each cell's mean sales; 0 is a placebo promotion."""
    frame = base.daily.copy()
    start = FIRST + pd.Timedelta(days=day)
    on = frame.sku_id.isin(skus) & frame.region_id.isin(regions or sorted(set(frame.region_id)))
    hit = on & (frame.sales_date >= start) & (frame.sales_date < start + pd.Timedelta(days=length))
    mean = frame[on].groupby(["sku_id", "region_id"]).units.transform("mean")
    extra = np.round(lift * mean).reindex(frame.index[hit])
    frame.loc[hit, "units"] += extra
    frame.loc[hit, "in_campaign"] = True
    added = frame[hit].assign(extra=extra).groupby(["sku_id", "region_id"]).extra.sum()
    begins, ends = (d.tz_localize("UTC") for d in (start, start + pd.Timedelta(days=length)))
    offers = added.index.to_frame(index=False).assign(is_sold_out=sold_out, starts_at=begins, ends_at=ends)
    panel = build_panel(frame)
    window = window_of(panel, begins, ends)
    return Sale(sale_effects(panel, offers, window, base.products, base.warehouses), offers, added.to_numpy(), length)
