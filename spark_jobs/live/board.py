"""The figures of a sale so far, by cell and minute, as arrays: what alerts and forecasts are computed from.

Spark hands over minutes as they change, a few rows a cell; the latest value of a minute replaces the one before, so a
batch that is run again after a crash changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from flashsale.live_tables import COUNTS, KEY, STREAMS

Floats = NDArray[np.float64]
Cell = tuple[str, str, str]
_GROWN = 256


class Board:
    """Figures since `began` (UTC), minute by minute: `of(name)` has shape (cells, minutes)."""

    def __init__(self, began: datetime) -> None:
        self.began = began
        self.cells: list[Cell] = []
        self.minutes = 0  # minutes of which something is known
        self._place: dict[Cell, int] = {}
        self._values = {name: np.zeros((0, 0)) for name in COUNTS}
        self._readings = np.full((0, 0), np.nan)
        self._heard = {name: np.zeros(0) for name in STREAMS}

    def take(self, rows: pa.Table) -> None:
        """Put minutes of `spark_jobs.live.events.minutes` in their places; those before `began` are left out."""
        at = self._minute_numbers(rows)
        rows, at = rows.filter(pa.array(at >= 0)), at[at >= 0]
        if not len(at):
            return
        cells = list(zip(*(rows[name].to_pylist() for name in KEY), strict=True))
        self._make_room(cells, int(at.max()) + 1)
        row = np.array([self._place[cell] for cell in cells])
        for name, values in self._values.items():
            values[row, at] = rows[name].to_numpy()
        self._readings[row, at] = pc.cast(rows["on_hand"], pa.float64()).to_numpy()
        for name, heard in self._heard.items():
            np.maximum.at(heard, at, rows[f"rows_{name}"].to_numpy())
        self.minutes = max(self.minutes, int(at.max()) + 1)

    def _minute_numbers(self, rows: pa.Table) -> NDArray[np.int64]:
        zero = pa.scalar(self.began, pa.timestamp("us", tz="UTC"))
        apart = pc.subtract(rows["minute"].cast(pa.timestamp("us", tz="UTC")), zero).cast(pa.int64()).to_numpy()
        return np.floor_divide(apart, 60_000_000)

    def _make_room(self, cells: Sequence[Cell], minutes: int) -> None:
        for cell in cells:
            if cell not in self._place:
                self._place[cell] = len(self.cells)
                self.cells.append(cell)
        have = self._readings.shape
        if len(self.cells) <= have[0] and minutes <= have[1]:
            return
        rows = max(len(self.cells), have[0])
        width = max(have[1], -(-minutes // _GROWN) * _GROWN)
        grow = ((0, rows - have[0]), (0, width - have[1]))
        self._values = {name: np.pad(values, grow) for name, values in self._values.items()}
        self._readings = np.pad(self._readings, grow, constant_values=np.nan)
        self._heard = {name: np.pad(heard, (0, width - len(heard))) for name, heard in self._heard.items()}

    def of(self, name: str) -> Floats:
        """A figure's values, shape (cells, minutes)."""
        return np.asarray(self._values[name][: len(self.cells), : self.minutes])

    def recent(self, name: str, minutes: int) -> Floats:
        """Sum over the last `minutes`, shape (cells,)."""
        return np.asarray(self.of(name)[:, -minutes:].sum(1))

    def heard(self, stream: str) -> Floats:
        """Rows of a stream by minute, at least those of its busiest cell, shape (minutes,)."""
        return self._heard[stream][: self.minutes]

    def on_hand(self) -> Floats:
        """Units left: the last reading less what was sold since, shape (cells,); NaN where nothing was read.

        Units of the minute of the reading may have been sold before or after it; half of them are taken off.
        """
        readings = self._readings[: len(self.cells), : self.minutes]
        read = ~np.isnan(readings)
        last = self.minutes - 1 - np.argmax(read[:, ::-1], axis=1)
        units = self.of("units") - self.of("cancelled_units")
        rows = np.arange(len(self.cells))
        since = units.sum(1) - np.cumsum(units, axis=1)[rows, last] + units[rows, last] / 2
        return np.where(read.any(1), np.maximum(readings[rows, last] - since, 0.0), np.nan)

    def moment(self, minute: int | None = None) -> datetime:
        """The end of a minute; of the last one without an argument."""
        return self.began + timedelta(minutes=(self.minutes if minute is None else minute + 1))
