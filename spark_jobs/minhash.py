"""Near-duplicates among texts: MinHash signatures of shingles, candidates by banding, exact Jaccard at the end.

Broder 1997 (resemblance), Indyk and Motwani 1998 (locality-sensitive hashing), Leskovec, Rajaraman and Ullman, *Mining
of Massive Datasets*, chapter 3 (banding). A text's key is its letters and digits in lower case, its shingles every two
Chinese characters or three other letters in a row, packed into 63 bits, so that two which differ never agree in
number. 80 minima make 20 bands of 4: two texts of Jaccard similarity 0.7 share a band with probability 0.996. A pair
that shares one is a candidate; its shingles are compared exactly, so that precision is 1.

Texts are taken in order, and each is held against the kept ones alone: a text that spreads costs one comparison a copy.
A bucket holds at most `MOST_KEPT` texts, the earliest: what a template shared by thousands can cost is bounded, at the
price of pairs beyond the bound. The same texts in the same order give the same answer.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit
from numpy.typing import NDArray

from spark_jobs.arrow import buffers
from spark_jobs.kernels import decode

THRESHOLD = 0.7
BANDS, ROWS = 20, 4
HASHES = BANDS * ROWS
#: Below this many shingles one changed word is the whole text: only an equal key is a duplicate.
FEW = 8
MOST_KEPT = 16
#: Estimated similarity below which a candidate is not compared: three standard errors under the threshold.
UNLIKELY = THRESHOLD - 0.15
#: Texts whose signatures one thread makes at a time.
SLICE = 16_384

_jit = njit(cache=True, nogil=True)


@dataclass(frozen=True)
class Signatures:
    """Of every text: `bands` (n x 20), `sketch` a byte of each minimum (n x 80), `sizes` shingles, with repeats."""

    bands: NDArray[np.uint32]
    sketch: NDArray[np.uint8]
    sizes: NDArray[np.int32]

    def take(self, rows: NDArray[np.int64]) -> Signatures:
        """Of some of the texts."""
        return Signatures(self.bands[rows], self.sketch[rows], self.sizes[rows])

    @staticmethod
    def join(parts: list[Signatures]) -> Signatures:
        """Of all texts of the parts, in order."""
        return Signatures(
            np.concatenate([p.bands for p in parts]),
            np.concatenate([p.sketch for p in parts]),
            np.concatenate([p.sizes for p in parts]),
        )


@cache
def _letters() -> NDArray[np.uint16]:
    """The lower-case form of letters and digits below 0x10000; 0 for what is neither."""
    chars = [chr(c) for c in range(0x10000)]
    return np.array([ord(c.lower()[0]) if c.isalnum() else 0 for c in chars], np.uint16)


@cache
def _factors() -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Odd factors and terms of the hash functions, fixed for good: an index of yesterday must fit today."""
    draw = np.random.Generator(np.random.PCG64(20_251_111))
    return draw.integers(0, 2**31, HASHES, np.uint32) * np.uint32(2) + np.uint32(1), draw.integers(
        0, 2**32, HASHES, np.uint32
    )


@_jit
def _shingles(data, i, end, letters, out):
    """Packed shingles of one text, with repeats, into `out`; returns how many. A shorter key is one shingle."""
    count, seen = 0, 0
    packed = np.uint64(0)
    while i < end:
        if data[i] < 0x80:
            letter = np.int32(letters[data[i]])
            i += 1
        elif 0xE5 <= data[i] <= 0xE9 and i + 2 < end:  # U+5000 to U+9FFF: Chinese characters
            letter = np.int32(data[i] & 0x0F) << 12 | np.int32(data[i + 1] & 0x3F) << 6 | np.int32(data[i + 2] & 0x3F)
            i += 3
        else:
            code, width = decode(data, i, end)
            i += max(width, 1)
            letter = np.int32(letters[code]) if code < 0x10000 else code
        if letter:
            packed = ((packed << np.uint64(21)) | np.uint64(letter)) & np.uint64(0x7FFFFFFFFFFFFFFF)
            seen += 1
            if seen >= 2 and (packed >> np.uint64(21)) & np.uint64(0x1FFFFF) >= 0x2E80 and letter >= 0x2E80:
                out[count] = packed & np.uint64(0x3FFFFFFFFFF)
                count += 1
            elif seen >= 3:
                out[count] = packed
                count += 1
    if seen and count == 0:
        out[0] = packed
        count = 1
    return count


@_jit
def _mix(packed):
    """32 well-mixed bits of a packed shingle (the finaliser of MurmurHash3)."""
    packed = (packed ^ (packed >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    packed = (packed ^ (packed >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return np.uint32(packed >> np.uint64(32))


@_jit
def _sign(offsets, data, letters, factors, terms, bands, sketch, sizes):
    longest = 1
    for row in range(len(offsets) - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    shingles = np.empty(longest, np.uint64)
    least = np.empty(len(factors), np.uint32)
    for row in range(len(offsets) - 1):
        size = _shingles(data, offsets[row], offsets[row + 1], letters, shingles)
        sizes[row] = size
        least[:] = np.uint32(0xFFFFFFFF)
        for k in range(size):
            mixed = _mix(shingles[k])
            for j in range(len(factors)):
                least[j] = min(least[j], np.uint32(factors[j] * mixed + terms[j]))
        for band in range(bands.shape[1]):
            value = np.uint64(band + 1)
            for j in range(band * 4, band * 4 + 4):
                value = (value ^ np.uint64(least[j])) * np.uint64(0x9E3779B97F4A7C15)
                value ^= value >> np.uint64(29)
            bands[row, band] = np.uint32(value >> np.uint64(32))
        for j in range(len(factors)):
            sketch[row, j] = np.uint8(least[j] >> np.uint32(8))


@_jit
def _alike(mine, m, other, n, keys, marks, turn):
    """Jaccard similarity of two bags of shingles as sets, by a hash table that a new `turn` makes empty.

    `marks` of an occupied slot is 4 x turn + 1 (only mine), + 2 (only the other's) or + 3 (both).
    """
    size = 16
    while size < 2 * (m + n):
        size *= 2
    here = 4 * turn
    every, both = 0, 0
    for k in range(m + n):
        shingle = mine[k] if k < m else other[k - m]
        slot = np.int64((shingle * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)) & (size - 1)
        while marks[slot] > here and keys[slot] != shingle:
            slot = (slot + 1) & (size - 1)
        if marks[slot] <= here:
            keys[slot] = shingle
            marks[slot] = here + (1 if k < m else 2)
            every += 1
        elif k >= m and marks[slot] == here + 1:
            marks[slot] = here + 3
            both += 1
    return both / every


@_jit
def _room(offsets):
    """Bytes of the longest text, and slots that hold the shingles of two of them half full."""
    longest = 1
    for row in range(len(offsets) - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    slots = 16
    while slots < 4 * longest:
        slots *= 2
    return longest, slots


@_jit
def _earliest(offsets, data, letters, bands, sketch, sizes, threshold, few, unlikely, most_kept):
    """For every text the earliest kept one it repeats, -1 where it is kept itself."""
    rows, width = bands.shape
    slots = 16
    while slots < 2 * rows:
        slots *= 2
    heads = np.full((width, slots), -1, np.int64)  # a bucket: its hash, and the earliest text kept in it
    after = np.full((rows, width), -1, np.int32)  # the next one of the same bucket
    keeper = np.full(rows, -1, np.int64)
    seen = np.full(rows, -1, np.int32)
    tails, homes, entries = np.empty(width, np.int32), np.empty(width, np.int64), np.empty(width, np.int64)
    longest, room = _room(offsets)
    mine, other = np.empty(longest, np.uint64), np.empty(longest, np.uint64)
    keys, marks, turn = np.empty(room, np.uint64), np.zeros(room, np.int64), 0
    for row in range(rows):
        if sizes[row] == 0:
            continue
        bar = 1.0 if sizes[row] < few else threshold
        best, own = np.int64(-1), -1
        for band in range(width):  # all at once, so that the memory is asked for many places at a time
            homes[band] = np.int64(bands[row, band] >> np.uint32(1)) & (slots - 1)
            entries[band] = heads[band, homes[band]]
        for band in range(width):
            wanted = np.int64(bands[row, band] >> np.uint32(1))  # 31 bits: an entry stays positive
            slot, entry = homes[band], entries[band]
            while entry >= 0 and entry >> 32 != wanted:
                slot = (slot + 1) & (slots - 1)
                entry = heads[band, slot]
            homes[band] = slot
            member, last, length = np.int32(-1), np.int32(-1), 0
            if entry >= 0:
                member = np.int32(entry & 0xFFFFFFFF)
            while member >= 0:
                last = member
                length += 1
                if seen[member] != row and (best < 0 or member < best):
                    seen[member] = row
                    agree = 0
                    for j in range(sketch.shape[1]):
                        agree += sketch[row, j] == sketch[member, j]
                    if agree >= unlikely * sketch.shape[1]:
                        if own < 0:
                            own = _shingles(data, offsets[row], offsets[row + 1], letters, mine)
                        size = _shingles(data, offsets[member], offsets[member + 1], letters, other)
                        turn += 1
                        if _alike(mine, own, other, size, keys, marks, turn) >= bar:
                            best = np.int64(member)
                member = after[member, band]
            tails[band] = last if length < most_kept else -2
        keeper[row] = best
        if best < 0:
            for band in range(width):
                if tails[band] == -1:
                    heads[band, homes[band]] = np.int64(bands[row, band] >> np.uint32(1)) << 32 | row
                elif tails[band] >= 0:
                    after[tails[band], band] = row
    return keeper


def signatures(texts: pa.Array, threads: int = 1) -> Signatures:
    """Signatures of a string array without nulls."""
    rows = len(texts)
    made = Signatures(np.empty((rows, BANDS), np.uint32), np.empty((rows, HASHES), np.uint8), np.empty(rows, np.int32))

    def sign(at: int) -> None:
        part = slice(at, at + SLICE)
        _sign(
            *buffers(texts.slice(at, SLICE)),
            _letters(),
            *_factors(),
            made.bands[part],
            made.sketch[part],
            made.sizes[part],
        )

    _each(sign, range(0, rows, SLICE), threads)
    return made


def _each(work: Callable[[int], Any], items: range, threads: int) -> None:
    """Run `work` on every item; the kernels hold no lock, so threads run side by side."""
    if threads == 1:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, items))


def earliest(texts: pa.Array, signed: Signatures, threshold: float = THRESHOLD) -> NDArray[np.int64]:
    """For every text the position of the earliest kept text it repeats, -1 where it is kept.

    A text is kept unless its Jaccard similarity with a kept one before it is at least `threshold`; with fewer than
    `FEW` shingles, unless the keys are equal. A text without a letter or digit is always kept.
    """
    found: NDArray[np.int64] = _earliest(
        *buffers(texts),
        _letters(),
        signed.bands,
        signed.sketch,
        signed.sizes,
        threshold,
        FEW,
        UNLIKELY + threshold - THRESHOLD,
        MOST_KEPT,
    )
    return found


def first_rows(texts: pa.Array) -> tuple[pa.Array, NDArray[np.int64], NDArray[np.int64]]:
    """Distinct texts in order of appearance, the row where each appears first, and each row's place among them."""
    coded = pc.dictionary_encode(texts)
    codes = coded.indices.to_numpy().astype(np.int64)
    return coded.dictionary, np.unique(codes, return_index=True)[1], codes


def roots(texts: pa.Array, threads: int = 1) -> NDArray[np.int64]:
    """For every row of a string array without nulls the row of the text it repeats, its own where it is kept.

    Equal texts (upper and lower case alike) collapse first; then near-duplicates among the distinct ones.
    """
    distinct, first, codes = first_rows(pc.utf8_lower(texts))
    keeper = earliest(distinct, signatures(distinct, threads))
    kept = np.where(keeper < 0, np.arange(len(first)), keeper)
    found: NDArray[np.int64] = first[kept[codes]]
    return found
