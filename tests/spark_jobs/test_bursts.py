"""Judging a day's counts, on arrays alone: known figures, rhythms, and how many false alarms chance makes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import nbinom

from spark_jobs.bursts import BASE_DAYS, FALSE_DISCOVERIES, LEAST_RATIO, LEAST_TEXTS, UNSEEN, USUAL_SCATTER, judge


def p_value(texts: float, base: list[float], total: float = 100.0) -> float:
    rows = np.array([base], float)
    return float(judge(np.array([texts]), np.array([total]), rows, np.full_like(rows, 100.0)).p_value[0])


def test_a_term_that_was_never_seen_has_half_a_text() -> None:
    found = judge(np.array([6.0]), np.array([50.0]), np.zeros((1, BASE_DAYS)), np.full((1, BASE_DAYS), 100.0))
    share = UNSEEN / (28 * 100 + 1)
    assert found.expected[0] == pytest.approx(
        50 * share * 100 / 500
    )  # its weekday had none in 400 texts, 100 say `share`
    size = 1 / (USUAL_SCATTER * 1.0 / (1.0 + 0.0) + 1 / UNSEEN)
    assert found.p_value[0] == pytest.approx(nbinom.sf(5, size, size / (size + found.expected[0])), rel=1e-2)


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


def has_alarm(day: NDArray[np.float64], before: NDArray[np.float64]) -> bool:
    """A trend as `detect_trends` reports it, of counts by term and of those of the days before, the last one first."""
    often = day >= LEAST_TEXTS
    rows = int(often.sum())
    found = judge(day[often], np.full(rows, 2000.0), before[:, often].T, np.full((rows, BASE_DAYS), 2000.0))
    ordered = np.sort(found.p_value)
    passed = ordered * (day > 0).sum() <= FALSE_DISCOVERIES * np.arange(1, rows + 1)
    if not passed.any():
        return False
    chosen = (found.p_value <= ordered[passed].max()) & (day[often] >= LEAST_RATIO * found.expected)
    return bool(chosen.any())


def test_chance_alone_makes_few_discoveries() -> None:
    """1,500 terms with a weekly rhythm and a scatter of their own, no burst: few days have a trend."""
    alarms, days = 0, 40
    for seed in (5, 6, 7):
        rng = np.random.default_rng(seed)
        mean = rng.gamma(0.3, 12, 1500) + 0.05
        weekly = 1 + 0.5 * np.sin(2 * np.pi * (np.arange(BASE_DAYS + 1)[:, None] / 7 + rng.random(1500)))
        for _ in range(days):
            counts = rng.poisson(mean * weekly * rng.gamma(10, 0.1, weekly.shape)).astype(float)
            alarms += has_alarm(counts[0], counts[1:])
    assert alarms / (3 * days) <= 0.1
