"""Contaminated donors: what each would do to the effect if it were left in, and that it is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ml.scoring.contest import REGRESSION, STRUCTURAL, SYNTHETIC
from ml.scoring.donors import donor_rows
from ml.scoring.panel import build_panel
from ml.scoring.window import window_of
from tests.ml.scoring.planted import FIRST, Base, daily_frame, plain_base, plant

DAY, LIFT = 90, 1.0


def _twins(seed: int) -> Base:
    """Series that follow their own SKU's path in every region, and a path of their half of the SKUs: `a` or `b`."""
    rng = np.random.default_rng(seed)
    skus, regions = [f"s{i:02d}" for i in range(12)], [f"r{i}" for i in range(4)]
    path = np.cumsum(rng.normal(0, 0.05, (12, 1, 110)), axis=2) + np.repeat(
        np.cumsum(rng.normal(0, 0.08, (2, 1, 110)), axis=2), 6, axis=0
    )
    units = rng.poisson(60.0 * np.exp(np.broadcast_to(path, (12, 4, 110))))
    half = ["a"] * 6 + ["b"] * 6
    products = pd.DataFrame({"sku_id": skus, "brand": skus, "category": skus, "half": half})
    return Base(daily_frame(units.astype(float), skus, regions), products, {r: f"w{r}" for r in regions})


def _scaled(base: Base, rows: pd.Series, factor: float, days: range) -> Base:
    frame = base.daily.copy()
    hit = rows & frame.sales_date.isin([FIRST + pd.Timedelta(days=d) for d in days])
    frame.loc[hit, "units"] = np.round(frame.loc[hit, "units"] * factor)
    return replace(base, daily=frame)


def _stock_pool(base: Base) -> tuple[Base, Base]:
    """Regions r1 and r2 are fed by the warehouse of r0, whose sale takes the SKUs' stock."""
    frame = base.daily
    starved = frame.sku_id.isin(["s00", "s01"]) & frame.region_id.isin(["r1", "r2"])
    hurt = _scaled(base, starved, 0.3, range(DAY, DAY + 1))
    return hurt, replace(hurt, warehouses={**base.warehouses, "r1": "wr0", "r2": "wr0"})


def _turned_away(base: Base) -> tuple[Base, Base]:
    """The offers sold out, and whom they turned away bought the SKUs in the other regions."""
    frame = base.daily
    spilled = frame.sku_id.isin(["s00", "s01"]) & (frame.region_id != "r0")
    hurt = _scaled(base, spilled, 1.8, range(DAY, DAY + 1))
    return hurt, hurt


def _rivals(base: Base) -> tuple[Base, Base]:
    """SKUs of the sale's category lose their customers to it in its region."""
    frame = base.daily
    lost = frame.sku_id.isin([f"s{i:02d}" for i in range(2, 6)]) & (frame.region_id == "r0")
    hurt = _scaled(base, lost, 0.0, range(DAY, DAY + 1))
    return hurt, replace(hurt, products=base.products.assign(category=base.products.half))


def _halo(base: Base) -> tuple[Base, Base]:
    """SKUs of the sale's brand gain from it in its region."""
    frame = base.daily
    gained = frame.sku_id.isin([f"s{i:02d}" for i in range(2, 6)]) & (frame.region_id == "r0")
    hurt = _scaled(base, gained, 1.8, range(DAY, DAY + 1))
    return hurt, replace(hurt, products=base.products.assign(brand=base.products.half))


def _own_sale(base: Base) -> tuple[Base, Base]:
    """Half of the donors are in the dip of a sale of their own that ended the day before."""
    frame = base.daily
    others = frame.sku_id.isin([f"s{i:02d}" for i in range(2, 8)])
    hurt = _scaled(base, others, 0.4, range(DAY, DAY + 1))
    flagged = hurt.daily.assign(in_campaign=others & (frame.sales_date == FIRST + pd.Timedelta(days=DAY - 1)))
    return hurt, replace(hurt, daily=flagged)


KINDS = [_stock_pool, _turned_away, _rivals, _halo, _own_sale]


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__.strip("_"))
def test_a_contaminated_donor_would_bias_the_effect_and_is_left_out(kind) -> None:  # type: ignore[no-untyped-def]
    """The same sales with the contamination unknown to the scorer and known to it; what was added is known to us."""
    bias = {"unknown": [], "known": []}
    for seed in range(3):
        unknown, known = kind(_twins(seed))
        for name, base in (("unknown", unknown), ("known", known)):
            sold_out = kind is _turned_away and name == "known"
            sale = plant(base, DAY, 1, ["s00", "s01"], ["r0"], lift=LIFT, sold_out=sold_out)
            bias[name].append(float(sale.effects.cells.effect.sum() / sale.added.sum()) - 1.0)
    spoilt, clean = np.mean(bias["unknown"]), np.mean(bias["known"])
    assert abs(spoilt) > 0.05
    assert abs(clean) < 0.5 * abs(spoilt)


def test_donors_by_name() -> None:
    """Which series are left out, and that nothing else is."""
    base = plain_base(0, skus=8)
    products = base.products.assign(
        category=["x", "x", "y", "z", "z", "z", "z", "z"], brand=["p", "q", "p", "t", "t", "t", "t", "t"]
    )
    frame = base.daily.copy()
    frame["in_campaign"] = (frame.sku_id == "s07") & (frame.sales_date == FIRST + pd.Timedelta(days=DAY - 7))
    offers = pd.DataFrame({"sku_id": ["s00"], "region_id": ["r0"], "is_sold_out": [False]})
    start = FIRST.tz_localize("UTC") + pd.Timedelta(days=DAY)
    hit = (frame.sku_id == "s00") & (frame.region_id == "r0") & (frame.sales_date == start.tz_localize(None))
    frame.loc[hit, "in_campaign"] = True
    panel = build_panel(frame)
    window = window_of(panel, start, start + pd.Timedelta(days=1))
    places = {"r0": "w0", "r1": "w0", "r2": "w2"}  # r3 is not named: it has a warehouse of its own

    def left_out(sold_out: bool) -> set[tuple[str, str]]:
        rows = donor_rows(panel, window, offers.assign(is_sold_out=sold_out), products, places)
        return set(panel.keys) - set(panel.keys[rows])

    tied = {("s00", "r0"), ("s00", "r1"), ("s01", "r0"), ("s02", "r0"), *[("s07", f"r{k}") for k in range(4)]}
    assert left_out(False) == tied
    assert left_out(True) == tied | {("s00", "r2"), ("s00", "r3")}


def test_what_exclusion_leaves_decides_which_methods_may_score() -> None:
    base = plain_base(1)
    for untied, allowed in (
        (12, {SYNTHETIC, REGRESSION, STRUCTURAL}),
        (3, {REGRESSION, STRUCTURAL}),
        (0, {STRUCTURAL}),
    ):
        kind = ["one"] * (12 - untied) + [f"own{i}" for i in range(untied)]
        kind[0] = "one"
        sale = plant(replace(base, products=base.products.assign(category=kind)), DAY, 1, ["s00"], lift=4.0)
        found = sale.effects.cells
        assert {m.removesuffix("_ridge") for m in found.method} <= allowed
        assert found.scored.all()
        assert (found.p <= 0.05).all()
        assert np.isfinite(found.half).all()


def test_outside_skus_are_scored_as_halo_or_rivals() -> None:
    """Planted: the brand's other SKUs sell 60 % more, the category's 50 % less, in the sale's region alone."""
    base = _twins(3)
    kinds = base.products.assign(
        brand=["p"] * 4 + [f"b{i}" for i in range(8)], category=[f"c{i}" for i in range(4)] + ["c0"] * 4 + ["d"] * 4
    )
    frame = base.daily
    usual = frame[frame.sales_date < FIRST + pd.Timedelta(days=DAY)].groupby(["sku_id", "region_id"]).units
    here = frame.region_id == "r0"
    hurt = _scaled(base, here & frame.sku_id.isin(["s01", "s02", "s03"]), 1.6, range(DAY, DAY + 1))
    hurt = _scaled(hurt, here & frame.sku_id.isin(["s04", "s05", "s06", "s07"]), 0.5, range(DAY, DAY + 1))
    sale = plant(replace(hurt, products=kinds), DAY, 1, ["s00"], ["r0"], lift=2.0)
    assert [tie.halo for tie in sale.effects.ties] == [True, False]
    planted = [
        float((usual.apply(lambda u: u.iloc[-7:].mean()).loc[[(s, "r0") for s in skus]] * share).sum())
        for skus, share in ((["s01", "s02", "s03"], 0.6), (["s04", "s05", "s06", "s07"], -0.5))
    ]
    assert sale.effects.around.effect == pytest.approx(planted, rel=0.35)
    assert (sale.effects.around.p <= 0.05).all()
