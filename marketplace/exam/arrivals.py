"""The customers of the next sale, drawn once and the same whatever is offered to them.

Each cell (SKU x region) has a Poisson process of buyers in its own time: one with mean demand m takes those who come
before m. So two plans meet the same luck, and demand only grows with its mean (time change of a Poisson process).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from marketplace.choice import Floats, Ints
from marketplace.world import SALE_MEAN_QUANTITY


@dataclass(frozen=True)
class Arrivals:
    """Buyers by cell and repetition: `times` in lines of mean demand, `units` taken up to each of them.

    Shapes: `times` (SKUs, regions, repetitions, buyers), `units` the same with one more, its first 0.
    """

    times: Floats
    units: Ints
    _keys: Floats = field(init=False, repr=False)
    _span: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # All processes one after the other on one axis: a single search then finds every cell's last buyer.
        span = float(self.times.max(initial=0.0)) + 1.0
        rows = np.arange(self.times[..., 0].size).reshape(*self.times.shape[:3], 1)
        object.__setattr__(self, "_span", span)
        object.__setattr__(self, "_keys", (self.times + rows * span).ravel())

    @property
    def repetitions(self) -> int:
        """Number of times the sale is played."""
        return int(self.times.shape[2])

    def demand(self, mean: Floats) -> Ints:
        """Units wanted, shape (SKUs, regions, repetitions).

        Args:
            mean: mean demand, units, shape (SKUs, regions).
        """
        shape, buyers = self.times.shape[:3], self.times.shape[3]
        rows = np.arange(np.prod(shape)).reshape(shape)
        until = np.minimum(mean / SALE_MEAN_QUANTITY, self._span * (1.0 - 1e-9))
        came = np.searchsorted(self._keys, rows * self._span + until[:, :, None], side="right") - rows * buyers
        wanted = np.take_along_axis(self.units, came[..., None], axis=3)[..., 0]
        return np.asarray(wanted, dtype=np.int64)

    def only(self, repetition: int) -> Arrivals:
        """One repetition."""
        pick = slice(repetition, repetition + 1)
        return Arrivals(self.times[:, :, pick], self.units[:, :, pick])


def draw_arrivals(rng: np.random.Generator, largest: Floats, repetitions: int) -> Arrivals:
    """Draw the buyers of every cell.

    Args:
        largest: largest mean demand of each cell that may be asked for, units, shape (SKUs, regions).
        repetitions: how often the sale is played.
    """
    lines = float(largest.max()) / SALE_MEAN_QUANTITY
    buyers = int(np.ceil(lines + 8.0 * np.sqrt(lines) + 10.0))
    shape = (*largest.shape, repetitions, buyers)
    times = np.cumsum(rng.exponential(1.0, shape), axis=3)
    taken = 1 + (rng.random(shape) < SALE_MEAN_QUANTITY - 1.0).astype(np.int64)
    units = np.concatenate([np.zeros((*shape[:3], 1), dtype=np.int64), np.cumsum(taken, axis=3)], axis=3)
    return Arrivals(times, units)
