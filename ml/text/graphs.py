"""Training steps as CUDA graphs: the thousand small kernels of a step are asked for once and replayed as one.

A BERT of twelve narrow layers keeps a large GPU busy for some milliseconds a step, and Python takes many times as long
to ask for its kernels one by one. A graph replays what was asked for before (Ng et al. 2021, PyTorch's CUDA graphs),
but on the same addresses and shapes. So all rows lie on the GPU from the start, a step is told only which rows to take,
and batches come in one shape for each multiple of `GRAIN` pieces: rows are cut at that width, and a batch that is not
full is filled with rows that count nowhere.

The first step of a shape runs kernel by kernel, as every step does where there is no graph; from the second on it is
replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from ml.text.batches import Tensors, collate, padded
from ml.text.data import IGNORED, Encoded

GRAIN = 16
Shape = tuple[int, int]


class Table:
    """All rows of a training on one device, and the batches that are taken from it by row number.

    The row after the last one is a filler: it has one piece, and nothing of it is judged.
    """

    def __init__(self, rows: Sequence[Encoded], pad: int, device: torch.device) -> None:
        whole = collate(rows, pad, device)
        self.filler = len(rows)
        self.columns: Tensors = {}
        for name, values in whole.items():
            blank = IGNORED if name in ("tags", "sentiment", "intent") else pad if name == "ids" else 0
            last = torch.full_like(values[:1], blank)
            if name == "mask":
                last[0, 0] = 1
            self.columns[name] = torch.cat([values, last])
        self.lengths = [len(row.ids) for row in rows]

    def shape(self, chosen: Sequence[int], budget: int) -> Shape:
        """Rows and width of the batch that takes these rows: the width a multiple of `GRAIN`, the rows what fits."""
        width = padded(max(self.lengths[at] for at in chosen), GRAIN)
        return max(len(chosen), budget // width), width

    def take(self, chosen: torch.Tensor, width: int) -> Tensors:
        """The batch of the row numbers `chosen` (rows,), cut at `width` pieces; asks nothing of the CPU."""
        found = {}
        for name, values in self.columns.items():
            taken = values.index_select(0, chosen)
            found[name] = taken[:, :width].contiguous() if name in ("ids", "mask", "tags", "taught_tags") else taken
        return found


class Graphs:
    """Takes the optimiser steps of one training, replayed where their shape was seen before.

    Args:
        step: a whole optimiser step on a batch; returns its loss as a tensor and never waits for the GPU.
        rows: all rows that batches are made of.
        budget: pieces in a batch, padding counted.
    """

    def __init__(
        self,
        step: Callable[[Tensors], torch.Tensor],
        rows: Sequence[Encoded],
        *,
        budget: int,
        pad: int,
        device: torch.device,
    ) -> None:
        self.step, self.budget, self.device = step, budget, device
        self.table = Table(rows, pad, device)
        self.numbers = {id(row): at for at, row in enumerate(rows)}
        self.stream = torch.cuda.Stream(device)
        self.pool = torch.cuda.graph_pool_handle()
        self.loss = torch.zeros((), device=device)
        self.chosen: dict[Shape, torch.Tensor] = {}
        self.recorded: dict[Shape, torch.cuda.CUDAGraph] = {}

    def __call__(self, batch: Sequence[Encoded]) -> torch.Tensor:
        """Take one step; returns its loss, on the device."""
        numbers = [self.numbers[id(row)] for row in batch]
        shape = self.table.shape(numbers, self.budget)
        filled = np.full(shape[0], self.table.filler)
        filled[: len(numbers)] = numbers
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream):
            self._run(shape, torch.from_numpy(filled).pin_memory())
            loss = self.loss.clone()
        torch.cuda.current_stream(self.device).wait_stream(self.stream)
        return loss

    def _run(self, shape: Shape, filled: torch.Tensor) -> None:
        if shape not in self.chosen:
            self.chosen[shape] = filled.to(self.device, non_blocking=True)
            self._body(shape)
            return
        self.chosen[shape].copy_(filled, non_blocking=True)
        if shape not in self.recorded:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
                self._body(shape)
            self.recorded[shape] = graph
        self.recorded[shape].replay()

    def _body(self, shape: Shape) -> None:
        self.loss.copy_(self.step(self.table.take(self.chosen[shape], shape[1])))
