"""Intervals of sums over a sale's cells: a SKU's regions, the whole sale, one cell alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from ml.scoring.campaign import Effects, SaleEffects
from ml.scoring.uncertainty import ALPHA, half_width, joint_widening, two_sided_p

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NET = "net_margin"
JOINT_FREE = 6.0  # degrees of freedom of what moves cells together: it is learnt from three held-out weeks


@dataclass(frozen=True)
class Found:
    """What a group of cells is read by: p, half-width by figure, held-out error, method(s). NaN where it has no p."""

    p: float
    half: dict[str, float]
    error: float
    method: str


@dataclass(frozen=True)
class Sums:
    """A sale's effects, with what a unit is worth in each bounded figure.

    Attributes:
        sale: effects by cell.
        worth: by figure, what one unit's error is worth, shape (cells,).
        spill: standard deviation of each outside group's share in each cell's margin, shape (cells, ties).
        length: days that an offer touches, on the mean.
    """

    sale: SaleEffects
    worth: dict[str, Floats]
    spill: Floats
    length: int

    def of(self, group: list[int]) -> Found:
        """Read a group of cells; one without history leaves the whole group without p or bounds."""
        cells, rows = self.sale.cells, np.asarray(group)
        error = cells.error[rows]
        mean = float(np.nanmean(error)) if np.isfinite(error).any() else np.nan
        method = "+".join(sorted(set(cells.method[rows])))
        if not cells.scored[rows].all():
            return Found(np.nan, dict.fromkeys(self.worth, np.nan), mean, method)
        if len(group) == 1:
            return Found(float(cells.p[rows[0]]), self._alone(rows[0]), mean, method)
        return self._together(rows, cells, mean, method)

    def _alone(self, row: int) -> dict[str, float]:
        """Half-widths of one cell: its own half-width in money, the net figure's with the days and SKUs around."""
        cells = self.sale.cells
        half = {name: float(cells.half[row] * worth[row]) for name, worth in self.worth.items()}
        # Many days and SKUs together are hardly a count any more: its coarse steps widen the sale's own days alone.
        reach = min(cells.half[row] / max(cells.spread[row], 1e-12), float(stats.t.ppf(1 - ALPHA / 2, cells.free[row])))
        own = cells.whole_spread[row] * self.worth[NET][row]
        return half | {NET: float(reach * np.sqrt(own**2 + (self.spill[row] ** 2).sum()))}

    def _together(self, rows: Ints, cells: Effects, held_out: float, method: str) -> Found:
        """Cells err apart, but for what moves them together: the held-out days say how much that widens the sum."""
        wider = joint_widening(cells.held[rows], cells.spread[rows], self.length)
        spread = wider * float(np.sqrt((cells.spread[rows] ** 2).sum()))
        expected, effect = float(cells.counterfactual[rows].sum()), float(cells.effect[rows].sum())
        values = [np.array(x) for x in (expected, spread, min(float(cells.free[rows].mean()), JOINT_FREE))]
        half_units = float(half_width(*values))
        p = float(two_sided_p(np.array(effect), *values))
        if any(name.startswith("synthetic") for name in cells.method[rows]):
            p = max(p, 1.0 / (self.sale.donors + 1))  # no sum of cells is surer than its donors allow
        reach = half_units / max(spread, 1e-12) * wider
        half = {
            name: reach * float(np.sqrt(((worth * cells.spread)[rows] ** 2).sum()))
            for name, worth in self.worth.items()
        }
        own = (self.worth[NET] * cells.whole_spread)[rows]
        spill = self.spill[rows].sum(axis=0)  # one group's error reaches all cells it is tied to
        half[NET] = reach * float(np.sqrt((own**2).sum() + (spill**2).sum()))
        return Found(p, half, held_out, method)
