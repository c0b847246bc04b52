"""The simulated world: products, regions, customers and the demand process.

All times are microseconds since the epoch, UTC; all money is whole cents; demand is in units. One seed
gives one world: every part draws from its own generator, keyed by (seed, part), so that a change in one
part does not move the others.
"""

from __future__ import annotations

import datetime as dt
import zlib
from dataclasses import dataclass

import numpy as np

from marketplace.baskets import Rule, basket_rule
from marketplace.choice import (
    CLASS_SHARES,
    Floats,
    Ints,
    competition_factors,
    mixed_logit_means,
    nested_logit_factors,
    ranked_list_factors,
)
from marketplace.costs import COST_DAYS, cost_paths
from marketplace.delivery import delays, patience
from marketplace.regimes import USUAL, Regime

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
PROMO_TYPES = ("discount", "full_reduction", "coupon", "bundle")
PROMO_EFFECT = np.array([1.0, 0.9, 1.08, 0.82])
SHOCK_SD = 0.45
LOOK_AHEAD = 3  # days after the history whose true demand is drawn too
SALE_MEAN_QUANTITY = 1.12
BASE_MEAN_QUANTITY = 1.18
# Visits by UTC hour; the shop's customers live at UTC+8, so their evening is 11:00-15:00 UTC.
DIURNAL = np.array(
    [1.0, 1.1, 1.15, 1.2, 1.25, 1.15, 1.05, 1.05, 1.1, 1.15, 1.3, 1.5,
     1.7, 1.75, 1.6, 1.3, 0.9, 0.6, 0.4, 0.3, 0.25, 0.3, 0.5, 0.8]
)  # fmt: skip
DIURNAL = DIURNAL / DIURNAL.mean()


@dataclass(frozen=True)
class Category:
    """One merchandise category: prices in units of currency, elasticity of sale demand, hourly curve."""

    name: str
    topics: tuple[str, ...]
    products: tuple[str, ...]
    price: tuple[float, float]
    elasticity: float
    lift: float
    rush: float
    rush_hours: float
    weekend: float


CATEGORIES = (
    Category("books", ("book",), ("Atlas", "Novel", "Cookbook", "Picture book"), (25, 90), 1.8, 7.5, 3.0, 2.0, 1.1),
    Category(
        "electronics",
        ("computer", "phone"),
        ("Laptop", "Headset", "Phone", "Router"),
        (90, 600),
        2.6,
        8.0,
        7.0,
        1.2,
        1.05,
    ),
    Category(
        "audio",
        ("audio", "camera"),
        ("Earbuds", "Player", "Camera", "Speaker"),
        (40, 250),
        2.2,
        7.0,
        4.5,
        1.6,
        1.2,
    ),
    Category(
        "travel",
        ("hotel",),
        ("Room night", "Spa day", "Suite night", "Tour"),
        (120, 500),
        1.5,
        6.5,
        1.5,
        4.0,
        1.3,
    ),
    Category(
        "home",
        ("other", "food", "appliance"),
        ("Water heater", "Lamp", "Kettle", "Fan"),
        (40, 300),
        2.0,
        7.5,
        4.0,
        2.0,
        1.15,
    ),
)
BRANDS = ("Aoli", "Beiyun", "Cheng", "Dorado", "Evergreen", "Fuling", "Gaia")
REGIONS = ("east", "north", "south", "west", "centre", "coast", "hills", "plains")


@dataclass(frozen=True)
class Size:
    """What to build: number of SKUs, regions, past sales and days of history, its exclusive end, seed, regime."""

    seed: int = 20261111
    skus: int = 20
    regions: int = 4
    sales: int = 40
    days: int = 240
    end: dt.date = dt.date(2026, 11, 10)
    regime: Regime = USUAL

    def __post_init__(self) -> None:
        checks = (("skus", self.skus, 4, 400), ("regions", self.regions, 2, len(REGIONS)),
                  ("sales", self.sales, 1, 400), ("days", self.days, 30, 1500))  # fmt: skip
        for name, value, low, high in checks:
            if not low <= value <= high:
                raise ValueError(f"simulated shop: {name} = {value} is outside {low}..{high}")
        if self.sales * 3 > self.days - 18:  # sales of one shop do not overlap
            raise ValueError(f"simulated shop: {self.sales} sales do not fit into {self.days} days")

    @property
    def end_us(self) -> int:
        """Exclusive end of the history, microseconds since the epoch."""
        return micros(dt.datetime(self.end.year, self.end.month, self.end.day, tzinfo=dt.UTC))

    @property
    def start_us(self) -> int:
        """First moment of the history, microseconds since the epoch."""
        return self.end_us - self.days * DAY_US


def micros(moment: dt.datetime) -> int:
    """Microseconds since the epoch of an aware datetime."""
    return int(moment.timestamp()) * 1_000_000


def generator(seed: int, part: str) -> np.random.Generator:
    """The random generator of one part of one world."""
    return np.random.default_rng([seed, zlib.crc32(part.encode())])


@dataclass(frozen=True)
class World:
    """Everything that does not depend on sales. Arrays are indexed by SKU (s), region (r) and day (d)."""

    size: Size
    sku_ids: list[str]
    titles: list[str]
    category: Ints  # (s,)
    brand: Ints  # (s,)
    list_cents: Ints  # (s,)
    cost_cents: Ints  # (s,) usual unit cost
    contract_cents: Ints  # (s, contracts) unit cost under each supply contract
    launched_us: Ints  # (s,)
    quality: Floats  # (s,) drives the polarity of reviews
    region_ids: list[str]
    warehouse: Ints  # (r,)
    capacity: Ints  # (r,)
    shipping_cents: Ints  # (r,)
    base: Floats  # (s, r) mean units a day at the start
    level: Floats  # (s, r, d + LOOK_AHEAD) mean units of a plain weekday, also for days after the history
    daily: Floats  # (s, r, d) mean units a day without any sale
    users: int

    @property
    def elasticity(self) -> Floats:
        """Own-price elasticity of sale demand (positive number), shape (s,)."""
        return np.array([c.elasticity for c in CATEGORIES])[self.category]

    @property
    def delay(self) -> Floats:
        """Days of delivery beyond the usual, shape (r,)."""
        return delays(self.warehouse, self.size.regime.slow_days)

    def cost_at(self, moment_us: int) -> Ints:
        """Unit cost at a moment, cents, shape (s,); before and after the history as at its ends."""
        contract = (moment_us - self.size.start_us) // (COST_DAYS * DAY_US)
        return np.asarray(self.contract_cents[:, int(np.clip(contract, 0, self.contract_cents.shape[1] - 1))])

    def curve(self, category: int, start_hour: int, hours: int) -> Floats:
        """Share of a sale's demand in each hour of the sale, shape (hours,), sums to 1."""
        raw = self._raw_curve(category, start_hour, hours)
        return np.asarray(raw / raw.sum(), dtype=np.float64)

    def _raw_curve(self, category: int, start_hour: int, hours: int) -> Floats:
        kind = CATEGORIES[category]
        hour = np.arange(hours)
        return np.asarray(
            DIURNAL[(start_hour + hour) % 24] * (1.0 + kind.rush * np.exp(-hour / kind.rush_hours)),
            dtype=np.float64,
        )

    def timing_factor(self, category: int, start_hour: int, hours: int) -> float:
        """Demand of a sale with this start hour and duration, over that of 24 hours from 12:00 UTC."""
        reference = self._raw_curve(category, 12, 24).sum()
        return float(self._raw_curve(category, start_hour, hours).sum() / reference)

    def level_at(self, moment_us: int) -> Floats:
        """Mean units of a plain weekday on the day of a moment, shape (s, r)."""
        return np.asarray(self.level[:, :, (moment_us - self.size.start_us) // DAY_US], dtype=np.float64)

    def sale_mean(
        self, sku: Ints, region: Ints, ratio: Floats, promo: Ints, start_us: int | Ints, hours: int, shock: Floats,
    ) -> Floats:  # fmt: skip
        """True mean demand in units of all offers of one sale, shown together, shape (offers,).

        Args:
            sku, region: indices of each offer.
            ratio: offer price over list price.
            promo: index into PROMO_TYPES.
            start_us, hours: start (microseconds, one or one an offer) and duration of the sale.
            shock: log shock of each offer, announced by texts.
        """
        if self.size.regime.has_classes:
            return np.asarray(self.class_means(sku, region, ratio, promo, start_us, hours, shock).sum(axis=0))
        if self.size.regime.baskets:
            own, _, rule, passing = self.basket_means(sku, region, ratio, promo, start_us, hours, shock)
            return np.asarray(own + rule.added(own * passing / SALE_MEAN_QUANTITY))
        return self._competing(sku, region, ratio, promo, start_us, hours, shock)

    def class_means(
        self, sku: Ints, region: Ints, ratio: Floats, promo: Ints, start_us: int | Ints, hours: int, shock: Floats,
    ) -> Floats:  # fmt: skip
        """As `sale_mean`, by class of customers, shape (classes, offers), where the regime's customers have classes."""
        start = np.broadcast_to(np.asarray(start_us, dtype=np.int64), sku.shape)
        listed = self._usual(sku, region, np.ones(len(sku)), promo, start, hours) * np.exp(shock)
        means = np.zeros((len(CLASS_SHARES), len(sku)))
        for r in np.unique(region):
            here = np.flatnonzero(region == r)
            market = self.users / len(self.region_ids)
            means[:, here] = mixed_logit_means(listed[here], ratio[here], self.elasticity[sku[here]], market)
        return means

    def basket_means(
        self, sku: Ints, region: Ints, ratio: Floats, promo: Ints, start_us: int | Ints, hours: int, shock: Floats,
    ) -> tuple[Floats, Floats, Rule, Floats]:  # fmt: skip
        """As `sale_mean` where full reductions hold for baskets: what customers come for, before what they add to it.

        Returns:
            Own mean demand in units (offers,); share of all an offer's units, added ones too, that are sold at the
            reduced price (offers,); the rule; share of own buyers who get the reduction (offers,).
        """
        rule, elasticity = basket_rule(region, promo, self.list_cents[sku]), self.elasticity[sku]
        seen, passing = rule.seen_ratio(ratio, elasticity), rule.passing(ratio, elasticity)
        own = self._competing(sku, region, seen, promo, start_us, hours, shock)
        added = rule.added(own * passing / SALE_MEAN_QUANTITY)
        return own, (own * passing + added) / np.maximum(own + added, 1e-300), rule, passing

    def _competing(
        self, sku: Ints, region: Ints, ratio: Floats, promo: Ints, start_us: int | Ints, hours: int, shock: Floats,
    ) -> Floats:  # fmt: skip
        """Mean demand of offers at the price ratios that customers see, beside one another."""
        start = np.broadcast_to(np.asarray(start_us, dtype=np.int64), sku.shape)
        usual, surge = self._usual(sku, region, ratio, promo, start, hours), np.exp(shock)
        competition = self._competition(sku, region, ratio, usual * surge)
        return np.asarray(usual * competition * surge, dtype=np.float64)

    def _usual(self, sku: Ints, region: Ints, ratio: Floats, promo: Ints, start: Ints, hours: int) -> Floats:
        """Mean demand of offers without a shock, as if each were the only one."""
        opening, which = np.unique(start // HOUR_US % 24, return_inverse=True)
        timing = np.array([[self.timing_factor(c, int(h), hours) for c in range(len(CATEGORIES))] for h in opening])
        lift = np.array([c.lift for c in CATEGORIES])
        kind = self.category[sku]
        price = ratio ** (-self.elasticity[sku])
        level = self.level[sku, region, (start - self.size.start_us) // DAY_US] * patience(self.delay)[region]
        return np.asarray(level * lift[kind] * timing[which, kind] * price * PROMO_EFFECT[promo], dtype=np.float64)

    def _competition(self, sku: Ints, region: Ints, ratio: Floats, alone: Floats) -> Floats:
        """Multiplier on each offer caused by the others of its region, as the regime's customers choose."""
        factor = np.ones(len(sku))
        for r in np.unique(region):
            here = np.flatnonzero(region == r)
            category = self.category[sku[here]]
            if self.size.regime.choice == "nested_logit":
                market = self.users / len(self.region_ids)
                factor[here] = nested_logit_factors(alone[here], category, market)
            elif self.size.regime.choice == "ranked_lists":
                factor[here] = ranked_list_factors(alone[here], ratio[here], category)
            else:
                factor[here] = competition_factors(ratio[here], category)
        return factor


def build_world(size: Size) -> World:
    """Draw products, regions and the baseline demand of one simulated shop."""
    rng = generator(size.seed, "products")
    n = size.skus
    category = np.arange(n) % len(CATEGORIES)
    titles, list_cents = _name_and_price(rng, category)
    cost = np.round(list_cents * rng.uniform(0.42, 0.56, n), -1).astype(np.int64)
    launched = size.start_us - (rng.integers(30, 700, n) * DAY_US)
    regime = size.regime
    newcomers = rng.permutation(n)[: max(1, int(n * regime.newcomers + 1e-9))]  # by default early enough for a history
    between = (max(size.days - 60, 0), size.days - 29) if regime.recent else (size.days // 8, size.days // 3)
    launched[newcomers] = size.start_us + rng.integers(*between, len(newcomers)) * DAY_US
    r = size.regions
    weight = np.sort(generator(size.seed, "regions").dirichlet(np.full(r, 12.0)))[::-1]
    base = 13.0 * rng.lognormal(-0.08, 0.4, n)[:, None] * weight[None, :] * rng.lognormal(-0.03, 0.25, (n, r))
    growth = rng.normal(0.1, 0.2, n)
    world_base = np.asarray(base, dtype=np.float64)
    level = _level(size, category.astype(np.int64), world_base, growth)
    return World(
        size=size,
        sku_ids=[f"sku-{i + 1:03d}" for i in range(n)],
        titles=titles,
        category=category.astype(np.int64),
        brand=rng.integers(0, len(BRANDS), n),
        list_cents=list_cents,
        cost_cents=cost,
        contract_cents=cost_paths(generator(size.seed, "costs"), cost, size.days, regime.cost_swing),
        launched_us=launched.astype(np.int64),
        quality=rng.normal(0.0, 0.6, n),
        region_ids=list(REGIONS[:r]),
        # The last region is served from the first one's warehouse: a contaminated donor for scoring.
        warehouse=np.array([i if i < r - 1 or r < 3 else 0 for i in range(r)]),
        capacity=np.round(weight * n * 60, -1).astype(np.int64),
        shipping_cents=np.round(generator(size.seed, "shipping").uniform(150, 600, r), -1).astype(np.int64),
        base=world_base,
        level=level,
        daily=_daily(size, category.astype(np.int64), level, launched) * _is_open(size)[None],
        users=max(200, 15 * n * r * 4),
    )


def _name_and_price(rng: np.random.Generator, category: Ints) -> tuple[list[str], Ints]:
    titles, cents = [], []
    for i, c in enumerate(category):
        kind = CATEGORIES[int(c)]
        product = kind.products[(i // len(CATEGORIES)) % len(kind.products)]
        titles.append(f"{product} {chr(65 + i % 26)}{i + 1}")
        cents.append(round(float(np.exp(rng.uniform(*np.log(kind.price))))) * 100 - 10)
    return titles, np.array(cents, dtype=np.int64)


def _level(size: Size, category: Ints, base: Floats, growth: Floats) -> Floats:
    """Mean units of a plain weekday: trend x factors common to the shop, to a region's category, to the cell."""
    rng = generator(size.seed, "baseline")
    days = np.arange(size.days + LOOK_AHEAD)
    common = _autoregressive(rng, (base.shape[1], len(CATEGORIES)), len(days), 0.9, 0.04)[:, category, :]
    shop = _autoregressive(rng, (1, 1), len(days), 0.95, 0.03)
    own = _autoregressive(rng, base.shape, len(days), 0.7, 0.05)
    trend = np.exp(growth[:, None] * days[None, :] / size.days)
    mean = base[:, :, None] * trend[:, None, :] * np.exp(np.swapaxes(common, 0, 1) + shop + own)
    return np.asarray(mean, dtype=np.float64)


def _daily(size: Size, category: Ints, level: Floats, launched: Ints) -> Floats:
    """Mean units a day without any sale: level x weekday, from the launch on."""
    days = np.arange(size.days)
    weekday = (days + size.start_us // DAY_US + 3) % 7  # the epoch was a Thursday
    weekend = np.array([c.weekend for c in CATEGORIES])[category]
    week = np.where(weekday[None, :] >= 5, weekend[:, None], 1.0)
    alive = size.start_us + days[None, :] * DAY_US >= launched[:, None]
    return np.asarray(level[:, :, : size.days] * (week * alive)[:, None, :], dtype=np.float64)


def _is_open(size: Size) -> Floats:
    """1 on the days on which a region sells, 0 before it opened, shape (r, d)."""
    is_open = np.ones((size.regions, size.days))
    if size.regime.new_region_days:
        is_open[-1, : size.days - size.regime.new_region_days] = 0.0
    return is_open


def _autoregressive(rng: np.random.Generator, shape: tuple[int, ...], days: int, keep: float, sd: float) -> Floats:
    """AR(1) paths in log units, shape (*shape, days)."""
    noise = rng.normal(0.0, sd, (*shape, days))
    path = np.empty_like(noise)
    path[..., 0] = noise[..., 0] / np.sqrt(1 - keep**2)
    for d in range(1, days):
        path[..., d] = keep * path[..., d - 1] + noise[..., d]
    return path
