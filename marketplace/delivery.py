"""Slow delivery: fewer customers wait for it, more cancel, more send back. No stream says how long it takes."""

from __future__ import annotations

import numpy as np

from marketplace.choice import Floats, Ints

CANCELLED_SHARE = 0.02
RETURNED_SHARE = 0.04
LEFT_PER_DAY = 0.06  # log of sale demand that a day of delay takes
CANCELLED_PER_DAY = 0.02
RETURNED_PER_DAY = 0.015


def delays(warehouse: Ints, days: float) -> Floats:
    """Days of delivery beyond the usual by region, shape (r,): the last warehouse is the slow one.

    Args:
        warehouse: of each region.
        days: that its deliveries take longer; 0 makes all alike.
    """
    return np.where(warehouse == warehouse.max(), days, 0.0)


def patience(delay: Floats) -> Floats:
    """Share of a sale's customers who accept the delay, shape as `delay`."""
    return np.asarray(np.exp(-LEFT_PER_DAY * delay), dtype=np.float64)


def cancelled(delay: Floats) -> Floats:
    """Share of order lines that are cancelled."""
    return np.asarray(CANCELLED_SHARE + CANCELLED_PER_DAY * delay, dtype=np.float64)


def returned(delay: Floats) -> Floats:
    """Share of order lines that are sent back."""
    return np.asarray(RETURNED_SHARE + RETURNED_PER_DAY * delay, dtype=np.float64)


def kept(delay: Floats) -> Floats:
    """Share of units sold that the delay leaves sold; the usual cancellations and returns count for nothing here."""
    return np.asarray(1.0 - (CANCELLED_PER_DAY + RETURNED_PER_DAY) * delay, dtype=np.float64)
