"""Texts that change a few at a time while patterns run over them: a store of bytes, and where each text lies in it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from spark_jobs.arrow import as_strings, buffers

_jit = njit(cache=True, nogil=True, boundscheck=False)


@_jit
def _copy(out, given):
    """Bytes from one array to another of the same length; in this form the compiler moves many at a time."""
    for k in range(len(given)):
        out[k] = given[k]


@_jit
def gather(store, starts, stops):
    """The texts that lie from `starts` to `stops` in `store`, as Arrow lays them out."""
    rows = len(starts)
    ends = np.zeros(rows + 1, np.int64)
    for row in range(rows):
        ends[row + 1] = ends[row] + stops[row] - starts[row]
    out = np.empty(ends[rows], np.uint8)
    for row in range(rows):
        _copy(out[ends[row] : ends[row + 1]], store[starts[row] : stops[row]])
    return ends, out


@_jit
def gather_tidy(store, starts, stops, touched):
    """As `gather`; in rows that are touched runs of spaces become one, and none is left at the ends."""
    rows = len(starts)
    ends = np.zeros(rows + 1, np.int64)
    room = 0
    for row in range(rows):
        room += stops[row] - starts[row]
    out = np.empty(room, np.uint8)
    at = 0
    for row in range(rows):
        begin, began = starts[row], at
        if touched[row]:
            last = np.uint8(32)
            for i in range(begin, stops[row]):
                byte = store[i]
                if byte != 32 or last != 32:
                    out[at] = byte
                    at += 1
                last = byte
            if at > began and out[at - 1] == 32:
                at -= 1
        else:
            at += stops[row] - begin
            _copy(out[began:at], store[begin : stops[row]])
        ends[row + 1] = at
    return ends, out[:at]


class Rows:
    """Texts that change a few at a time: a store of bytes, to which new texts are added, and where each text lies."""

    def __init__(self, texts: pa.Array) -> None:
        ends, data = buffers(texts)
        self.starts, self.stops = ends[:-1].astype(np.int64) - ends[0], ends[1:].astype(np.int64) - ends[0]
        self.size = int(ends[-1] - ends[0])
        self.store = np.empty(self.size * 5 // 4 + 64, np.uint8)
        self.store[: self.size] = data[ends[0] : ends[-1]]

    def take(self, rows: NDArray[np.int64]) -> pa.Array:
        """Some of the texts."""
        return as_strings(*gather(self.store, self.starts[rows], self.stops[rows]))

    def put(self, rows: NDArray[np.int64], new: pa.Array) -> None:
        """Give rows new texts."""
        ends, data = buffers(new)
        length = int(ends[-1] - ends[0])
        if self.size + length > len(self.store):
            self.store = np.concatenate([self.store[: self.size], np.empty(self.size // 2 + length, np.uint8)])
        self.store[self.size : self.size + length] = data[ends[0] : ends[-1]]
        self.starts[rows] = self.size - ends[0] + ends[:-1]
        self.stops[rows] = self.size - ends[0] + ends[1:]
        self.size += length

    def tidied(self, touched: NDArray[np.bool_]) -> pa.Array:
        """All texts, those that are touched without spaces too many."""
        return as_strings(*gather_tidy(self.store, self.starts, self.stops, touched))
