"""What does not fit in memory is taken in parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from traceback import clear_frames
from typing import TypeVar

import torch

Found = TypeVar("Found")
Row = TypeVar("Row")


def parts_of(rows: Sequence[Row], count: int) -> list[list[Row]]:
    """`rows` in `count` parts of like size, fewer where there are fewer rows."""
    size = max(1, math.ceil(len(rows) / count))
    return [list(rows[at : at + size]) for at in range(0, len(rows), size)]


def is_memory(error: BaseException) -> bool:
    """Whether PyTorch says that memory does not suffice, of a GPU or of this machine."""
    words = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in words or "not enough memory" in words


def attempt(work: Callable[[], Found]) -> tuple[Found | None, RuntimeError | None]:
    """What `work` gives, or the error where memory does not suffice for it; other errors are raised.

    The error comes without its traceback, whose frames would keep what did not fit alive during the next try.
    """
    try:
        return work(), None
    except RuntimeError as error:
        if not is_memory(error):
            raise
        clear_frames(error.__traceback__)
        return None, error.with_traceback(None)


class Parting:
    """Looks at batches without learning from them, in halves once memory did not suffice for a whole one."""

    def __init__(self, free: Callable[[], None]) -> None:
        self.parts, self.free = 1, free

    def each(self, batch: Sequence[Row], look: Callable[[list[Row]], Found]) -> list[Found]:
        """What `look` gives for the parts of `batch`; raises the error of a single row that does not fit."""
        while True:
            parts = parts_of(batch, self.parts)
            found, error = attempt(lambda parts=parts: [look(part) for part in parts])  # type: ignore[misc]
            if found is not None:
                return found
            if error is not None and all(len(part) == 1 for part in parts):
                raise error
            self.parts *= 2
            self.free()
