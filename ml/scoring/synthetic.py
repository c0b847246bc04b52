"""Synthetic control for many series at once (Abadie, Diamond, Hainmueller 2010).

A treated series is compared with a weighted mean of donors whose weights, never negative and summing to 1, fit
its past: w* = argmin |x1 - X0 w|^2 + zeta |w|^2. Series are indexed to their own past mean, so that levels do not
matter; the small zeta spreads weights over equally good donors, since daily counts are noisy. Where the fit before
the sale is poor, a ridge correction is added (Ben-Michael, Feller, Rothstein 2021).

Every donor is also scored as if it had been treated, against the other donors: these placebo effects, each over its
own fit error, are the distribution that p values, bounds and the smallest detectable effect come from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

ROUNDS = 400
SPREAD = 0.5  # zeta over the donors' mean squared length
POOR_FIT = 1.3  # fit error over the donors' median above which the ridge correction is made
RIDGE = 1.0  # penalty of the correction over the mean eigenvalue


@dataclass(frozen=True)
class Fit:
    """Counterfactuals of several series.

    `expected[i, t]` is the indexed counterfactual on every day, `error[i]` the root mean squared error before the
    sale, `augmented[i]` whether the ridge correction was made.
    """

    expected: Floats
    error: Floats
    weights: Floats
    augmented: Bools


def simplex(rows: Floats, allowed: Bools) -> Floats:
    """Nearest points with entries >= 0 that sum to 1, row by row; entries not `allowed` are 0.

    Args:
        rows: shape (problems, donors).
        allowed: same shape, at least one True a row.

    Sorting method of Held, Wolfe and Crowder (1974).
    """
    masked = np.where(allowed, rows, -1e30)
    ordered = -np.sort(-masked, axis=1)
    steps = np.arange(1, rows.shape[1] + 1)
    cumulative = np.cumsum(np.where(ordered > -1e29, ordered, 0.0), axis=1) - 1.0
    inside = (ordered - cumulative / steps > 0) & (ordered > -1e29)
    last = inside.shape[1] - 1 - np.argmax(inside[:, ::-1], axis=1)
    shift = cumulative[np.arange(len(rows)), last] / (last + 1)
    return np.asarray(np.where(allowed, np.maximum(masked - shift[:, None], 0.0), 0.0), dtype=np.float64)


def fit(treated: Floats, donors: Floats, before: Bools, allowed: Bools) -> Fit:
    """Counterfactuals of `treated` from `donors`.

    Args:
        treated: indexed series, shape (series, days).
        donors: indexed series, shape (donors, days).
        before: days before the sale that are fitted, shape (days,).
        allowed: which donor may serve which series, shape (series, donors).
    """
    x, d = treated[:, before], donors[:, before]
    gram, pull = d @ d.T, x @ d.T
    zeta = SPREAD * float(np.trace(gram)) / max(len(d), 1) / max(len(d), 1)
    weights = _accelerated(gram + zeta * np.eye(len(d)), pull, allowed)
    expected = weights @ donors
    error = np.sqrt(((x - expected[:, before]) ** 2).mean(axis=1))
    poor = error > POOR_FIT * float(np.median(error))
    if poor.any() and len(d) > 2:
        expected[poor] = expected[poor] + _correction(x[poor] - expected[poor][:, before], donors, before)
    return Fit(expected, error, weights, poor)


def _accelerated(gram: Floats, pull: Floats, allowed: Bools) -> Floats:
    """Projected gradient with momentum (Beck and Teboulle 2009) on all rows together."""
    step = 1.0 / max(float(np.linalg.norm(gram, 2)), 1e-12)
    weights = allowed / allowed.sum(axis=1, keepdims=True)
    look, momentum = weights, 1.0
    for _ in range(ROUNDS):
        moved = simplex(look - step * (look @ gram - pull), allowed)
        following = (1.0 + np.sqrt(1.0 + 4.0 * momentum**2)) / 2.0
        look = moved + (momentum - 1.0) / following * (moved - weights)
        change = float(np.abs(moved - weights).max())
        weights, momentum = moved, following
        if change < 1e-7:
            break
    return np.asarray(weights, dtype=np.float64)


def _correction(residual: Floats, donors: Floats, before: Bools) -> Floats:
    """Ridge prediction, on the days after, of what the residual before suggests; shape (series, days)."""
    d = donors[:, before] - donors[:, before].mean(axis=0)
    gram = d @ d.T
    penalty = RIDGE * max(float(np.trace(gram)) / len(d), 1e-9)
    later = donors - donors.mean(axis=0)
    slope = d.T @ np.linalg.solve(gram + penalty * np.eye(len(d)), later)
    correction = residual @ slope
    correction[:, before] = 0.0
    return np.asarray(correction, dtype=np.float64)


def placebo_fit(donors: Floats, before: Bools) -> Fit:
    """Every donor against the others."""
    allowed = ~np.eye(len(donors), dtype=bool)
    return fit(donors, donors, before, allowed)
