"""The seed article's model, kept as the readable baseline.

Units = w . (stock, price, start hour, promotion type) + b, mean squared error, gradient descent: nothing else.
Every number the platform's own model reports stands beside this one's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]

PROMO_TYPES = ("discount", "full_reduction", "coupon", "bundle")


@dataclass(frozen=True)
class Linear:
    """Weights on standardised inputs, and the loss after each step of its training."""

    mean: Floats
    scale: Floats
    weights: Floats
    bias: float
    losses: list[float]

    def predict(self, rows: pd.DataFrame) -> Floats:
        """Units, never below zero, shape (rows,)."""
        x = (inputs(rows) - self.mean) / self.scale
        return np.asarray(np.maximum(x @ self.weights + self.bias, 0.0), dtype=np.float64)


def inputs(rows: pd.DataFrame) -> Floats:
    """Stock, price, start hour and one-hot promotion type, shape (rows, 7)."""
    numbers = rows[["allocated_units", "offer_price", "start_hour"]].astype("float64").to_numpy()
    promo = rows["promo_type"].to_numpy()[:, None] == np.array(PROMO_TYPES)[None, :]
    return np.hstack([numbers, promo.astype(np.float64)])


def train(rows: pd.DataFrame, units: Floats, *, steps: int = 400, rate: float = 0.1) -> Linear:
    """Gradient descent on the mean squared error.

    Args:
        rows: `allocated_units`, `offer_price`, `start_hour`, `promo_type`.
        units: what to predict, shape (rows,).
        steps: updates over all rows.
        rate: step length on standardised inputs.
    """
    raw = inputs(rows)
    mean, scale = raw.mean(axis=0), raw.std(axis=0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    x = (raw - mean) / scale
    weights, bias, losses = np.zeros(x.shape[1]), 0.0, []
    for _ in range(steps):
        error = x @ weights + bias - units
        losses.append(float((error**2).mean()))
        weights = weights - rate * 2.0 * (x.T @ error) / len(units)
        bias = bias - rate * 2.0 * float(error.mean())
    return Linear(mean, scale, weights, bias, losses)
