"""What customers looked at after the last unit went: a second witness of the demand that a stock-out hid.

A cell that sold C units in a share F of its demand has mean demand mu with a likelihood of C - 1 purchases in F
(`ml.demand.unconstrain`). Its sold-out page was then seen s times: s has mean mu (1 - F) / k and variance phi times
that, where k, the lost units that one view stands for, is learnt from all cells of a class, and phi, how much more
views scatter than a count, from all cells. Together they are a Gamma posterior (conjugate to both):

    mu ~ Gamma(C - 1 + s / phi, F + (1 - F) / (k phi))

So views never say how much demand was lost in all, only in which cells; and where they say little, phi is large and
they count for little.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEAST_CELLS = 30  # sold-out cells from which k and phi can be learnt
LEAST_SHARE = 0.1  # cells that ran out before teach no k: their own estimate is too rough
PRIOR_CELLS = 20.0  # a class's k starts with as many cells of the whole
MOST_SCATTER = 1e6
UNSEEN = 3.0  # expected views of a page that nobody is said to have seen: more, and they were not recorded


def views_as_purchases(sold: Floats, share: Floats, views: Floats, classes: Ints) -> tuple[Floats, Floats]:
    """Purchases and demand share that a cell's sold-out views are worth: s / phi and (1 - F) / (k phi).

    Args:
        sold: C - 1 of cells that sold out, at least 1, shape (cells,).
        share: F, share of demand until the stock-out, in (0, 1], shape (cells,).
        views: s, views of the sold-out page until the sale's end, shape (cells,).
        classes: class of each cell, codes from 0; cells of a class have one k.

    Returns:
        Two arrays of shape (cells,); zeros where fewer than `LEAST_CELLS` cells teach or no page was seen, and for a
        cell whose page nobody saw where several should have: its views were not recorded.
    """
    nothing = np.zeros(len(sold)), np.zeros(len(sold))
    teaches = (share >= LEAST_SHARE) & (share < 1.0)
    if teaches.sum() < LEAST_CELLS or views[teaches].sum() == 0:
        return nothing
    lost = sold / share * (1.0 - share)
    recorded = np.ones(len(sold), dtype=bool)
    for _ in range(2):
        used = teaches & recorded
        unit = _units_a_view(np.where(used, lost, 0.0), np.where(used, views, 0.0), classes)
        expected = np.maximum(lost / unit, 1e-9)
        recorded = (views > 0) | (expected < UNSEEN)
    used = teaches & recorded
    scatter = _scatter(views[used], expected[used], sold[used])
    return views / scatter, np.where(recorded, (1.0 - share) / (unit * scatter), 0.0)


def _units_a_view(lost: Floats, views: Floats, classes: Ints) -> Floats:
    """k of each cell's class: lost units over views, its sums beside some of the whole's."""
    count = int(classes.max()) + 1
    cells = max(int((lost > 0).sum()), 1)
    weight = PRIOR_CELLS / cells
    top, bottom = (np.bincount(classes, x, count) + weight * x.sum() for x in (lost, views))
    return np.asarray((top / bottom)[classes], dtype=np.float64)


def _scatter(views: Floats, expected: Floats, sold: Floats) -> float:
    """phi, at least 1: what makes the squared errors of views as large as they should be, by bisection.

    A cell's own estimate scatters too, by its square over the purchases it rests on.
    """
    square, own = (views - expected) ** 2, expected**2 / sold

    def excess(phi: float) -> float:
        return float((square / (phi * expected + own)).mean()) - 1.0

    low, high = 1.0, MOST_SCATTER
    if excess(low) <= 0:
        return low
    for _ in range(60):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return high
