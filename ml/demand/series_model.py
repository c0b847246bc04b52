"""Heads of a series forecast: LightGBM on log(units / base), and the intervals and means that hold on later periods.

`l1` and the quantile heads learn the log ratio to the base, weighted by the base so that busy series count as they do
in the metrics; `tweedie` learns units with the base as its start. Their errors in the newest periods before an origin,
forecast as they will be (from models that had not seen them), calibrate: the point and the mean get the ratio by which
they were off, the quantiles are shifted until they cover their share (conformalised quantile regression, Romano et al.
2019), both apart for promotions, whose sales are another kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from flashsale.settings import settings
from ml.demand.series_panel import Bools, Floats

PARAMETERS: dict[str, Any] = {
    "learning_rate": 0.07, "num_leaves": 31, "min_data_in_leaf": 30, "feature_fraction": 0.7, "bagging_fraction": 0.8,
    "bagging_freq": 1, "lambda_l2": 1.0, "verbose": -1, "deterministic": True, "force_row_wise": True,
}  # fmt: skip
ROUNDS = 200
QUANTILES = {"q10": 0.1, "q50": 0.5, "q90": 0.9}
HEADS: dict[str, dict[str, Any]] = {
    "l1": {"objective": "regression_l1"},
    "tweedie": {"objective": "tweedie", "tweedie_variance_power": 1.3},
    **{name: {"objective": "quantile", "alpha": alpha} for name, alpha in QUANTILES.items()},
}
SOFT = 0.1  # of the base, added to both sides of the ratio: a period without sales is no minus infinity
LEAST_ROWS = 80  # rows that a group needs for a calibration of its own
MOST_RATIO = 2.0  # a mean is corrected by at most so much, either way


def log_ratio(units: Floats, base: Floats) -> Floats:
    """What the heads learn: log((units + s) / (base + s)) with s = `SOFT` of the base."""
    return np.asarray(np.log((units + SOFT * base) / ((1.0 + SOFT) * base)), dtype=np.float64)


def from_ratio(ratio: Floats, base: Floats) -> Floats:
    """Units of a log ratio, never below zero."""
    return np.asarray(np.maximum(np.exp(ratio) * (1.0 + SOFT) * base - SOFT * base, 0.0), dtype=np.float64)


def fit_predict(
    train: pd.DataFrame, units: Floats, base: Floats, test: pd.DataFrame, test_base: Floats, categorical: list[str],
    seed: int,
) -> pd.DataFrame:  # fmt: skip
    """Forecasts of every head in units, one column a head, one row a row of `test`.

    Args:
        train, units, base: features, units and base of past rows.
        test, test_base: features and base of the rows to forecast.
        categorical: columns that hold codes.
        seed: of row and column sampling.
    """
    import lightgbm

    out = {}
    for name, own in HEADS.items():
        counts = name == "tweedie"
        data = lightgbm.Dataset(
            train,
            units if counts else log_ratio(units, base),
            weight=None if counts else base / base.mean(),
            init_score=np.log(base) if counts else None,
            categorical_feature=categorical,
            params={"verbose": -1},
        )
        setup = {**PARAMETERS, **own, "seed": seed, "num_threads": settings().threads}
        raw = np.asarray(lightgbm.train(setup, data, ROUNDS).predict(test, raw_score=True))
        out[name] = np.exp(raw) * test_base if counts else from_ratio(raw, test_base)
    return pd.DataFrame(out)


@dataclass(frozen=True)
class Calibration:
    """Corrections by group (0: plain, 1: promotion): ratios of point and mean, shifts of log quantiles."""

    point: Floats
    mean: Floats
    low: Floats
    high: Floats

    def apply(self, raw: pd.DataFrame, base: Floats, promo: Bools) -> pd.DataFrame:
        """`mean`, `p10`, `p50`, `p90` in units, the quantiles in order."""
        group = promo.astype(int)
        middle = point_of(raw) * self.point[group]
        low, high = (
            from_ratio(log_ratio(raw[name].to_numpy(), base) + shift[group], base)
            for name, shift in (("q10", self.low), ("q90", self.high))
        )
        return pd.DataFrame(
            {
                "mean": mean_of(raw) * self.mean[group],
                "p10": np.minimum(low, middle),
                "p50": middle,
                "p90": np.maximum(high, middle),
            }
        )


def point_of(raw: pd.DataFrame) -> Floats:
    """The median in units: the two heads that aim at it, averaged in logs."""
    return np.asarray(np.sqrt((raw["l1"].to_numpy() + 1e-9) * (raw["q50"].to_numpy() + 1e-9)), dtype=np.float64)


def mean_of(raw: pd.DataFrame) -> Floats:
    """The mean in units before correction: Tweedie's and the median's, averaged."""
    return np.asarray(0.5 * (raw["tweedie"].to_numpy() + point_of(raw)), dtype=np.float64)


def calibrate(raw: pd.DataFrame, units: Floats, base: Floats, promo: Bools) -> Calibration:
    """Corrections from past forecasts beside what came.

    Args:
        raw: heads' forecasts of past rows, made by models that had not seen them.
        units, base, promo: of the same rows.
    """
    both = np.array([0.0, 0.0])
    found = {"point": both + 1.0, "mean": both + 1.0, "low": both.copy(), "high": both.copy()}
    truth = log_ratio(units, base)
    for group in (0, 1):
        own = promo == bool(group)
        use = own if own.sum() >= LEAST_ROWS else np.ones(len(units), dtype=bool)
        if use.sum() < LEAST_ROWS:
            continue
        found["point"][group] = _best_factor(point_of(raw)[use], units[use])
        found["mean"][group] = _ratio(mean_of(raw)[use], units[use])
        for name, column, share in (("low", "q10", 0.1), ("high", "q90", 0.9)):
            gap = truth[use] - log_ratio(raw[column].to_numpy()[use], base[use])
            found[name][group] = float(np.quantile(gap, share))
    return Calibration(**found)


def _ratio(guess: Floats, truth: Floats) -> float:
    return float(np.clip(truth.sum() / max(float(guess.sum()), 1e-9), 1.0 / MOST_RATIO, MOST_RATIO))


def _best_factor(guess: Floats, truth: Floats) -> float:
    """Factor that makes the sum of absolute errors least: the weighted median of truth over guess."""
    ok = guess > 1e-6
    if not ok.any():
        return 1.0
    order = np.argsort(truth[ok] / guess[ok])
    weight = np.cumsum(guess[ok][order])
    middle = float((truth[ok] / guess[ok])[order][np.searchsorted(weight, weight[-1] / 2.0)])
    return float(np.clip(middle, 1.0 / MOST_RATIO, MOST_RATIO))
