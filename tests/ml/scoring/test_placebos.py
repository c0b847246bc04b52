"""Placebo promotions and planted lifts in base weeks of simulated shops, for every method."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ml.scoring.contest import METHODS
from ml.scoring.sums import Sums
from ml.scoring.uncertainty import joint_widening, two_sided_p
from tests.ml.scoring.planted import Sale, plain_base, plant, shop_base

MOST_FALSE = 0.06  # at the 5 % level


def _sales(lift: float, seeds: tuple[int, ...], days: range) -> list[Sale]:
    """Sales of 8 random SKUs in two to four regions, 1, 2 or 7 days long, with few clean donors and with many."""
    found = []
    for seed in seeds:
        rng, shop = np.random.default_rng(seed), shop_base(seed)
        old = shop.daily.groupby("sku_id").sales_date.min() == shop.daily.sales_date.min()
        for k, day in enumerate(days):
            skus = sorted(rng.choice(old.index[old], 8, replace=False))
            regions = sorted(shop.warehouses)[: (4, 3, 2)[k % 3]]
            for base in (shop, shop.untied()):
                found.append(plant(base, day, (1, 2, 7)[k % 3], skus, regions, lift=lift))
    return found


@pytest.fixture(scope="module")
def placebos() -> list[Sale]:
    return _sales(0.0, (101, 102, 103), range(70, 230, 36))


def _not_above(false: np.ndarray, most: float) -> bool:
    """Whether the share of false alarms does not lie above `most` by more than chance (binomial, 5 %)."""
    return bool(stats.binom.sf(int(false.sum()) - 1, len(false), most) > 0.05)


def test_placebo_promotions_are_rarely_called_effects(placebos: list[Sale]) -> None:
    cells = pd.DataFrame(
        {
            "false": np.concatenate([s.effects.cells.p <= 0.05 for s in placebos]),
            "method": np.concatenate([s.effects.cells.method for s in placebos]),
        }
    )
    cells["method"] = cells.method.str.removesuffix("_ridge")
    assert cells.false.mean() <= MOST_FALSE
    assert set(cells.method) == set(METHODS)
    for name, part in cells.groupby("method"):
        assert len(part) > 25, name
        assert _not_above(part.false.to_numpy(), MOST_FALSE), name


def test_sums_of_placebo_cells_are_rarely_called_effects(placebos: list[Sale]) -> None:
    """SKUs over their regions, and whole sales, whose cells share the shop's and their category's movements."""
    false: dict[str, list[bool]] = {"sku": [], "campaign": []}
    for sale in placebos:
        n = len(sale.offers)
        spill = np.zeros((n, len(sale.effects.ties)))
        sums = Sums(sale.effects, {"net_margin": np.ones(n)}, spill, sale.length)
        groups = [list(g) for g in sale.offers.groupby("sku_id").groups.values()]
        false["sku"] += [sums.of(group).p <= 0.05 for group in groups]
        false["campaign"].append(sums.of(list(range(n))).p <= 0.05)
    assert np.mean(false["sku"]) <= MOST_FALSE
    assert _not_above(np.array(false["campaign"]), MOST_FALSE)


def test_planted_lifts_are_recovered_within_their_bounds() -> None:
    """Three times the usual sales on each day: what was added is known to the unit."""
    effect, added, half, p = [], [], [], []
    for sale in _sales(2.0, (104,), range(70, 230, 27)):
        cells = sale.effects.cells
        effect, added = [*effect, *cells.effect], [*added, *sale.added]
        half, p = [*half, *cells.half], [*p, *cells.p]
    got, truth, reach = np.array(effect), np.array(added), np.array(half)
    assert got.sum() == pytest.approx(truth.sum(), rel=0.06)
    assert np.mean(np.abs(got - truth) <= reach) > 0.93
    seen = np.array(p) <= 0.05
    assert seen[truth > 2.0 * reach].mean() > 0.95  # an effect twice the smallest detectable one is hardly missed
    assert seen[truth < reach].mean() < 0.7  # and one below it is, more often than not


def test_series_of_few_units_do_not_cry_wolf() -> None:
    """One unit in five days: the bell curve alone calls a single unit an effect, in every sixth window."""
    rng = np.random.default_rng(11)
    for mean in (0.1, 0.17, 0.5, 1.0):
        units = rng.poisson(mean, 4000)
        p = two_sided_p(units - mean, np.full(4000, mean), np.full(4000, np.sqrt(mean)), np.full(4000, 40.0))
        assert np.mean(p <= 0.05) <= 0.055


def test_cells_that_move_together_widen_their_sum() -> None:
    rng = np.random.default_rng(12)
    own, shared = rng.normal(0, 1, (30, 21)), rng.normal(0, 1, 21)
    assert joint_widening(own, np.ones(30), 1) == pytest.approx(1.0, abs=0.35)
    together = joint_widening(own + shared, np.full(30, np.sqrt(2.0)), 1)
    assert together == pytest.approx(np.sqrt((30 + 900) / 60), rel=0.35)
    assert joint_widening(np.full((3, 21), np.nan), np.ones(3), 1) == 1.0


def test_other_sales_in_the_past_do_not_move_the_counterfactual() -> None:
    """A past sale of a donor and of the treated series is masked: its spike is no news about usual days."""
    base = plain_base(3)
    spiked = base.daily.copy()
    old = (spiked.sales_date == "2026-03-20") & spiked.sku_id.isin(["s01", "s02"])
    spiked.loc[old, "units"] *= 20
    spiked.loc[old, "in_campaign"] = True
    plain = plant(base, 99, 1, ["s01"], lift=3.0)
    masked = plant(type(base)(spiked, base.products, base.warehouses), 99, 1, ["s01"], lift=3.0)
    assert masked.effects.cells.counterfactual == pytest.approx(plain.effects.cells.counterfactual, rel=0.15)


def test_too_short_a_past_is_not_scored() -> None:
    found = plant(plain_base(0, days=30), 12, 1, ["s01"], lift=3.0).effects.cells
    assert set(found.method) == {"recent_mean"}
    assert np.isnan(found.p).all()
    assert np.isfinite(found.counterfactual).all()
    assert set(plant(plain_base(0, days=30), 17, 1, ["s01"]).effects.cells.method) != {"recent_mean"}
