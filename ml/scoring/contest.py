"""Which method says what a series would have done: the one that foretold the weeks before the sale best.

Up to three weeks before the sale are foretold, each from the days before it, by every method that the series and its
donors allow; the smallest error on these held-out days wins, series by series, and its name is written down. Fit on the
days learnt from is no argument: more free weights always fit them better.

Synthetic control is allowed from 19 donors on (fewer could never give a placebo p of 0.05), regression on the donors'
mean from five on, a structural time series always.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.scoring import regression, structural, synthetic
from ml.scoring.structural import Forecast

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

SYNTHETIC, REGRESSION, STRUCTURAL = "synthetic_control", "time_based_regression", "structural_time_series"
METHODS = (SYNTHETIC, REGRESSION, STRUCTURAL)  # where no stretch can be held out, the first that is allowed
LEAST_DONORS = {SYNTHETIC: 19, REGRESSION: 5, STRUCTURAL: 0}
LEAST_PRE = 14  # days that count: below, there is too little history for any method
STRETCHES, STRETCH = 3, 7  # held-out weeks, days of each
WILD = 9.0  # three standard deviations, squared
LEAST_NOISE = 0.02  # units squared: a series that sold nothing may sell one unit in fifty days
HELD_DAYS = STRETCHES * STRETCH


@dataclass(frozen=True)
class Past:
    """Series before a sale, and donors before and after it.

    Attributes:
        units: units before the sale, sale days filled by what is usual, shape (series, days before).
        usable: days that count: on offer and in no sale, same shape.
        whole: series on offer all along: synthetic control fits every day.
        donors: donors over their mean before the sale, shape (donors, days before + days ahead).
        weekday: weekday of all these days.
    """

    units: Floats
    usable: Bools
    whole: Bools
    donors: Floats
    weekday: Ints


@dataclass(frozen=True)
class Choice:
    """The chosen method of every series and what it foretells.

    `forecast` is in units; its covariance is that of the model methods, widened where the held-out weeks were foretold
    worse than they claimed. `held` are the errors on the held-out days, NaN where none, shape (series, held-out days);
    `error` their root mean square over the series' mean. `augmented` and `fit_error` belong to synthetic control.
    """

    method: npt.NDArray[np.str_]
    forecast: Forecast
    held: Floats
    error: Floats
    augmented: Bools
    fit_error: Floats


def choose(past: Past, length: int) -> Choice:
    """Hold the contest and forecast the days ahead.

    Args:
        past: the series; each with at least `LEAST_PRE` usable days.
        length: days of the sale: forecasts of that many days together are what intervals are checked by.
    """
    days = past.units.shape[1]
    allowed = _allowed(past)
    held, strain = _hold_out(past, days, length)
    score = np.where(allowed, np.sqrt(_mean(held**2)), np.inf)
    first = np.argmax(allowed, axis=0)
    known = np.isfinite(score).any(axis=0) & ~np.isnan(score).any(axis=0)
    winner = np.where(known, np.argmin(np.where(np.isnan(score), np.inf, score), axis=0), first)
    every = np.arange(len(past.units))
    ahead = np.arange(days, past.donors.shape[1])
    final, fitted = _forecasts(past, days, ahead)
    cov = np.stack([f.cov * max(1.0, s) for f, s in zip(final, strain, strict=True)])
    mean = np.stack([f.mean for f in final])
    level = np.maximum(past.units.mean(axis=1), 1e-9)
    return Choice(
        np.array(METHODS)[winner], Forecast(mean[winner, every], cov[winner, every]), held[winner, every],
        score[winner, every] / level, fitted.augmented, fitted.error,
    )  # fmt: skip


def _allowed(past: Past) -> Bools:
    """Which method may score which series, shape (methods, series)."""
    enough = np.array([len(past.donors) >= LEAST_DONORS[m] for m in METHODS])
    allowed = np.repeat(enough[:, None], len(past.units), axis=1)
    allowed[METHODS.index(SYNTHETIC)] &= past.whole
    return allowed


def _hold_out(past: Past, days: int, length: int) -> tuple[Floats, Floats]:
    """Errors on the held-out days, shape (methods, series, held-out days), and each method's strain.

    Strain is the mean square of errors, summed over as many days as the sale has, over the variance claimed for them.
    """
    weeks = max(min(STRETCHES, (days - LEAST_PRE) // STRETCH), 0)
    held = np.full((len(METHODS), len(past.units), HELD_DAYS), np.nan)
    claims: list[list[Floats]] = [[] for _ in METHODS]
    for k in range(weeks):
        ahead = np.arange(days - (k + 1) * STRETCH, days - k * STRETCH)
        enough = past.usable[:, : ahead[0]].sum(axis=1) > 2
        counted = past.usable[:, ahead] & enough[:, None]
        for m, guess in enumerate(_forecasts(past, int(ahead[0]), ahead)[0]):
            error = np.where(counted, past.units[:, ahead] - guess.mean, np.nan)
            held[m][:, ahead - days + HELD_DAYS] = error
            claims[m].append(_strain(error, guess, min(length, STRETCH)))
    strain = [float(_mean(np.concatenate(c))) if c else 1.0 for c in claims]
    return held, np.nan_to_num(np.array(strain), nan=1.0)


def _strain(error: Floats, guess: Forecast, length: int) -> Floats:
    """Squared sums of errors over windows of some days, over their claimed variance; NaN where a day does not count.

    No claim is smaller than a count's own noise. One wild day says no more than `WILD`: it is an event, not a spread.
    """
    parts = []
    for start in range(0, STRETCH - length + 1, length):
        window = np.zeros(STRETCH, dtype=bool)
        window[start : start + length] = True
        claimed = np.maximum(guess.spread(window) ** 2, np.maximum(guess.mean[:, window].sum(axis=1), LEAST_NOISE))
        parts.append(np.minimum(error[:, window].sum(axis=1) ** 2 / claimed, WILD))
    return np.concatenate(parts)


def _forecasts(past: Past, origin: int, ahead: Ints) -> tuple[list[Forecast], synthetic.Fit]:
    """Forecast by every method from the days before `origin`, in the order of `METHODS`."""
    units, usable = past.units[:, :origin], past.usable[:, :origin]
    control, fitted = _synthetic(past, origin, ahead)
    series, span = len(units), len(ahead)
    mean = past.donors.mean(axis=0) if len(past.donors) else np.ones(past.donors.shape[1])
    forecasts = [
        Forecast(control, np.zeros((series, span, span))),
        regression.forecast(units, usable, mean[:origin], mean[ahead]),
        structural.forecast(units, usable, past.weekday, np.arange(origin), ahead),
    ]
    return [Forecast(np.maximum(f.mean, 0.0), f.cov) for f in forecasts], fitted


def _synthetic(past: Past, origin: int, ahead: Ints) -> tuple[Floats, synthetic.Fit]:
    """Counterfactuals of synthetic control in units; zeros where donors are too few."""
    n, days = len(past.units), past.donors.shape[1]
    if len(past.donors) < LEAST_DONORS[SYNTHETIC]:
        none = np.zeros(n)
        return np.zeros((n, len(ahead))), synthetic.Fit(np.zeros((n, days)), none, none[:, None], none.astype(bool))
    before = np.arange(days) < origin
    level = np.maximum(past.units[:, :origin].mean(axis=1), 1e-9)
    indexed = np.zeros((n, days))
    indexed[:, :origin] = past.units[:, :origin] / level[:, None]
    donors = past.donors / np.maximum(past.donors[:, before].mean(axis=1), 1e-9)[:, None]
    fitted = synthetic.fit(indexed, donors, before, np.ones((n, len(donors)), dtype=bool))
    return fitted.expected[:, ahead] * level[:, None], fitted


def _mean(values: Floats) -> Floats:
    """Mean over the last axis of what is known; NaN where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(axis=-1)
    total = np.where(known, values, 0.0).sum(axis=-1)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))
