"""Heads of a series forecast: LightGBM on log(units / base), and the intervals and means that hold on later periods.

The quantile heads (the median among them) learn the log ratio to the base, weighted by the base so that busy series
count as they do in the metrics; `tweedie` learns units with the base as its start. All heads share one set of binned
rows. Their errors in the newest periods before an origin, forecast as they will be (from models that had not seen
them), calibrate: the mean gets the ratio by which it was off, the outer quantiles are shifted until they cover their
share (conformalised quantile regression, Romano et al. 2019), apart for promotions, whose sales are another kind, and
for small, middling and large series. The median stays as it is: a factor for it made it worse on real panels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from flashsale.settings import settings
from ml.demand.series_panel import Bools, Floats, Ints

Inputs = npt.NDArray[np.float32]

# 63 bins and 100 steps are as good as 255 and 200 on real panels (docs/decisions.md), at a third of
# the time
PARAMETERS: dict[str, Any] = {
    "learning_rate": 0.08, "num_leaves": 31, "feature_fraction": 0.7, "bagging_fraction": 0.8, "bagging_freq": 1,
    "lambda_l2": 1.0, "max_bin": 63, "verbose": -1, "deterministic": True, "force_row_wise": True,
}  # fmt: skip
ROUNDS = 100
LEAF_ROWS = 30  # rows of a leaf, fewer where a panel is so small that hardly a leaf would hold them
MOST_ROWS = 120_000  # past rows that a fit learns from; a larger panel is sampled
HEADS: dict[str, dict[str, Any]] = {
    "q10": {"objective": "quantile", "alpha": 0.1},
    "q50": {"objective": "quantile", "alpha": 0.5},
    "q90": {"objective": "quantile", "alpha": 0.9},
    "tweedie": {"objective": "tweedie", "tweedie_variance_power": 1.3},
}
SOFT = 0.1  # of the base, added to both sides of the ratio: a period without sales is no minus infinity
SIZES = (1.0 / 3.0, 2.0 / 3.0)  # shares of past rows that are small, and small or middling, by their base
LEAST_ROWS = 200  # rows that a group needs for a calibration of its own
MOST_BLOCKS = 52  # circumstances that a shift is held against
FEW_ROWS = 10  # a correction learnt from n rows, fewer than those, counts by n / (n + 10)
LEVELS = np.array([0.1, 0.09, 0.08, 0.07, 0.06, 0.05])  # of a bound that is to miss a tenth
NEVER = -50.0  # a log ratio that no count falls short of: no bound above zero misses a zero
MOST_RATIO = 2.0  # a mean is corrected by at most so much, either way


def log_ratio(units: Floats, base: Floats) -> Floats:
    """What the heads learn: log((units + s) / (base + s)) with s = `SOFT` of the base."""
    return np.asarray(np.log((units + SOFT * base) / ((1.0 + SOFT) * base)), dtype=np.float64)


def from_ratio(ratio: Floats, base: Floats) -> Floats:
    """Units of a log ratio, never below zero."""
    return np.asarray(np.maximum(np.exp(ratio) * (1.0 + SOFT) * base - SOFT * base, 0.0), dtype=np.float64)


def fit_predict(
    train: Inputs, units: Floats, base: Floats, test: Inputs, test_base: Floats, categorical: list[int], seed: int
) -> pd.DataFrame:
    """Forecasts of every head in units, one column a head, one row a row of `test`.

    Args:
        train, units, base: features (rows, features), units and base of past rows.
        test, test_base: features and base of the rows to forecast.
        categorical: positions of features that hold codes.
        seed: of row and column sampling.
    """
    import lightgbm

    if len(train) > MOST_ROWS:
        kept = np.sort(np.random.default_rng(seed).choice(len(train), MOST_ROWS, replace=False))
        train, units, base = train[kept], units[kept], base[kept]
    setup = {
        **PARAMETERS,
        "min_data_in_leaf": int(np.clip(len(train) // 50, 5, LEAF_ROWS)),
        "seed": seed,
        "num_threads": settings().threads,
    }
    data = lightgbm.Dataset(train, categorical_feature=categorical, params=setup).construct()
    out = {}
    for name, own in HEADS.items():
        if name == "tweedie" and not units.any():  # it has nothing to learn where nothing was ever sold
            out[name] = np.zeros(len(test))
            continue
        _aim(data, name, units, base)
        raw = np.asarray(lightgbm.train({**setup, **own}, data, ROUNDS).predict(test, raw_score=True))
        out[name] = np.exp(raw) * test_base if name == "tweedie" else from_ratio(raw, test_base)
    return pd.DataFrame(out)


def _aim(data: Any, head: str, units: Floats, base: Floats) -> None:
    """Give the binned rows the label, weight and start of a head."""
    counts = head == "tweedie"
    data.set_label(units if counts else log_ratio(units, base))
    for field, values in (("weight", base / base.mean()), ("init_score", np.log(base))):
        data.set_field(field, values if counts == (field == "init_score") else None)


@dataclass(frozen=True)
class Calibration:
    """Corrections by group (`_groups`): ratios of the mean, shifts of log quantiles.

    `cuts`: bounds of the base between small, middling and large. `whole`: units are counts, and so are the bounds.
    """

    cuts: Floats
    mean: Floats
    low: Floats
    high: Floats
    whole: bool

    def apply(self, raw: pd.DataFrame, base: Floats, promo: Bools) -> pd.DataFrame:
        """`mean`, `p10`, `p50`, `p90` in units, the quantiles in order."""
        group = _groups(base, promo, self.cuts)
        middle = raw["q50"].to_numpy()
        low, high = (
            from_ratio(log_ratio(raw[name].to_numpy(), base) + shift[group], base)
            for name, shift in (("q10", self.low), ("q90", self.high))
        )
        if self.whole:
            low, high = np.floor(low), np.ceil(high)
        return pd.DataFrame(
            {
                "mean": mean_of(raw) * self.mean[group],
                "p10": np.minimum(low, middle),
                "p50": middle,
                "p90": np.maximum(high, middle),
            }
        )


def _groups(base: Floats, promo: Bools, cuts: Floats) -> Ints:
    """Group of each row: promotion or not, and whether its base is small, middling or large."""
    return np.asarray(promo.astype(np.int64) * (len(cuts) + 1) + np.searchsorted(cuts, base))


def mean_of(raw: pd.DataFrame) -> Floats:
    """The mean in units before correction: Tweedie's and the median's, averaged."""
    return np.asarray(0.5 * (raw["tweedie"].to_numpy() + raw["q50"].to_numpy()), dtype=np.float64)


def calibrate(raw: pd.DataFrame, units: Floats, base: Floats, promo: Bools, block: Ints, *, whole: bool) -> Calibration:
    """Corrections from past forecasts beside what came.

    A group with too few rows takes those of its kind (in promotion or not), a kind with too few those of all.

    Args:
        raw: heads' forecasts of past rows, made by models that had not seen them.
        units, base, promo: of the same rows.
        block: a number by row; rows of one number were forecast in the same circumstances.
        whole: units are counts. A bound is then rounded outwards, and shifted until it covers its share when rounded.
    """
    count = 2 * (len(SIZES) + 1)
    found = np.tile([[1.0], [0.0], [0.0]], count)
    if not len(units):  # a shop that was shut in all the periods before: nothing is known to correct by
        return Calibration(np.zeros(len(SIZES)), found[0], found[1], found[2], whole)
    cuts = np.quantile(base, SIZES)
    group, every = _groups(base, promo, cuts), np.ones(len(units), dtype=bool)
    low, high = _gaps(raw, units, base, whole)
    block = _merged(block)
    shifts: dict[bytes, tuple[float, float]] = {}  # groups that are too small share their kind's
    for k in range(count):
        kind = promo == bool(k // (len(SIZES) + 1))
        kind = kind if kind.sum() >= LEAST_ROWS else every
        use = own if (own := group == k).sum() >= LEAST_ROWS else kind
        if (key := use.tobytes()) not in shifts:
            shifts[key] = _shift(low[use], block[use]), -_shift(-high[use], block[use])
        found[:, k] = (_ratio(mean_of(raw)[kind], units[kind]), *shifts[key])
        found[0, k] **= _trust(int(kind.sum()))
        found[1:, k] *= _trust(int(use.sum()))
    return Calibration(cuts, found[0], found[1], found[2], whole)


def _merged(block: Ints) -> Ints:
    """Blocks in order, neighbours joined where there are more than `MOST_BLOCKS`: a jackknife over more costs time."""
    names, place = np.unique(block, return_inverse=True)
    return np.asarray(place // -(-len(names) // MOST_BLOCKS), dtype=np.int64)


def _trust(rows: int) -> float:
    """How much of a correction counts: all of it, less where all rows together are few."""
    return 1.0 if rows >= LEAST_ROWS else rows / (rows + FEW_ROWS)


def _shift(gap: Floats, block: Ints) -> float:
    """Shift of a lower bound that misses one row in ten of circumstances that it was not learnt from.

    Rows of one block have their surprise in common, so a quantile of a few blocks misses more than its level in the
    next one. The level is the highest at which the shift learnt from the other blocks misses no more than a tenth of
    each block's rows on the whole (a jackknife over blocks, Barber et al. 2021).
    """
    missed = np.zeros(len(LEVELS))
    blocks = np.unique(block)
    for one in blocks[len(blocks) == 1 :]:
        others = np.quantile(gap[block != one], LEVELS, method="lower")
        missed += (gap[block == one][:, None] < others).sum(axis=0)
    kept = LEVELS[missed <= LEVELS[0] * len(gap)]
    return float(np.quantile(gap, kept[0] if len(kept) else LEVELS[-1], method="lower"))


def _gaps(raw: pd.DataFrame, units: Floats, base: Floats, whole: bool) -> tuple[Floats, Floats]:
    """How far each row's p10 and p90 may be shifted up before they miss it, in logs; rounded outwards for counts."""
    low, high = (log_ratio(raw[name].to_numpy(), base) for name in ("q10", "q90"))
    step, hair = (1.0, 1e-9) if whole else (0.0, 0.0)  # floor(p10) passes y when p10 reaches y + 1, not a hair before
    above = np.where(units > 0, log_ratio(np.maximum(units - step, 0.0), base), NEVER)
    return log_ratio(units + step, base) - low - hair, above - high + hair


def _ratio(guess: Floats, truth: Floats) -> float:
    return float(np.clip(truth.sum() / max(float(guess.sum()), 1e-9), 1.0 / MOST_RATIO, MOST_RATIO))
