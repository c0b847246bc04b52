"""How unusual a day's count of a term is, given its four weeks before: arrays in, arrays out, no Spark.

The expected count is the day's number of texts times the term's usual share of them. The share of a weekday is that of
the same weekday in the four weeks before, drawn towards the share of all 28 days as if one more day of that weekday had
shown just that; so a word of every Friday is no news on a Friday. The count is held against what such days tell of the
next one: Poisson around a rate that scatters by φ, var = μ + μ²(φ + 1/n), μ itself known as well as days that scatter
by φ can show it. φ is how much the term's days scatter beyond chance, by the method of moments without the `TRIMMED`
oddest days (a burst of the last days must not hide its own going on), n the number of texts the share rests on, as a
Gamma-Poisson predictive has it. A mean of k days whose rates are Gamma has a Gamma error of shape k/φ, in the
denominator: the rate over its estimate is an F ratio, whose tail is far heavier than that of the Gamma (a negative
binomial of larger variance in its stead made four times as many false alarms where terms scatter by half). Four weeks
tell little of one term's φ, and where it comes out too small by chance an ordinary day looks like a burst: so it is
drawn towards that of all the day's terms, as counts of genes are judged (moderated dispersion, Robinson and Smyth
2007). Of many terms a day some look odd by chance: what is reported is chosen by the false-discovery rate (Benjamini
and Hochberg 1995).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray
from scipy.special import digamma, polygamma
from scipy.stats import nbinom

#: Raised when a figure changes: days are then judged anew.
VERSION = "3"
WEEKS = 4
BASE_DAYS = 7 * WEEKS
#: Days with texts there must be among the 28, else nothing is usual yet.
LEAST_DAYS = 14
#: Texts a term needs, and how many times the expected number.
LEAST_TEXTS, LEAST_RATIO = 5, 2.0
#: Nominal share of false alarms among a day's terms (measured: docs/trends.md).
FALSE_DISCOVERIES = 0.02
#: Texts that a term is taken to have had before it was ever seen.
UNSEEN = 0.5
TRIMMED = 3
#: Scatter of terms of which little is known. A day with no chance in its count would tell the scatter with this weight.
USUAL_SCATTER = 0.1
ONE_DAY = 1 / USUAL_SCATTER**2
#: Scatter that a term is taken to have at least: below it a share's error is nothing beside chance.
LEAST_SCATTER = 1e-3
#: Days of that kind that the belief weighs that a term scatters as the day's others do: half as much as its own 25.
BELIEF = (BASE_DAYS - TRIMMED) / 2
#: Days that a usual share is worth: `WEEKS` of its weekday and one that has the share of all, which hardly scatters.
SHARE_DAYS = (WEEKS + 1) ** 2 / (WEEKS + 1 / BASE_DAYS)
#: Gauss-Hermite nodes over the logarithm of a share's error; a tail of 1e-6 comes out to a hundredth of itself.
NODES = 21
#: What the trimming and the fitted shares take from a variance, made good (measured on simulated counts: some 60 %).
UNTRIMMED = 2.6

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """One value a term: texts expected, and the chance of as many texts as there were, or more."""

    expected: Floats
    p_value: Floats


def _shares(base: Floats, totals: Floats) -> tuple[Floats, Floats]:
    """Usual share by row and weekday (column 6 is the day's own), and the texts that each rests on."""
    overall = (base.sum(1) + UNSEEN) / (totals.sum(1) + 1)
    one_day = (totals.sum(1) / np.maximum((totals > 0).sum(1), 1))[:, None]
    counts = base.reshape(-1, WEEKS, 7).sum(1) + one_day * overall[:, None]
    texts = totals.reshape(-1, WEEKS, 7).sum(1) + one_day
    return counts / np.maximum(texts, 1), counts


def _scatter(base: Floats, usual: Floats) -> Floats:
    """Variance of each term's days beyond chance, in squared means, drawn towards that of all the rows' terms.

    A day of mean μ tells φ with a variance that goes as (1/μ + φ)², by whose inverse terms are weighed.
    """
    days = BASE_DAYS - TRIMMED
    kept = np.argsort(np.abs(base - usual), axis=1, kind="stable")[:, :days]
    surplus, squares, mean = (
        np.take_along_axis(of, kept, 1).sum(1)
        for of in (UNTRIMMED * (base - usual) ** 2 - usual, usual**2, usual / days)
    )
    own = surplus / np.maximum(squares, 1e-12)
    known = squares / (1 + USUAL_SCATTER * mean) ** 2
    belief = BELIEF * ONE_DAY
    common = max(float((known @ own + belief * USUAL_SCATTER) / (known.sum() + belief)), 0.0)
    return np.maximum((known * own + belief * common) / (known + belief), 0.0)


def judge(texts: Floats, total: Floats, base: Floats, base_totals: Floats) -> Judged:
    """Expected texts and p-values of terms on a day; the rows are all those of the day, which bear on one another.

    Args:
        texts: texts that say the term that day, shape (rows,).
        total: all texts of its category that day, shape (rows,).
        base: as `texts`, of the days before, the last one first, shape (rows, BASE_DAYS).
        base_totals: as `total`, of these days; 0 where there is none, shape (rows, BASE_DAYS).
    """
    shares, counts = _shares(base, base_totals)
    expected = total * shares[:, 6]
    usual = base_totals * np.tile(shares, WEEKS)
    scatter = np.maximum(_scatter(base, usual), LEAST_SCATTER)
    size = 1 / (scatter + 1 / np.maximum(counts[:, 6], UNSEEN))
    return Judged(expected, _tail(texts, expected, size, SHARE_DAYS / scatter))


def _tail(texts: Floats, expected: Floats, size: Floats, shape: Floats) -> Floats:
    """Chance of `texts` or more from a negative binomial of `size`, mean `expected`/u; u: Gamma of `shape`, mean 1."""
    z, weight = hermegauss(NODES)
    spread = np.sqrt(polygamma(1, shape))
    u = np.exp(z[:, None] * spread + digamma(shape) - np.log(shape))
    # the density of log u over that of the normal the nodes stand for; its constant cancels in the mean
    density = np.log(weight)[:, None] + z[:, None] ** 2 / 2 + shape * (np.log(u) - u)
    weights = np.exp(density - density.max(0))
    chance = nbinom.sf(texts - 1, size, size / (size + expected / u))
    return np.asarray((weights * chance).sum(0) / weights.sum(0))
