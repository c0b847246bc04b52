"""Stock-out correction: the formula against simulation, curves against the planted ones, cells against truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ml.demand.sold_out_views import views_as_purchases
from ml.demand.unconstrain import CELL, CURVE, NOTHING, OBSERVED, VIEWS, sale_curves, stockout_estimate, unconstrain


def test_formula_is_unbiased_where_the_plain_ratio_is_not() -> None:
    """True mean 10, stock 5: sales say 4.96, C / F 12.47, (C - 1) / F 10.00 (Poisson arrivals, long horizon)."""
    rng = np.random.default_rng(0)
    arrivals = np.cumsum(rng.exponential(1.0 / 10.0, (200_000, 5)), axis=1)
    tau = arrivals[:, -1]
    out = tau < 1.0
    within = (arrivals < 1.0).sum(axis=1)
    sold = np.minimum(within, 5)
    assert sold.mean() == pytest.approx(4.96, abs=0.02)
    plain, corrected = 5.0 / tau, stockout_estimate(5.0, tau)
    assert np.where(out, plain, within).mean() == pytest.approx(12.47, abs=0.08)
    assert np.where(out, corrected, within).mean() == pytest.approx(10.0, abs=0.08)


def _cell_hours(
    curve: np.ndarray, mean: float, stock: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, int]:
    hours = len(curve)
    n = rng.poisson(mean)
    times = np.sort(rng.choice(hours, n, p=curve) + rng.random(n))
    end = times[stock - 1] if n >= stock else hours
    units = np.bincount(times[:stock].astype(int), minlength=hours)
    exposure = np.clip(end - np.arange(hours), 0.0, 1.0)
    return units, exposure, n


def test_pooled_cells_recover_planted_demand() -> None:
    rng = np.random.default_rng(1)
    curve = np.exp(-np.arange(24) / 6.0)
    curve = curve / curve.sum()
    cells, hours, truth = [], [], []
    for i in range(240):
        mean, stock = 40.0, int(rng.integers(15, 60))
        units, exposure, wanted = _cell_hours(curve, mean, stock, rng)
        key = {"campaign_id": f"c{i}", "sku_id": "a", "region_id": "r"}
        cells.append(
            key
            | {
                "units_sold": units.sum(),
                "is_sold_out": exposure[-1] < 1,
                "duration_hours": 24.0,
                "starts_at": "2026-01-01T00:00:00Z",
                "category": "x",
                "promo_type": "discount",
            }
        )
        hours.append(
            pd.DataFrame(
                {
                    **{k: [v] * 24 for k, v in key.items()},
                    "event_hour": range(24),
                    "units": units,
                    "in_stock_share": exposure,
                }
            )
        )
        truth.append(wanted)
    table = pd.DataFrame(cells)
    result = unconstrain(table, pd.concat(hours))
    assert (result.loc[~result.is_censored, "demand"] == result.loc[~result.is_censored, "units"]).all()
    assert result.is_censored.mean() > 0.3
    assert result.demand.mean() == pytest.approx(40.0, rel=0.03)
    wanted_all = np.array(truth)
    inside = (wanted_all >= result.demand_p10) & (wanted_all <= result.demand_p90)
    assert 0.7 < inside[result.is_censored.to_numpy()].mean() < 0.95


def test_nothing_is_invented_where_nothing_can_be_learnt() -> None:
    key = {
        "sku_id": "a",
        "region_id": "r",
        "duration_hours": 2.0,
        "starts_at": "2026-01-01T00:00:00Z",
        "category": "x",
        "promo_type": "discount",
    }
    cells = pd.DataFrame(
        [
            {"campaign_id": "one", "units_sold": 1, "is_sold_out": True, **key},
            {"campaign_id": "none", "units_sold": 0, "is_sold_out": False, **key},
        ]
    )
    hours = pd.DataFrame(
        {
            "campaign_id": ["one", "one", "none", "none"],
            "sku_id": "a",
            "region_id": "r",
            "event_hour": [0, 1, 0, 1],
            "units": [1, 0, 0, 0],
            "in_stock_share": [0.5, 0.0, 1.0, 1.0],
        }
    )
    result = unconstrain(cells, hours).set_index("campaign_id")
    assert result.loc["one", "method"] == NOTHING
    assert result.loc["one", "demand"] == 1
    assert result.loc["none", "method"] == OBSERVED
    assert result.loc["none", "demand"] == 0


def _sold_out_cells(rng: np.random.Generator, cells: int = 400) -> dict[str, np.ndarray]:
    """Simulated cells that ran out: mean demand, purchases but one, demand share until then, units lost."""
    mean, stock = rng.gamma(4.0, 10.0, cells), rng.integers(3, 20, cells)
    share = np.array([rng.gamma(c, 1.0 / m) for c, m in zip(stock, mean, strict=True)])
    ended = share < 0.95
    lost = rng.poisson(mean * np.clip(1.0 - share, 0.0, 1.0))
    found = {"mean": mean, "sold": stock - 1.0, "share": share, "lost": lost}
    return {name: values[ended].astype(float) for name, values in found.items()}


def _errors(made: dict[str, np.ndarray], views: np.ndarray) -> tuple[float, float]:
    """Mean absolute error of mean demand by purchases alone, and with views."""
    extra, within = views_as_purchases(made["sold"], made["share"], views, np.zeros(len(views), dtype=np.int64))
    alone = made["sold"] / made["share"]
    joint = (made["sold"] + extra) / (made["share"] + within)
    return float(np.abs(alone - made["mean"]).mean()), float(np.abs(joint - made["mean"]).mean())


def test_views_that_follow_what_was_lost_say_where_it_was() -> None:
    rng = np.random.default_rng(2)
    made = _sold_out_cells(rng)
    alone, joint = _errors(made, rng.poisson(0.7 * made["lost"]).astype(float))
    assert joint < 0.75 * alone


def test_views_that_follow_nothing_count_for_little() -> None:
    rng = np.random.default_rng(3)
    made = _sold_out_cells(rng)
    alone, joint = _errors(made, rng.gamma(0.3, 200.0, len(made["mean"])).round())
    assert joint < 1.02 * alone


def test_pages_whose_views_were_not_recorded_are_told() -> None:
    rng = np.random.default_rng(5)
    made = _sold_out_cells(rng)
    views = rng.poisson(0.7 * made["lost"]) * (np.arange(len(made["lost"])) % 2)
    extra, within = views_as_purchases(made["sold"], made["share"], views.astype(float), np.zeros(len(views), np.int64))
    lost = (made["sold"] + extra) / (made["share"] + within) * (1.0 - made["share"])
    for recorded in (0, 1):
        own = np.arange(len(views)) % 2 == recorded
        assert lost[own].sum() == pytest.approx(made["lost"][own].sum(), rel=0.12)


def test_views_need_cells_to_learn_from() -> None:
    made = {name: values[:20] for name, values in _sold_out_cells(np.random.default_rng(4)).items()}
    classes = np.zeros(20, dtype=np.int64)
    for views, cells in ((made["lost"], 20), (np.zeros(200), 200)):
        few = {n: np.resize(made[n], cells) for n in ("sold", "share")}
        extra = views_as_purchases(few["sold"], few["share"], views, np.resize(classes, cells))
        assert not np.any(extra)


def test_simulated_shop_within_bounds(shop) -> None:  # type: ignore[no-untyped-def]
    cells = shop.performance.merge(shop.products[["sku_id", "category"]])
    kept = 0.98  # truth counts what was placed; two lines in a hundred are cancelled
    error = {}
    for method, hours in ((CURVE, shop.hours.drop(columns="sold_out_views")), (VIEWS, shop.hours)):
        result = unconstrain(cells, hours).merge(shop.truth, on=CELL)
        hidden = result[result.method == method]
        wanted = hidden.demanded_units * kept
        error[method] = (hidden.demand - wanted).abs().sum() / wanted.sum()
        assert len(hidden) > 400
        assert abs(hidden.demand.sum() / wanted.sum() - 1.0) < 0.05
        kept_stock = result[~result.is_censored]
        assert (kept_stock.demand == kept_stock.units).all()
    raw = (hidden.units - wanted).abs().sum() / wanted.sum()
    assert error[VIEWS] < 0.9 * error[CURVE] < 0.18 < 0.30 < raw
    assert abs(hidden.demand.sum() / wanted.sum() - 1.0) < 0.05
    assert abs(result.demand.sum() / (result.expected_demand.sum() * kept) - 1.0) < 0.05


def test_a_coming_offer_takes_the_curve_of_its_class_and_teaches_it_nothing() -> None:
    """Books rush at noon, travel is even; an offer of neither takes what all sales showed, one of no length is even."""
    rng = np.random.default_rng(3)
    rush = np.exp(-np.arange(24) / 4.0)
    rush /= rush.sum()
    cells, hours = [], []
    for k in range(80):
        kind = "books" if k % 2 else "travel"
        units = rng.poisson(60 * (rush if k % 2 else np.full(24, 1 / 24)))
        cells.append({"campaign_id": f"c{k}", "sku_id": kind, "region_id": "east", "units_sold": units.sum(),
                      "is_sold_out": False, "starts_at": pd.Timestamp("2026-01-01T12:00Z"), "duration_hours": 24.0,
                      "category": kind, "promo_type": "coupon"})  # fmt: skip
        hours += [{**{name: cells[-1][name] for name in CELL}, "event_hour": h, "units": int(u), "in_stock_share": 1.0}
                  for h, u in enumerate(units)]  # fmt: skip
    asked = pd.DataFrame({"starts_at": pd.to_datetime(["2026-06-01T12:00Z"] * 3), "category": ["books", "travel", "new"],
                          "promo_type": "coupon"})  # fmt: skip
    past = pd.DataFrame(cells), pd.DataFrame(hours)
    found = sale_curves(*past, asked, 24)
    assert found.sum(axis=1) == pytest.approx(1.0)
    assert found[0] == pytest.approx(rush, abs=0.02) and found[1] == pytest.approx(1 / 24, abs=0.02)
    assert found[2] == pytest.approx((rush + 1 / 24) / 2, abs=0.03)
    assert sale_curves(*past, asked[:1], 24)[0] == pytest.approx(found[0], abs=1e-9)
    assert sale_curves(*past, asked, 36) == pytest.approx(1 / 36)


def test_the_last_hour_of_a_sale_may_be_a_part_of_one() -> None:
    """Of an hour and a half the third half hour counts, and a sale of 24 minutes has one hour."""
    key = {"sku_id": "a", "region_id": "r", "starts_at": "2026-01-01T00:00:00Z", "category": "x",
           "promo_type": "discount"}  # fmt: skip
    rows, hours = [], []
    for i in range(60):
        gone = i % 2 == 0
        for length, units, share in [(1.5, [40, 10 if gone else 20], [1.0, 0.5 if gone else 1.0]),
                                     (0.4, [20 if gone else 40], [0.5 if gone else 1.0])]:  # fmt: skip
            name = f"{length} {i}"
            rows.append({"campaign_id": name, "units_sold": sum(units), "is_sold_out": gone, "duration_hours": length})
            hours += [
                {"campaign_id": name, "event_hour": h, "units": u, "in_stock_share": s}
                for h, (u, s) in enumerate(zip(units, share, strict=True))
            ]
    found = unconstrain(pd.DataFrame(rows).assign(**key), pd.DataFrame(hours).assign(sku_id="a", region_id="r"))
    censored = found[found.is_censored].assign(length=lambda f: f.campaign_id.str[:3])
    wanted = censored.groupby("length")["demand"].mean()
    assert wanted["1.5"] == pytest.approx(60.0, rel=0.05)
    assert wanted["0.4"] == pytest.approx(40.0, rel=0.06)
