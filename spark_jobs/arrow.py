"""Arrow's string arrays as the kernels see them: offsets and bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def buffers(texts: pa.Array) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Offsets (rows + 1) and bytes of a string or binary array, without a copy."""
    wide = pa.types.is_large_string(texts.type) or pa.types.is_large_binary(texts.type)
    width = np.int64 if wide else np.int32
    _, offsets, data = texts.buffers()
    if offsets is None or len(texts) == 0:
        offsets, data = pa.py_buffer(np.zeros(1, width)), None
        ends = np.frombuffer(offsets, width)
    else:
        ends = np.frombuffer(offsets, width)[texts.offset : texts.offset + len(texts) + 1]
    return ends, np.frombuffer(data if data is not None else pa.py_buffer(b""), np.uint8)


def as_strings(ends: NDArray[np.int64], data: NDArray[np.uint8]) -> pa.Array:
    """The strings that end at `ends` of `data`."""
    offsets = pa.py_buffer(ends.astype(np.int32))
    return pa.Array.from_buffers(pa.string(), len(ends) - 1, [None, offsets, pa.py_buffer(data)])


def whole(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    joined = column.combine_chunks()
    return joined if isinstance(joined, pa.Array) else pa.concat_arrays(joined.chunks)


def put(texts: pa.Array, rows: NDArray[np.int64], new: pa.Array) -> pa.Array:
    """`texts` with `new` in the given rows (ascending)."""
    mask = np.zeros(len(texts), bool)
    mask[rows] = True
    return pc.replace_with_mask(texts, pa.array(mask), new)


def only(values: pa.Array, kept: NDArray[np.bool_]) -> pa.Array:
    """A string array without nulls or offset whose values are null where `kept` is False; nothing is copied."""
    if kept.all():
        return values
    bits = pa.py_buffer(np.packbits(kept, bitorder="little"))
    return pa.Array.from_buffers(values.type, len(values), [bits, *values.buffers()[1:]])
