"""Calibration of hourly unconstraining for scaled units: hide hours whose sales are known, see how far one is off.

Rows that kept stock lose the hours in which other rows, drawn at random, had none. The ratio of what was hidden to what
was expected corrects the mean, apart for rows that had seen little or much of their demand and for slow and brisk
rows, since a brisk morning is no promise of a brisk evening; quantiles of the scaled errors make the interval.

It is not for panels of counts. There stock ends with a purchase, the rows that kept stock are those of weak demand, and
their ratios are too low (by 5 to 15 % of demand on simulated panels); a model of counts needs no such help. Of scaled
units no more is known than what kept rows show, so that days which really sold out may be put somewhat low.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ml.demand.hourly import Floats, Learnt, Missing, Rows, expected_missing

MOST_ROWS = 40_000  # rows that are hidden for calibration
LEAST_ROWS = 60  # rows that a cell of the calibration needs to speak for itself
SHARES = (0.15, 0.35, 0.6, 0.85)  # bounds of the shares of demand seen
BRISKNESS = 5  # classes of theta
PURCHASES = 30.0  # expected purchases that a ratio of 1 starts with


@dataclass(frozen=True)
class Calibration:
    """Ratios by share seen and briskness, and scaled quantiles (10 %, 90 %) by share seen."""

    brisk: Floats
    ratio: Floats
    low: Floats
    high: Floats

    def ratios(self, found: Missing) -> Floats:
        """Correction of each row's mean, shape (rows,)."""
        return np.asarray(self.ratio[_share_bin(found.share), np.searchsorted(self.brisk, found.theta)])

    def bounds(self, found: Missing, mean: Floats) -> tuple[Floats, Floats]:
        """10 % and 90 % quantiles of what is missing, never below zero nor on the wrong side of the mean."""
        bins = _share_bin(found.share)
        low, high = mean + self.low[bins] * found.sd, mean + self.high[bins] * found.sd
        return np.clip(low, 0.0, mean), np.maximum(high, mean)


def _share_bin(share: Floats) -> np.ndarray:
    return np.searchsorted(np.array(SHARES), share)


def calibrate(rows: Rows, learnt: Learnt, seed: int) -> Calibration | None:
    """Learn the calibration from rows that kept stock; None where too few did, or none sold out.

    Args:
        rows, learnt: the panel and what was learnt of it.
        seed: of the draw of rows and patterns.
    """
    bins = len(SHARES) + 1
    out = (rows.present & (rows.exposure < 1.0)).any(axis=1)
    kept, censored = np.flatnonzero(~out), np.flatnonzero(out)
    if len(kept) < LEAST_ROWS or not len(censored):
        return None
    rng = np.random.default_rng(seed)
    index = np.sort(rng.choice(kept, min(len(kept), MOST_ROWS), replace=False))
    exposure = rows.exposure[rng.choice(censored, len(index))]
    found = expected_missing(_take_learnt(learnt, index), _take(rows, index, exposure))
    truth = (rows.units[index] * (1.0 - exposure) * rows.present[index]).sum(axis=1)
    mean = found.hidden.sum(axis=1)
    told = mean > 1e-9
    if not told.any():
        return None
    brisk = np.quantile(found.theta[told], np.arange(1, BRISKNESS) / BRISKNESS)
    fitted = Calibration(brisk, _ratios(found, truth, mean, brisk, learnt.phi), np.zeros(bins), np.zeros(bins))
    error = (truth - mean * fitted.ratios(found))[told] / np.maximum(found.sd[told], 1e-12)
    low, high = _quantiles(error, _share_bin(found.share[told]), bins)
    return replace(fitted, low=low, high=high)


def _take(rows: Rows, index: np.ndarray, exposure: Floats) -> Rows:
    parts = {name: getattr(rows, name)[index] for name in ("present", "series", "group", "day", "weekday", "start")}
    return Rows(units=rows.units[index] * exposure, exposure=exposure, **parts)


def _take_learnt(learnt: Learnt, index: np.ndarray) -> Learnt:
    parts = {name: getattr(learnt, name)[index] for name in ("curve", "level", "shape", "mean")}
    return replace(learnt, **parts)


def _ratios(found: Missing, truth: Floats, mean: Floats, brisk: Floats, phi: float) -> Floats:
    bins = len(SHARES) + 1
    cell = _share_bin(found.share) * BRISKNESS + np.searchsorted(brisk, found.theta)
    start = PURCHASES * phi
    top = np.bincount(cell, truth, bins * BRISKNESS) + start
    return np.asarray((top / (np.bincount(cell, mean, bins * BRISKNESS) + start)).reshape(bins, BRISKNESS))


def _quantiles(error: Floats, group: np.ndarray, bins: int) -> tuple[Floats, Floats]:
    """10 % and 90 % quantiles of scaled errors by group; a small group has those of all."""
    both = np.tile(np.quantile(error, (0.1, 0.9)), (bins, 1))
    for g in range(bins):
        own = error[group == g]
        if len(own) >= LEAST_ROWS:
            both[g] = np.quantile(own, (0.1, 0.9))
    return both[:, 0], both[:, 1]
