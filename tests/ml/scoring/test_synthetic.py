"""Synthetic control: weights against an independent solver, placebo promotions, planted lifts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from ml.scoring.campaign import cell_effects, window_of
from ml.scoring.panel import Panel, build_panel
from ml.scoring.synthetic import SPREAD, fit, placebo_p, simplex


def test_simplex_projection_is_the_nearest_point() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 1, (20, 5))
    allowed = rng.random((20, 5)) < 0.8
    allowed[:, 0] = True
    got = simplex(rows, allowed)
    assert got.sum(axis=1) == pytest.approx(1.0)
    assert (got >= 0).all()
    assert (got[~allowed] == 0).all()
    for row, mask, point in zip(rows, allowed, got, strict=True):
        free = np.flatnonzero(mask)
        best = minimize(
            lambda w, r=row, m=free: ((w - r[m]) ** 2).sum(),
            np.full(len(free), 1 / len(free)),
            bounds=[(0, 1)] * len(free),
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        )
        assert point[free] == pytest.approx(best.x, abs=1e-3)


def test_weights_agree_with_an_independent_solver() -> None:
    rng = np.random.default_rng(1)
    donors = rng.gamma(5.0, 0.2, (6, 40))
    target = 0.6 * donors[1] + 0.4 * donors[4] + rng.normal(0, 0.01, 40)
    before = np.arange(40) < 30
    ours = fit(target[None], donors, before, np.ones((1, 6), dtype=bool)).weights[0]
    gram = donors[:, before] @ donors[:, before].T
    zeta = SPREAD * np.trace(gram) / 36

    def loss(w: np.ndarray) -> float:
        return float(((target[before] - w @ donors[:, before]) ** 2).sum() + zeta * (w**2).sum())

    best = minimize(
        loss,
        np.full(6, 1 / 6),
        bounds=[(0, 1)] * 6,
        tol=1e-12,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
    )
    assert loss(ours) <= best.fun + 1e-6
    assert ours[[1, 4]].min() > ours[[0, 2, 3, 5]].max()


def test_placebo_p_counts() -> None:
    assert placebo_p(3.0, np.array([1.0, -2.0, -4.0, 0.5])) == pytest.approx(2 / 5)
    assert placebo_p(9.0, np.zeros(19)) == pytest.approx(1 / 20)


def _panel(seed: int, skus: int = 12, regions: int = 4, days: int = 120) -> pd.DataFrame:
    """Poisson counts around series levels and a factor common to all."""
    rng = np.random.default_rng(seed)
    common = np.exp(np.cumsum(rng.normal(0, 0.03, days)))
    level = rng.uniform(2, 9, (skus, regions, 1)) * common
    units = rng.poisson(level)
    index = pd.MultiIndex.from_product(
        [
            [f"s{i:02d}" for i in range(skus)],
            [f"r{i}" for i in range(regions)],
            pd.date_range("2026-01-01", periods=days),
        ],
        names=["sku_id", "region_id", "sales_date"],
    )
    return pd.DataFrame(
        {"units": units.ravel(), "revenue": units.ravel() * 10.0, "in_campaign": False}, index=index
    ).reset_index()


def _sale(daily: pd.DataFrame, day: str, skus: list[str], factor: float) -> tuple[Panel, pd.DataFrame, float]:
    """Plant a sale: `factor` times the units of some SKUs on one day. Returns panel, offers and units planted."""
    frame = daily.copy()
    hit = (frame.sales_date == day) & frame.sku_id.isin(skus)
    before = frame.loc[hit, "units"].sum()
    frame.loc[hit, "units"] = np.round(frame.loc[hit, "units"] * factor).astype(int)
    frame.loc[hit, "in_campaign"] = True
    offers = frame.loc[hit, ["sku_id", "region_id"]].reset_index(drop=True)
    return build_panel(frame), offers, float(frame.loc[hit, "units"].sum() - before)


def _effects(panel: Panel, offers: pd.DataFrame, day: str, warehouses: dict[str, str] | None = None):  # type: ignore[no-untyped-def]
    start = pd.Timestamp(day, tz="UTC")
    window = window_of(panel, start, start + pd.Timedelta(days=1))
    return cell_effects(panel, offers, window, warehouses or {f"r{i}": f"w{i}" for i in range(4)})


def test_placebo_promotions_are_rarely_called_effects() -> None:
    """Sales that did nothing: at the 5 % level at most about 6 % may look like something."""
    p_values = []
    for seed in range(6):
        daily = _panel(seed)
        for day in ("2026-03-01", "2026-03-20", "2026-04-08"):
            panel, offers, _ = _sale(daily, day, ["s00", "s04", "s07"], 1.0)
            found = _effects(panel, offers, day)
            p_values += [placebo_p(e, found.placebos * s) for e, s in zip(found.effect, found.scale, strict=True)]
    rate = np.mean(np.array(p_values) <= 0.05)
    assert len(p_values) == 6 * 3 * 12
    assert rate <= 0.06


def test_planted_lifts_are_recovered_with_honest_bounds() -> None:
    truth, got, inside = 0.0, 0.0, []
    for seed in range(5):
        day = "2026-03-15"
        panel, offers, planted = _sale(_panel(seed), day, ["s01", "s05"], 5.0)
        found = _effects(panel, offers, day)
        truth, got = truth + planted, got + float(found.effect.sum())
        half = np.quantile(np.abs(found.placebos), 0.95) * found.scale
        each = panel.units[:, panel.days == day].ravel()
        rows = panel.keys.get_indexer(pd.MultiIndex.from_frame(offers))
        real = each[rows] - each[rows] / 5.0
        inside += list(np.abs(found.effect - real) <= half)
        assert all(
            placebo_p(e, found.placebos * s) <= 0.05
            for e, s in zip(found.effect, found.scale, strict=True)
            if e > 4 * s
        )
    assert got == pytest.approx(truth, rel=0.06)
    assert np.mean(inside) > 0.9


def test_regions_of_the_same_warehouse_are_no_donors() -> None:
    daily = _panel(0)
    frame = daily.copy()
    hit = (frame.sales_date == "2026-03-15") & (frame.sku_id == "s01") & (frame.region_id == "r0")
    frame.loc[hit, "in_campaign"] = True
    panel, offers = build_panel(frame), frame.loc[hit, ["sku_id", "region_id"]].reset_index(drop=True)
    apart = _effects(panel, offers, "2026-03-15")
    shared = _effects(panel, offers, "2026-03-15", {"r0": "w0", "r1": "w1", "r2": "w2", "r3": "w0"})
    assert ("s01", "r3") in apart.placebo_keys
    assert ("s01", "r3") not in shared.placebo_keys
    assert ("s02", "r3") in shared.placebo_keys


def test_other_sales_in_the_past_do_not_move_the_counterfactual() -> None:
    """A past sale of a donor and of the treated series is masked: its spike is no news about usual days."""
    daily = _panel(3)
    day = "2026-04-10"
    plain, offers, _ = _sale(daily, day, ["s01"], 4.0)
    spiked = daily.copy()
    old = (spiked.sales_date == "2026-03-20") & spiked.sku_id.isin(["s01", "s02"])
    spiked.loc[old, "units"] *= 20
    spiked.loc[old, "in_campaign"] = True
    masked, _, _ = _sale(spiked, day, ["s01"], 4.0)
    a, b = _effects(plain, offers, day), _effects(masked, offers, day)
    assert b.counterfactual == pytest.approx(a.counterfactual, rel=0.15)


def test_too_short_a_past_is_not_scored() -> None:
    daily = _panel(0, days=20)
    panel, offers, _ = _sale(daily, "2026-01-06", ["s01"], 3.0)
    found = _effects(panel, offers, "2026-01-06")
    assert not found.scored.any()
    assert np.isfinite(found.counterfactual).all()
