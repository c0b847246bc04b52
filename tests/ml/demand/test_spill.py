"""What sold-out rivals send: learnt where it was planted, nothing where it was not, in shops of every day."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from marketplace.marts import build_marts
from marketplace.regimes import REGIMES, USUAL, Regime
from marketplace.shop import build_shop
from marketplace.world import Size
from ml.demand.spill import fit_spill
from ml.demand.unconstrain import CELL, first_choices, unconstrain

HOURS, SALES = 12, 300


def _sales(share: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Simulated pairs of rivals, the first of which runs out in the middle of the sale."""
    rng = np.random.default_rng(seed)
    curve = np.exp(-np.arange(HOURS) / 5.0)
    curve = curve / curve.sum()
    mean = rng.uniform(20.0, 60.0, (SALES, 2))
    until = np.column_stack([rng.integers(2, 10, SALES), np.full(SALES, HOURS)])
    exposure = (np.arange(HOURS) < until[..., None]).astype(float)
    turned = (mean[:, 0, None] * curve) * (1.0 - exposure[:, 0])
    rate = mean[..., None] * curve * exposure
    rate[:, 1] += share * turned
    units = rng.poisson(rate).astype(float).reshape(-1, HOURS)
    cells = len(units)
    group = np.repeat(np.arange(SALES), 2)
    return units, exposure.reshape(-1, HOURS), np.zeros(cells, dtype=bool), np.tile(curve, (cells, 1)), group


@pytest.mark.parametrize("share", [0.25, 0.6])
def test_a_planted_share_is_found(share: float) -> None:
    found = fit_spill(*_sales(share, 1))
    assert found.share == pytest.approx(share, abs=0.08)
    assert found.inflow.min() == 1.0 and found.inflow.max() > 1.0 + share / 3


def test_nothing_is_found_where_nothing_was_planted() -> None:
    shares = [fit_spill(*_sales(0.0, seed)).share for seed in range(20)]
    assert sum(share > 0 for share in shares) <= 1


def test_too_few_purchases_teach_nothing() -> None:
    units, *rest = _sales(0.9, 1)
    assert fit_spill(units * (np.arange(len(units)) < 8)[:, None], *rest).share == 0.0


def _errors(regime: Regime) -> tuple[float, float, pd.DataFrame]:
    """Bias of all cells' demand, raw of spill and corrected, against customers' first choices."""
    built = build_shop(Size(seed=1, regime=regime))
    marts = build_marts(built)
    cells = marts["performance"].merge(marts["products"][["sku_id", "category"]])
    found = unconstrain(cells, marts["hours"]).merge(built.truth["campaign_cells"].to_pandas(), on=CELL)
    wanted = 0.98 * found["demanded_units"].sum()  # two lines in a hundred are cancelled
    return found["demand"].sum() / wanted - 1.0, first_choices(found).sum() / wanted - 1.0, found


def test_a_shop_whose_customers_turn_to_rivals() -> None:
    raw, corrected, found = _errors(REGIMES["spill"])
    assert raw > 0.05 and abs(corrected) < 0.05
    kept = found[~found["is_censored"]]
    assert (kept["demand"] == kept["units"]).all() and kept["spilled_units"].sum() > 0
    assert (found["demand"] >= found["units"] - 1e-9).all()


def test_a_shop_whose_customers_do_not() -> None:
    raw, corrected, found = _errors(USUAL)
    assert raw == corrected and not found["spilled_units"].any()
