"""Planting sales into daily panels: what is added is known, places are free of sales, shares come with intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.panels import PAST_DAYS, Base, free_skus, plant, summary, trial, weekly
from tests.ml.scoring.planted import plain_base

FIRST = pd.Timestamp("2026-01-01")


@pytest.fixture(scope="module")
def base() -> Base:
    """SIMULATED Poisson counts around a common factor."""
    plain = plain_base(0, skus=14, days=150)
    return Base(plain.daily, plain.products, plain.warehouses)


def test_a_planted_sale_adds_what_it_says(base: Base) -> None:
    start, skus = FIRST + pd.Timedelta(days=100), ["s00", "s03"]
    sale = plant(base, start, 2, skus, 2.0)
    mean = base.daily[base.daily.sku_id.isin(skus)].groupby(["sku_id", "region_id"]).units.mean()
    assert sale.added == pytest.approx(2 * np.round(2.0 * mean.to_numpy()))
    nothing = plant(base, start, 2, skus, 0.0)
    moved = sale.effects.cells.effect - nothing.effects.cells.effect
    assert moved == pytest.approx(sale.added)


def test_skus_near_a_sale_of_their_own_are_not_used(base: Base) -> None:
    daily = base.daily.copy()
    sold = (daily.sku_id == "s02") & (daily.sales_date == FIRST + pd.Timedelta(days=105))
    daily.loc[sold, "in_campaign"] = True
    young = (daily.sku_id == "s04") & (daily.sales_date < FIRST + pd.Timedelta(days=100 - PAST_DAYS + 1))
    marked = Base(daily[~young], base.products, base.warehouses)
    free = free_skus(marked, FIRST + pd.Timedelta(days=100), 2)
    assert "s02" not in free and "s04" not in free and len(free) == 12


def test_a_trial_of_clean_weeks_raises_few_alarms_and_finds_a_clear_lift(base: Base) -> None:
    placebo, lifted = trial(base, 0.0, 6, 1), trial(base, 3.0, 6, 1)
    assert placebo["cells"]["n"] == 6 * 8 * 4 and placebo["cells"]["share"] < 0.12
    assert lifted["cells"]["share"] > 0.8 and lifted["found_of_added"] == pytest.approx(1.0, abs=0.15)
    assert lifted["sales"]["share"] == 1.0


def test_summaries_count_by_hand() -> None:
    cells = pd.DataFrame({"p": [0.01, 0.5, np.nan, 0.04], "effect": [10.0, 1.0, 3.0, 4.0], "half": [3.0, 3.0, np.nan, 3.0],
                          "added": [8.0, 0.0, 0.0, 8.0], "method": ["a", "a", "b", "a"]})  # fmt: skip
    found = summary(cells, pd.DataFrame({"p": [0.01, 0.2]}), 1.0)
    assert found["cells"]["share"] == pytest.approx(2 / 3, abs=1e-4) and found["unscored_cells"] == 1
    assert found["found_of_added"] == pytest.approx(15 / 16, abs=1e-4)
    assert found["bounds_held"]["share"] == pytest.approx(2 / 3, abs=1e-4)  # the last misses by 4 of 3
    assert found["of_clear_cells"]["n"] == 2 and found["sales"]["share"] == 0.5


def test_weeks_hold_whole_weeks_and_a_price_without_sales_is_the_last() -> None:
    days = pd.date_range("2026-01-05", periods=17)  # a Monday
    daily = pd.DataFrame({"sku_id": "a", "region_id": "x", "sales_date": days, "in_campaign": False,
                          "units": [2.0] * 7 + [0.0] * 7 + [9.0] * 3, "revenue": [6.0] * 7 + [0.0] * 10})  # fmt: skip
    panel = weekly(daily, pd.Series({"a": 4.0}))
    assert panel.units.tolist() == [14.0, 0.0] and panel.price.tolist() == [3.0, 3.0]
    assert panel.list_price.tolist() == [4.0, 4.0] and set(panel.promo_type) == {"none"}
