"""The demand model: features that look back only, elasticities, calibration, the gate, saving and loading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ml.demand import backtest, features, heads, level, linear
from ml.demand.backbone import cross_fitted
from ml.demand.response import learn_response
from ml.demand.unconstrain import CELL, unconstrain


@pytest.fixture(scope="module")
def rows(shop) -> pd.DataFrame:  # type: ignore[no-untyped-def]
    cells = shop.performance.merge(shop.products[["sku_id", "category"]])
    demand = unconstrain(cells, shop.hours)[[*CELL, "demand"]]
    past = shop.features[shop.features.row_kind == "campaign"]
    return past.merge(demand, on=CELL).sort_values(["starts_at", "sku_id", "region_id"]).reset_index(drop=True)


def _target(rows: pd.DataFrame) -> np.ndarray:
    return rows.demand.to_numpy(dtype=float)


def test_no_feature_moves_when_later_sales_change(rows: pd.DataFrame) -> None:
    """Shift the outcome of every sale from a moment on: no feature of an earlier offer may move."""
    cut = rows.starts_at.quantile(0.6)
    before = level.training_set(rows, _target(rows)).frame
    later = _target(rows) * np.where(rows.starts_at >= cut, 7.0, 1.0)
    after = level.training_set(rows, later).frame
    early = (rows.starts_at < cut).to_numpy()
    pd.testing.assert_frame_equal(before[early], after[early])
    assert not before[~early].equals(after[~early])


def test_lags_use_sales_that_ended_before_the_cutoff_only(rows: pd.DataFrame) -> None:
    data = level.training_set(rows, _target(rows))
    lift = pd.Series(data.lift, index=rows.index)
    for i in rows.sample(25, random_state=1).index:
        row = rows.loc[i]
        same = (rows.sku_id == row.sku_id) & (rows.region_id == row.region_id) & (rows.ends_at <= row.cutoff_at)
        expected = lift[same].mean() if same.any() else np.nan
        assert data.frame.loc[i, "lag_mean_lift"] == pytest.approx(expected, nan_ok=True)


def test_a_skus_level_is_of_a_month_and_its_split_over_regions_of_half_a_year() -> None:
    rows = pd.DataFrame({"row_kind": "request", "campaign_id": "c", "sku_id": ["a", "a", "b", "b"],
                         "region_id": ["e", "w", "w", "e"], "base_units_28d": [6.0, 2.0, 0.0, 4.0],
                         "base_units_182d": [3.0, 3.0, 1.0, 3.0]})  # fmt: skip
    assert features.regional_units(rows).tolist() == [4.0, 4.0, 1.0, 3.0]
    older = rows.drop(columns="base_units_182d")
    assert features.regional_units(older).tolist() == [6.0, 2.0, 0.0, 4.0]
    fresh = rows.assign(base_units_182d=[0.0, 0.0, 1.0, 3.0], base_units_28d=[0.0, 0.0, 0.0, 4.0])
    assert features.regional_units(fresh).tolist() == [0.0, 0.0, 1.0, 3.0]


def test_half_a_year_tells_a_skus_regions_better_than_a_month_does(rows: pd.DataFrame) -> None:
    """How the units of later sales split over the regions, as the two had it: mean squared log error by cell."""
    offer = [rows[c] for c in features.PLANNED_SKU]

    def log_share(units: np.ndarray) -> pd.Series:
        own = pd.Series(units + 0.1, index=rows.index)
        return np.log(own / own.groupby(offer).transform("sum"))

    large = pd.Series(_target(rows), index=rows.index).groupby(offer).transform("min") >= 10
    large &= rows.starts_at > rows.starts_at.median()  # earlier sales had hardly more than a month before them
    truth = log_share(_target(rows))
    month, both = log_share(rows.base_units_28d.to_numpy()), log_share(features.regional_units(rows))
    assert large.sum() > 100
    assert ((both - truth) ** 2)[large].mean() < 0.9 * ((month - truth) ** 2)[large].mean()


def test_rivals_are_the_offers_of_the_same_sale_region_and_category() -> None:
    """Prices over list prices: 0.8 and 0.6 compete, 0.5 is alone of its category, 0.9 alone of its region."""
    rows = pd.DataFrame({"row_kind": "campaign", "campaign_id": "c", "region_id": ["e", "e", "e", "w"],
                         "category": ["home", "home", "books", "home"], "offer_price": [8.0, 6.0, 5.0, 9.0],
                         "list_price": 10.0})  # fmt: skip
    found = features._rivals(rows)
    assert found.rivals.tolist() == [1, 1, 0, 0]
    assert found.log_rivals_price.tolist() == pytest.approx([np.log(0.6), np.log(0.8), 0.0, 0.0])
    assert found.rival_discount.tolist() == pytest.approx([0.4, 0.2, 0.0, 0.0])


def test_a_drift_is_believed_where_it_stands_out_from_the_scatter_of_sales() -> None:
    rng = np.random.default_rng(0)
    sales = np.repeat(np.arange(10), 30)
    luck = np.repeat(rng.normal(0.0, 0.2, (40, 10)), 30, axis=1) + rng.normal(0.0, 0.3, (40, 300))
    assert np.mean([level.believed_drift(errors, sales) == 0.0 for errors in luck]) > 0.8
    moved = [level.believed_drift(errors + 0.8, sales) for errors in luck]
    assert 0.7 < np.mean(moved) < 0.8 and min(moved) > 0.5
    assert level.believed_drift(np.full(30, 0.5), np.zeros(30)) == 0.0  # one sale alone says nothing


def test_posts_are_counted_from_the_first_day_after_the_last_sale_began(shop) -> None:  # type: ignore[no-untyped-def]
    signals = shop.signals.assign(day=pd.to_datetime(shop.signals.signal_date, utc=True))
    for row in shop.features.sample(25, random_state=2).itertuples():
        cutoff = pd.Timestamp(row.cutoff_at)
        begun = shop.performance[(shop.performance.sku_id == row.sku_id) & (shop.performance.starts_at < cutoff)]
        week = [cutoff.floor("D") - pd.Timedelta(days=n) for n in range(1, 8)]
        ahead = [day for day in week if begun.empty or day >= begun.starts_at.max()]
        seen = signals[(signals.sku_id == row.sku_id) & signals.day.isin(ahead)]
        assert (row.post_days, row.post_count) == (len(ahead), seen.post_count.sum())
        assert row.post_sentiment_sum == pytest.approx(seen.post_sentiment_sum.sum())
        assert row.post_intent_sum == pytest.approx(seen.post_intent_sum.sum())


def test_posts_since_the_last_sale_tell_more_than_a_week_of_all_texts(shop, rows: pd.DataFrame) -> None:  # type: ignore[no-untyped-def]
    """Reviews and the last sale's posts blur a week's texts: of the planted shocks they explain a good deal less."""
    offers = rows.merge(shop.truth[[*CELL, "shock"]], on=CELL).drop_duplicates(["campaign_id", "sku_id"])
    frame = features.design(offers, offers.assign(lift=0.0), features.base_units(offers))
    shock, sales = offers.shock.to_numpy(dtype=float), offers.campaign_id.to_numpy()

    def explained(columns: list[str]) -> float:
        error = shock - cross_fitted(frame[columns], shock, sales, [])
        return float(1.0 - np.mean(error**2) / np.var(shock))

    posts = [name for name in features.TEXT if name.startswith("post_")]
    assert explained(posts) > explained([name for name in features.TEXT if name not in posts]) + 0.1


def test_a_single_post_says_little(rows: pd.DataFrame) -> None:
    def signals(posts: float) -> pd.Series:
        row = rows.head(1).assign(post_count=posts, post_sentiment_sum=posts, post_intent_sum=posts)
        return features.design(row, row.assign(lift=0.0), features.base_units(row)).iloc[0]

    for name in ("post_sentiment", "post_intent_share"):
        assert 0.0 < signals(1.0)[name] < 0.3 * signals(30.0)[name]


def test_elasticity_is_found_and_a_fixed_price_is_refused() -> None:
    rng = np.random.default_rng(0)
    n = 3000
    sales = np.repeat(np.arange(60), 50)
    strength = rng.normal(0, 0.4, n)  # known at planning, and it moves the price
    price = -0.2 + 0.1 * strength + rng.normal(0, 0.08, n)
    category = rng.choice(["a", "b"], n)
    slope = np.where(category == "a", -1.5, -2.5)
    lift = 1.0 + strength + slope * price + rng.normal(0, 0.3, n)
    controls = pd.DataFrame({"strength": strength, "category": category})
    found = learn_response(controls, lift, price, sales, ["category"])
    assert found.by_category["a"] == pytest.approx(-1.5, abs=0.25)
    assert found.by_category["b"] == pytest.approx(-2.5, abs=0.25)
    naive = np.polyfit(price, lift, 1)[0]
    assert naive > -1.2  # the bias that the controls take away
    fixed = learn_response(controls, lift, 0.3 * strength, sales, ["category"])
    assert fixed.refused
    # 0.08^2 of 0.08^2 + (0.1 x 0.4)^2 is left, of 60 sales: the statistic says what its docstring does
    assert found.first_stage_f == pytest.approx(60 * 0.8, abs=2.5) and fixed.first_stage_f < 0.1


def test_simulated_shop_elasticities_have_the_planted_sign_and_order(rows: pd.DataFrame) -> None:
    data = level.training_set(rows, _target(rows))
    frame = data.frame[features.feature_names(True)]
    found = learn_response(frame, data.lift, data.log_ratio, data.sales, features.CATEGORICAL)
    assert -2.6 < found.pooled < -1.0  # planted: 1.5 to 2.6
    assert found.by_category["electronics"] < found.by_category["travel"]


def test_backtest_beats_the_seed_model_and_text_helps(rows: pd.DataFrame) -> None:
    report = backtest.backtest(rows, _target(rows), with_text=True, seed=1)
    metrics = report.metrics()
    assert metrics["wape_model"] < 0.85 * metrics["wape_linear"]
    assert metrics["wape_model"] < metrics["wape_last_sale"]
    assert metrics["wape_model"] < metrics["wape_proportional"]
    assert metrics["wape_model"] < metrics["wape_model_without_text"]
    assert 0.7 < metrics["coverage_model"] < 0.92
    assert backtest.gate(metrics)["passed"]
    assert not backtest.gate(metrics, {"wape_model": 0.5 * metrics["wape_model"]})["passed"]
    held_out = set(report.forecasts.campaign_id)
    assert held_out == set(rows.campaign_id[level.training_set(rows, _target(rows)).order >= 20])


def test_gate_refuses_a_poor_model() -> None:
    good = {
        "wape_model": 0.3,
        "wape_linear": 0.5,
        "wape_last_sale": 0.5,
        "wape_proportional": 0.5,
        "coverage_model": 0.8,
    }
    assert backtest.gate(good)["passed"]
    assert backtest.gate(good | {"wape_model": 0.6})["reasons"]
    assert backtest.gate(good | {"coverage_model": 0.6})["reasons"] == ["the 80 % interval covers 0.60"]
    assert not backtest.gate({})["passed"]
    assert backtest.calibrated({"wape_model": 0.3}) is None, "no backtest was made"
    told = {0.69: False, 0.71: True, 0.8: True, 0.89: True, 0.91: False}
    assert {share: backtest.calibrated({"coverage_model": share}) for share in told} == told
    assert {share: backtest.gate(good | {"coverage_model": share})["passed"] for share in told} == told


def test_same_seed_same_files_and_a_loaded_model_forecasts_the_same(rows: pd.DataFrame, tmp_path: Path) -> None:
    some = rows[rows.campaign_id.isin(sorted(rows.campaign_id.unique())[:14])].reset_index(drop=True)
    data = level.training_set(some, _target(some))
    for name in "ab":
        heads.save(level.fit(data, with_text=True, seed=3), tmp_path / name)
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    fitted = level.fit(data, with_text=True, seed=3)
    loaded = heads.load(tmp_path / "a")
    pd.testing.assert_frame_equal(fitted.forecast(data.frame), loaded.forecast(data.frame))
    forecast = loaded.forecast(data.frame)
    assert (forecast.p10 <= forecast.p50).all()
    assert (forecast.p50 <= forecast.p90).all()
    (tmp_path / "a" / "head_p50.txt").write_text("tampered", encoding="utf-8")
    with pytest.raises(ValueError, match=r"head_p50\.txt"):
        heads.load(tmp_path / "a")


def test_a_lower_price_never_lowers_demand(rows: pd.DataFrame) -> None:
    data = level.training_set(rows, _target(rows))
    fitted = level.fit(data, with_text=True, seed=3)
    cheap = fitted.forecast(data.frame.assign(log_price_ratio=np.log(0.7)))
    dear = fitted.forecast(data.frame.assign(log_price_ratio=np.log(0.9)))
    assert (cheap.p50 >= dear.p50).all()


def test_linear_baseline_learns_by_gradient_descent(rows: pd.DataFrame) -> None:
    model = linear.train(rows, _target(rows))
    assert all(b <= a + 1e-9 for a, b in zip(model.losses, model.losses[1:], strict=False))
    assert model.losses[-1] < 0.8 * model.losses[0]
    x = np.column_stack([linear.inputs(rows), np.ones(len(rows))])
    exact = x @ np.linalg.lstsq(x, _target(rows), rcond=None)[0]
    assert model.losses[-1] == pytest.approx(((exact - _target(rows)) ** 2).mean(), rel=0.02)
    again = linear.train(rows, _target(rows))
    assert np.array_equal(model.weights, again.weights)


def test_text_can_be_left_out() -> None:
    assert not [name for name in features.feature_names(False) if name.startswith(("text_", "post_"))]
    assert len(features.feature_names(True)) > len(features.feature_names(False))
