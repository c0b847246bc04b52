"""Small builders of Arrow columns and tables in a contract's schema, without Python loops over rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from flashsale.contracts import load_contract
from marketplace.choice import Ints


def money(cents: Ints, precision: int = 12) -> pa.Array:
    """Whole cents as decimal128(precision, 2)."""
    words = np.zeros((len(cents), 2), dtype=np.int64)
    words[:, 0] = cents
    words[:, 1] = np.where(cents < 0, -1, 0)  # sign extension of the high word
    return pa.Array.from_buffers(pa.decimal128(precision, 2), len(cents), [None, pa.py_buffer(words.tobytes())])


def moments(micros: Ints) -> pa.Array:
    """Microseconds since the epoch as UTC timestamps."""
    return pa.array(np.asarray(micros, dtype=np.int64)).cast(pa.timestamp("us", tz="UTC"))


def pick(names: Sequence[str], index: Ints) -> pa.Array:
    """`names[index]` as strings; an index of -1 gives null."""
    wanted = pa.array(np.asarray(index, dtype=np.int64), mask=np.asarray(index) < 0)
    return pa.array(list(names), pa.string()).take(wanted)


def numbered(prefix: str, numbers: npt.NDArray[np.int64], width: int = 7) -> pa.Array:
    """Identifiers such as `u0000012`."""
    digits = pc.utf8_lpad(pa.array(np.asarray(numbers, dtype=np.int64)).cast(pa.string()), width, "0")
    return pc.binary_join_element_wise(prefix, digits, "")


def stream_table(stream: str, columns: Mapping[str, pa.Array]) -> pa.Table:
    """Rows in the contract's schema by `event_at` (ties as given); `event_id` is numbered in that order."""
    schema = load_contract(stream).arrow_schema()
    order = pc.sort_indices(columns["event_at"])  # stable
    rows = len(order)
    data = {name: array.take(order) for name, array in columns.items()}
    data["event_id"] = numbered(f"{stream}-", np.arange(rows, dtype=np.int64), 8)
    return pa.table([data[field.name].cast(field.type) for field in schema], schema=schema)
