"""How surely an effect is told from none: p values, half-widths, and sums over cells that err together.

Sales are counts. Every p and bound is the more cautious of two: that of Student's t, whose tails hold what is unsure
about the spread itself, and that of a count with the same mean and spread (negative binomial; Poisson where the spread
is smaller than a count's). On a series of one unit a week the bell curve alone would call a single unit an effect.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]

ALPHA = 0.05
Z = float(stats.norm.ppf(1.0 - ALPHA / 2.0))


def two_sided_p(effect: Floats, expected: Floats, spread: Floats, free: Floats) -> Floats:
    """Chance of an effect at least as large, either way, had there been none.

    Args:
        effect: units above what was expected, any shape.
        expected: units expected without the sale, >= 0.
        spread: standard deviation of the error of `expected`, the days' own noise included.
        free: degrees of freedom that the spread was learnt with.
    """
    bell = 2.0 * stats.t.sf(np.abs(effect) / np.maximum(spread, 1e-12), free)
    count = 2.0 * np.minimum(*_tails(expected + effect, *_count(expected, spread)))
    return np.asarray(np.clip(np.maximum(bell, count), 0.0, 1.0))


def placebo_p(effect: float, placebos: Floats) -> float:
    """(1 + number of placebos at least as large) / (number + 1), two-sided; what rounding parts counts as as large."""
    return float((1 + (np.abs(placebos) >= abs(effect) - 1e-12).sum()) / (len(placebos) + 1))


def half_width(expected: Floats, spread: Floats, free: Floats) -> Floats:
    """The smallest effect that would be told from none at 5 %, in units; arguments as of `two_sided_p`."""
    law = _count(expected, spread)
    units = stats.nbinom.ppf(1.0 - ALPHA / 2.0, *law)
    units = units + (_tails(units, *law)[0] > ALPHA / 2.0)
    return np.asarray(np.maximum(stats.t.ppf(1.0 - ALPHA / 2.0, free) * spread, units - expected))


def _tails(units: Floats, size: Floats, share: Floats) -> tuple[Floats, Floats]:
    """Chance of more and of fewer units, half of the chance of just as many in each (the mid-p of Lancaster 1961)."""
    low = stats.nbinom.cdf(np.ceil(units - 1e-9) - 1.0, size, share)
    high = stats.nbinom.sf(np.floor(units + 1e-9), size, share)
    same = np.clip(1.0 - low - high, 0.0, 1.0) / 2.0
    return high + same, low + same


def _count(expected: Floats, spread: Floats) -> tuple[Floats, Floats]:
    """Size and success share of the negative binomial with this mean and spread."""
    mean = np.maximum(expected, 1e-6)
    variance = np.maximum(spread**2, mean * (1.0 + 1e-6))
    return mean**2 / (variance - mean), mean / variance


def joint_widening(held: Floats, spread: Floats, length: int) -> float:
    """Factor by which cells together err more than if they erred apart, at least 1.

    Args:
        held: errors of the cells on held-out days, NaN where a day does not count, shape (cells, days).
        spread: each cell's standard deviation of its error over `length` days.
        length: days of the sale.

    What moves together (the shop's trend, a category's) shows in the held-out days, where sums over `length` days are
    held against the spread they would have apart.
    """
    known = ~np.isnan(held)
    error = np.where(known, held, 0.0).sum(axis=0)
    claimed = (known * (spread**2)[:, None]).sum(axis=0) / length
    length = min(length, len(error))
    whole = len(error) // length * length
    if not whole or not claimed[-whole:].sum():
        return 1.0
    sums, apart = (x[-whole:].reshape(-1, length).sum(axis=1) for x in (error, claimed))
    return float(np.sqrt(max(1.0, (sums**2).sum() / apart.sum())))
