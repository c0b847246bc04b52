"""Synthetic control: projection and weights against an independent solver, the placebo p."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from ml.scoring.synthetic import SPREAD, fit, simplex
from ml.scoring.uncertainty import placebo_p


def test_simplex_projection_is_the_nearest_point() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 1, (20, 5))
    allowed = rng.random((20, 5)) < 0.8
    allowed[:, 0] = True
    got = simplex(rows, allowed)
    assert got.sum(axis=1) == pytest.approx(1.0)
    assert (got >= 0).all()
    assert (got[~allowed] == 0).all()
    for row, mask, point in zip(rows, allowed, got, strict=True):
        free = np.flatnonzero(mask)
        best = minimize(
            lambda w, r=row, m=free: ((w - r[m]) ** 2).sum(),
            np.full(len(free), 1 / len(free)),
            bounds=[(0, 1)] * len(free),
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        )
        assert point[free] == pytest.approx(best.x, abs=1e-3)


def test_weights_agree_with_an_independent_solver() -> None:
    rng = np.random.default_rng(1)
    donors = rng.gamma(5.0, 0.2, (6, 40))
    target = 0.6 * donors[1] + 0.4 * donors[4] + rng.normal(0, 0.01, 40)
    before = np.arange(40) < 30
    ours = fit(target[None], donors, before, np.ones((1, 6), dtype=bool)).weights[0]
    gram = donors[:, before] @ donors[:, before].T
    zeta = SPREAD * np.trace(gram) / 36

    def loss(w: np.ndarray) -> float:
        return float(((target[before] - w @ donors[:, before]) ** 2).sum() + zeta * (w**2).sum())

    best = minimize(
        loss,
        np.full(6, 1 / 6),
        bounds=[(0, 1)] * 6,
        tol=1e-12,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
    )
    assert loss(ours) <= best.fun + 1e-6
    assert ours[[1, 4]].min() > ours[[0, 2, 3, 5]].max()


def test_placebo_p_counts() -> None:
    assert placebo_p(3.0, np.array([1.0, -2.0, -4.0, 0.5])) == pytest.approx(2 / 5)
    assert placebo_p(9.0, np.zeros(19)) == pytest.approx(1 / 20)
