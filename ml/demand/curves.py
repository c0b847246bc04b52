"""Demand over the hours of a row (a sale, a day): curves learnt from wide classes to narrow ones.

Maximum likelihood of N_ih ~ Poisson(mu_i w_h e_ih), where e_ih is the share of hour h in which row i had stock, so that
sold-out rows teach their early hours too. Each narrower class starts with some purchases of the wider one's curve.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

PRIOR_UNITS = 60.0  # purchases of the wider class that a narrower class starts with
ROUNDS = 40
SETTLED = 1e-3  # largest change of an hour's share at which alternation ends


def pooled_curves(units: Floats, exposure: Floats, ended: Bools, classes: Sequence[Ints]) -> Floats:
    """Share of demand in each hour of every row, shape (rows, hours), sums to 1.

    Args:
        units: purchases, shape (rows, hours).
        exposure: share of each hour with stock, shape (rows, hours), 0 to 1.
        ended: rows whose last purchase used up the stock, shape (rows,). Given its moment that purchase says nothing of
            the curve, and is left out.
        classes: class of each row from the widest to the narrowest, each of shape (rows,).
    """
    sold = telling_purchases(units, exposure, ended)
    parent, place = np.full((1, units.shape[1]), 1.0 / units.shape[1]), np.zeros(len(units), dtype=np.int64)
    for labels in classes:
        _, first, code = np.unique(labels, return_index=True, return_inverse=True)
        parent, place = _learn(sold, exposure, code, parent[place[first]]), code
    return np.asarray(parent[place], dtype=np.float64)


def telling_purchases(units: Floats, exposure: Floats, ended: Bools) -> Floats:
    """Purchases of every hour without the one that used up the stock, shape (rows, hours); see `pooled_curves`."""
    return np.maximum(np.where(exposure > 0, units, 0.0) - _last_purchase(exposure, ended), 0.0)


def _learn(sold: Floats, exposure: Floats, code: Ints, above: Floats) -> Floats:
    """Curves of one level of classes, shape (classes, hours), by alternation; `above` are the wider classes' curves.

    The likelihood is concave in each part and settles fast.
    """
    curve, total, count = above, sold.sum(axis=1), len(above)
    top = class_totals(sold, code, count) + PRIOR_UNITS * above
    for _ in range(ROUNDS):
        mean = total / np.maximum((exposure * curve[code]).sum(axis=1), 1e-9)
        before, curve = curve, top / (class_totals(exposure * mean[:, None], code, count) + PRIOR_UNITS)
        curve = curve / curve.sum(axis=1, keepdims=True)
        if np.abs(curve - before).max() < SETTLED:
            break
    return curve


def class_totals(values: Floats, code: Ints, count: int) -> Floats:
    """Sums of rows by class code, shape (count, columns)."""
    order = np.argsort(code, kind="stable")
    ordered = code[order]
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    out = np.zeros((count, values.shape[1]))
    out[ordered[first]] = np.add.reduceat(values[order], first, axis=0)
    return out


def _last_purchase(exposure: Floats, ended: Bools) -> Floats:
    """1 in the last hour with stock of the rows that ended, shape (rows, hours)."""
    out = np.zeros_like(exposure)
    last = exposure.shape[1] - 1 - np.argmax(exposure[:, ::-1] > 0, axis=1)
    out[np.arange(len(exposure)), last] = ended
    return out
