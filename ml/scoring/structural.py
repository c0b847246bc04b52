"""Structural time series of a series without donors: a local level and weekday effects (Harvey 1989, chapters 2 and 4).

y_t = level_t + weekday_t + e_t, where the level walks at random (step variance q s2), weekday effects are random with
variance w s2, and e_t has variance s2. Given q and w this is a Gaussian process with covariance s2 (I + q min(s, t) + w
[same weekday]) around an unknown level, so filtering and forecasting it is one linear system a series: the same numbers
as the Kalman filter with a diffuse level, for all series and all (q, w) at once, days without a reading left out.

q and w are not picked but averaged over, each weighed by its likelihood (level and s2 integrated out): forty days of
counts seldom say how much of their movement is noise, and an interval that takes one value for granted is too narrow.
q is what a level that moves by up to a tenth a day means for counts of that level (their variance is about their mean).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MOVES = (0.0, 0.02, 0.05, 0.1)  # standard deviation of the level's daily step over the level
TINY = 1e-9  # what a series without a day, or without movement, is divided by
LEAST = 2.0**-6  # units a day below which levels are not told apart
WEEKDAYS = (0.0, 0.03, 0.2)  # w: from no weekday effect to one of nearly half the noise


@dataclass(frozen=True)
class Forecast:
    """What several series would do on the days ahead: `mean` (series, days), `cov` (series, days, days), in units."""

    mean: Floats
    cov: Floats

    def spread(self, days: Bools) -> Floats:
        """Standard deviation of the sum over some days ahead; `days` is a mask (days,) or (series, days)."""
        mask = np.broadcast_to(days, self.mean.shape).astype(np.float64)
        return np.asarray(np.sqrt(np.maximum(np.einsum("nij,ni,nj->n", self.cov, mask, mask), 0.0)))


def forecast(units: Floats, usable: Bools, weekday: Ints, at: Ints, ahead: Ints) -> Forecast:
    """Forecast series from their own past.

    Args:
        units: past units, shape (series, days).
        usable: days that count, same shape; at least two a series.
        weekday: weekday (0 to 6) of every day of the calendar that `at` and `ahead` point into.
        at: positions of the past days in that calendar, ascending, shape (days,).
        ahead: positions of the days to forecast, all later, shape (days ahead,).
    """
    mean = np.where(usable, units, 0.0).sum(axis=1) / np.maximum(usable.sum(axis=1), 1)
    octave = np.round(np.log2(np.maximum(mean, LEAST)))  # series of about one level share their systems
    kinds, kind = np.unique(np.column_stack([octave, usable]), axis=0, return_inverse=True)
    alike = _Alike(kinds[:, 1:] > 0, 2.0 ** kinds[:, 0], kind.ravel(), weekday, at, ahead)
    parts = [_given(units, usable, alike, move, w) for move in MOVES for w in WEEKDAYS]
    weight = _weights(np.stack([p[0] for p in parts]))
    means, spreads = np.stack([p[1] for p in parts]), np.stack([p[2] for p in parts])
    mean = np.einsum("gn,gnh->nh", weight, means)
    apart = means - mean
    cov = np.einsum("gn,gnij->nij", weight, spreads) + np.einsum("gn,gni,gnj->nij", weight, apart, apart)
    return Forecast(mean, cov)


@dataclass(frozen=True)
class _Alike:
    """Kinds of series that share a system: days that count (kinds, days), level (kinds,); each series' kind; days."""

    usable: Bools
    level: Floats
    kind: Ints
    weekday: Ints
    at: Ints
    ahead: Ints

    def shared(self, one: Ints, other: Ints, move: float, w: float) -> Floats:
        """Covariance of level and weekday between days over the noise's variance, shape (kinds, days, other days)."""
        steps = np.minimum(one[:, None], other[None, :]) + 1.0
        same = self.weekday[one][:, None] == self.weekday[other][None, :]
        return np.asarray(move**2 * self.level[:, None, None] * steps + w * same, dtype=np.float64)


def _given(units: Floats, usable: Bools, alike: _Alike, move: float, w: float) -> tuple[Floats, Floats, Floats]:
    """Log likelihood, mean and covariance of every series for one size of steps and weekday effects."""
    ones, kind, at, ahead = alike.usable.astype(np.float64), alike.kind, alike.at, alike.ahead
    past = alike.shared(at, at, move, w) * ones[:, :, None] * ones[:, None, :] + np.eye(len(at))
    inverse = np.linalg.inv(past)
    pulled = np.einsum("pst,pt->ps", inverse, ones)
    known = np.maximum(np.einsum("ps,ps->p", pulled, ones), TINY)
    to = alike.shared(ahead, at, move, w) * ones[:, None, :]
    gain = np.einsum("phs,pst->pht", to, inverse)
    rest = 1.0 - np.einsum("pht,pt->ph", gain, ones)
    cov = alike.shared(ahead, ahead, move, w) + np.eye(len(ahead)) - np.einsum("pht,pit->phi", gain, to)
    cov += rest[:, :, None] * rest[:, None, :] / known[:, None, None]
    y = np.where(usable, units, 0.0)
    level = np.einsum("ns,ns->n", pulled[kind], y) / known[kind]
    left = np.where(usable, y - level[:, None], 0.0)
    squares = np.maximum(np.einsum("ns,nst,nt->n", left, inverse[kind], left), TINY)
    free = np.maximum(usable.sum(axis=1) - 1.0, 1.0)
    determinant = np.linalg.slogdet(past)[1]
    likelihood = -0.5 * (determinant + np.log(known))[kind] - 0.5 * free * np.log(squares)
    mean = level[:, None] + np.einsum("nht,nt->nh", gain[kind], left)
    return likelihood, mean, cov[kind] * (squares / free)[:, None, None]


def _weights(likelihood: Floats) -> Floats:
    """Posterior weights of the grid, shape (grid, series), equal before the data."""
    raw = np.exp(likelihood - likelihood.max(axis=0))
    return np.asarray(raw / raw.sum(axis=0), dtype=np.float64)
