"""Judging a day's counts, on arrays alone: known figures, rhythms, and how many false alarms chance makes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import gamma, nbinom

from spark_jobs import bursts
from spark_jobs.bursts import (
    BASE_DAYS,
    FALSE_DISCOVERIES,
    LEAST_RATIO,
    LEAST_TEXTS,
    SHARE_DAYS,
    UNSEEN,
    USUAL_SCATTER,
    judge,
)


def p_value(texts: float, base: list[float], total: float = 100.0) -> float:
    rows = np.array([base], float)
    return float(judge(np.array([texts]), np.array([total]), rows, np.full_like(rows, 100.0)).p_value[0])


def test_a_term_that_was_never_seen_has_half_a_text() -> None:
    found = judge(np.array([6.0]), np.array([50.0]), np.zeros((1, BASE_DAYS)), np.full((1, BASE_DAYS), 100.0))
    share = UNSEEN / (28 * 100 + 1)
    assert found.expected[0] == pytest.approx(
        50 * share * 100 / 500
    )  # its weekday had none in 400 texts, 100 say `share`
    size, shape = 1 / (USUAL_SCATTER + 1 / UNSEEN), SHARE_DAYS / USUAL_SCATTER
    drawn = nbinom.rvs(size, size / (size + found.expected[0] / gamma.rvs(shape, scale=1 / shape, size=400_000,
                       random_state=1)), random_state=2)  # fmt: skip
    assert found.p_value[0] == pytest.approx((drawn >= 6).mean(), rel=0.1)


@pytest.mark.parametrize(("mean", "size", "shape", "texts"), [(4, 3, 20, 30), (50, 3, 20, 600), (1, 5, 6200, 9)])
def test_the_tail_is_that_of_the_integral(mean: float, size: float, shape: float, texts: float) -> None:
    def density(log_u: float) -> float:
        u = math.exp(log_u)
        at = nbinom.sf(texts - 1, size, size / (size + mean / u))
        return float(gamma.pdf(u, shape, scale=1 / shape) * u * at)

    wide = 12 / math.sqrt(shape)
    exact = quad(density, -wide, wide, limit=400, points=[0], epsabs=0)[0]
    found = bursts._tail(*(np.array([float(v)]) for v in (texts, mean, size, shape)))[0]
    assert exact < 1e-3 and found == pytest.approx(exact, rel=0.01)


def test_expectation_grows_with_the_days_texts() -> None:
    base, totals = np.full((2, BASE_DAYS), 4.0), np.full((2, BASE_DAYS), 100.0)
    found = judge(np.array([8.0, 8.0]), np.array([100.0, 200.0]), base, totals)
    assert found.expected == pytest.approx([4, 8], rel=0.01)
    assert found.p_value[0] < found.p_value[1]


def test_a_word_of_every_friday_is_no_news_on_friday_but_is_on_saturday() -> None:
    fridays = [12.0 if day % 7 == 6 else 0.0 for day in range(BASE_DAYS)]  # the day before is day 0
    saturdays = [12.0 if day % 7 == 0 else 0.0 for day in range(BASE_DAYS)]
    assert p_value(13, fridays) > 0.2
    assert p_value(13, saturdays) < 1e-3


def test_a_burst_of_the_last_days_does_not_hide_its_own_going_on() -> None:
    quiet, third_day = [1.0] * BASE_DAYS, [20.0, 20.0] + [1.0] * (BASE_DAYS - 2)
    assert p_value(20, quiet) < 1e-6
    assert p_value(20, third_day) < 1e-4


def test_days_without_texts_are_no_evidence() -> None:
    base, totals = np.full((1, BASE_DAYS), 4.0), np.full((1, BASE_DAYS), 100.0)
    base[:, 14:], totals[:, 14:] = 0, 0
    found = judge(np.array([4.0]), np.array([100.0]), base, totals)
    assert found.expected == pytest.approx([4], rel=0.02)


TERMS, TEXTS = 1500, 2000.0
Counts = NDArray[np.float64]


def stationary(seed: int, days: int, scatter: float) -> Iterator[tuple[Counts, Counts]]:
    """Simulated counts of a day and of the 28 before it, the last one first, and what the day's terms have on average.

    Every term has a weekly rhythm of its own; its days scatter by `scatter` beyond chance, in squared means.
    """
    rng = np.random.default_rng(seed)
    mean = rng.gamma(0.3, 12, TERMS) + 0.05
    weekly = 1 + 0.5 * np.sin(2 * np.pi * (np.arange(BASE_DAYS + 1)[:, None] / 7 + rng.random(TERMS)))
    for _ in range(days):
        noise = rng.gamma(1 / scatter, scatter, weekly.shape) if scatter else 1.0
        yield rng.poisson(mean * weekly * noise).astype(float), mean * weekly[0]


def reported(counts: Counts) -> NDArray[np.bool_]:
    """Which terms `detect_trends` would report of a day's counts, given those of the days before."""
    day, before = counts[0], counts[1:]
    often = np.flatnonzero(day >= LEAST_TEXTS)
    found = judge(day[often], np.full(len(often), TEXTS), before[:, often].T, np.full((len(often), BASE_DAYS), TEXTS))
    ordered = np.sort(found.p_value)
    passed = ordered * (day > 0).sum() <= FALSE_DISCOVERIES * np.arange(1, len(often) + 1)
    chosen = np.zeros(len(day), bool)
    if passed.any():
        chosen[often] = (found.p_value <= ordered[passed].max()) & (day[often] >= LEAST_RATIO * found.expected)
    return chosen


@pytest.mark.parametrize(("scatter", "most"), [(0.0, 0.03), (0.1, 0.04), (0.3, 0.05), (0.6, 0.10)])
def test_chance_alone_makes_few_discoveries(scatter: float, most: float) -> None:
    """No burst, 120 simulated days: the share of them with a trend, of which 2 % is the nominal one."""
    alarms = [reported(counts).any() for seed in (5, 6, 7) for counts, _ in stationary(seed, 40, scatter)]
    assert np.mean(alarms) <= most


def test_bursts_are_found_all_the_same() -> None:
    """A term of two to eight texts a day grows to some five times as many; another, all but new, comes to nine texts."""
    grown: list[bool] = []
    new: list[bool] = []
    for counts, mean in stationary(8, 60, 0.1):
        one = np.flatnonzero((mean > 2) & (mean < 8))[len(grown)]
        other = np.flatnonzero(mean < 0.1)[len(new)]
        counts[0, one] += round(3 * mean[one] + 10)
        counts[0, other] = 9
        chosen = reported(counts)
        grown.append(bool(chosen[one]))
        new.append(bool(chosen[other]))
    assert np.mean(grown) >= 0.65 and np.mean(new) >= 0.95


def test_one_term_of_a_day_is_judged_by_what_the_others_scatter() -> None:
    """A row whose own days came out even by chance is no surer than its day lets it be."""
    rng = np.random.default_rng(1)
    others = rng.poisson(20 * rng.gamma(2, 0.5, (300, BASE_DAYS))).astype(float)
    even, totals = np.full((1, BASE_DAYS), 20.0), np.full((301, BASE_DAYS), 500.0)
    alone = judge(np.array([45.0]), np.array([500.0]), even, totals[:1]).p_value[0]
    beside = judge(np.full(301, 45.0), np.full(301, 500.0), np.vstack([even, others]), totals).p_value[0]
    assert alone < 0.5 * beside
