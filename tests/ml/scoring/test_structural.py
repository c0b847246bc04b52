"""The forecasts of single methods, each against an independent computation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ml.scoring import regression, structural


def _kalman(y: np.ndarray, usable: np.ndarray, weekday: np.ndarray, q: float, w: float, ahead: int):  # type: ignore[no-untyped-def]
    """Textbook filter: state = level and seven weekday effects. Returns mean and covariance of the days ahead."""
    state, cov = np.zeros(8), np.diag([1e8, *[w] * 7])
    squares, seen = 0.0, 0
    for t in range(len(y)):
        if t:
            cov[0, 0] += q
        if not usable[t]:
            continue
        h = np.zeros(8)
        h[[0, 1 + weekday[t]]] = 1.0
        f = h @ cov @ h + 1.0
        error = y[t] - h @ state
        gain = cov @ h / f
        state, cov = state + gain * error, cov - np.outer(gain, h @ cov)
        squares += error**2 / f if seen else 0.0  # the first error is the diffuse level's
        seen += 1
    h = np.zeros((ahead, 8))
    h[:, 0] = 1.0
    h[np.arange(ahead), 1 + weekday[len(y) : len(y) + ahead]] = 1.0
    step = np.arange(1, ahead + 1)
    total = h @ cov @ h.T + q * np.minimum(step[:, None], step) + np.eye(ahead)
    return h @ state, total * squares / (seen - 1)


@pytest.mark.parametrize(("move", "w"), [(0.0, 0.0), (0.05, 0.0), (0.2, 0.2), (0.03, 0.03)])
def test_a_structural_forecast_is_that_of_a_kalman_filter(
    move: float, w: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(structural, "MOVES", (move,))
    monkeypatch.setattr(structural, "WEEKDAYS", (w,))
    rng = np.random.default_rng(5)
    units, usable = rng.poisson(6.0, (4, 30)).astype(float), rng.random((4, 30)) < 0.8
    weekday = (np.arange(36) + 2) % 7
    ours = structural.forecast(units, usable, weekday, np.arange(30), np.arange(30, 36))
    for i in range(4):
        level = 2.0 ** round(np.log2(units[i][usable[i]].mean()))  # of its octave
        mean, cov = _kalman(units[i], usable[i], weekday, move**2 * level, w, 6)
        assert ours.mean[i] == pytest.approx(mean, rel=1e-5)
        assert ours.cov[i] == pytest.approx(cov, rel=1e-4, abs=1e-6)


def test_structural_intervals_hold_whether_the_level_moves_or_not() -> None:
    """Where the level stands still they are a little wide: forty days cannot rule out that it moves."""
    rng = np.random.default_rng(6)
    calendar, n = np.arange(52) % 7, 400
    effect = rng.normal(0, 0.3, (n, 7))[:, calendar]
    for step in (0.0, 0.3):
        level = 20.0 + np.cumsum(rng.normal(0, step, (n, 52)), axis=1)
        y = level + effect + rng.normal(0, 1.0, (n, 52))
        got = structural.forecast(y[:, :42], np.ones((n, 42), dtype=bool), calendar, np.arange(42), np.arange(45, 47))
        z = (y[:, 45:47].sum(axis=1) - got.mean.sum(axis=1)) / got.spread(np.ones(2, dtype=bool))
        assert 0.925 < np.mean(np.abs(z) < stats.t.ppf(0.975, 40)) < 0.99


def test_days_that_do_not_count_say_nothing() -> None:
    rng = np.random.default_rng(7)
    units, usable = rng.poisson(6.0, (3, 30)).astype(float), rng.random((3, 30)) < 0.7
    control = rng.uniform(0.5, 1.5, 33)
    at, ahead, weekday = np.arange(30), np.arange(30, 33), np.arange(33) % 7
    wild = np.where(usable, units, 1e6)
    for one, other in (
        [structural.forecast(u, usable, weekday, at, ahead) for u in (units, wild)],
        [regression.forecast(u, usable, control[:30], control[30:]) for u in (units, wild)],
    ):
        assert np.allclose(one.mean, other.mean)
        assert np.allclose(one.cov, other.cov)


def test_a_regression_forecast_is_that_of_the_textbook() -> None:
    rng = np.random.default_rng(8)
    x = rng.uniform(0.5, 1.5, 31)
    y = 3.0 + 5.0 * x + rng.normal(0, 1, 31)
    got = regression.forecast(y[None, :30], np.ones((1, 30), dtype=bool), x[:30], x[30:])
    line = stats.linregress(x[:30], y[:30])
    left = y[:30] - line.intercept - line.slope * x[:30]
    noise = (left**2).sum() / 28
    far = (x[30] - x[:30].mean()) ** 2 / ((x[:30] - x[:30].mean()) ** 2).sum()
    assert got.mean[0, 0] == pytest.approx(line.intercept + line.slope * x[30])
    assert got.cov[0, 0, 0] == pytest.approx(noise * (1 + 1 / 30 + far))


def test_regression_intervals_of_sums_hold() -> None:
    """Days ahead share one line: taking their errors for independent would make the sum's interval too narrow."""
    rng = np.random.default_rng(9)
    x = np.concatenate([rng.uniform(0.8, 1.2, 20), np.full(10, 1.6)])
    y = 2.0 + 4.0 * x + rng.normal(0, 1, (600, 30))
    got = regression.forecast(y[:, :20], np.ones((600, 20), dtype=bool), x[:20], x[20:])
    error = y[:, 20:].sum(axis=1) - got.mean.sum(axis=1)
    limit = stats.t.ppf(0.975, 18)
    assert 0.93 < np.mean(np.abs(error) < limit * got.spread(np.ones(10, dtype=bool))) < 0.97
    alone = np.sqrt(np.einsum("nii->n", got.cov))
    assert np.mean(np.abs(error) < limit * alone) < 0.8
