"""A smaller model from a larger one: fewer layers, taught by the larger one's answers (Sanh et al. 2019, DistilBERT).

The student starts with some of the teacher's own layers and its heads, and learns from its softened answers on the
training sentences beside the labels (`teacher_share`, `teacher_temperature`, `keep_layers` of the configuration).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from flashsale.errors import InputError
from ml.text import model
from ml.text.batches import batches, collate
from ml.text.data import Encoded, Taught
from ml.text.network import TextNetwork
from ml.text.scorer import fast_bf16

_BUDGET = 8192


def taught(rows: Sequence[Encoded], teacher: TextNetwork, pad: int) -> list[Encoded]:
    """The rows with the teacher's logits for each, in their order."""
    device = next(teacher.parameters()).device
    teacher.eval()
    answers: dict[int, Taught] = {}
    with torch.inference_mode():
        for batch in batches(rows, _BUDGET, None):
            tensors = collate(batch, pad, device)
            with torch.autocast(device.type, torch.bfloat16, enabled=fast_bf16(device)):
                sentiment, intent, tags = (
                    found.float().cpu().numpy() for found in teacher(tensors["ids"], tensors["mask"])
                )
            for at, row in enumerate(batch):
                answers[id(row)] = Taught(sentiment[at], float(intent[at]), tags[at, : len(row.ids)].copy())
    return [replace(row, taught=answers[id(row)]) for row in rows]


def student(teacher: TextNetwork, layers: Sequence[int]) -> TextNetwork:
    """A copy of the teacher with these of its layers, heads included. Raises InputError where one is not there."""
    import copy

    if teacher.prefix is not None:
        raise InputError("teacher", "it was tuned by a prefix", "name one whose weights were tuned")
    found = copy.deepcopy(teacher)
    model.keep(found, layers)
    return found


def load_teacher(name: str, device: torch.device) -> TextNetwork:
    """The network of a registered version, a name or a folder, on the device where it is to be asked."""
    from ml.text.score import locate

    folder: Path = locate(name)[0]
    return model.load(folder).to(device)
