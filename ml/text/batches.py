"""Batches: sentences of like lengths together, padded as little as possible."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ml.text.data import IGNORED, SENTIMENTS, Encoded

_MAX_INTENT_WEIGHT = 8.0
_BUCKET_BATCHES = 40

Tensors = dict[str, torch.Tensor]
Some = TypeVar("Some", bound=Encoded)


def batches(
    rows: Sequence[Some], batch_tokens: int, rng: random.Random | None, *, grain: int = 1
) -> Iterator[list[Some]]:
    """Yield batches of similar lengths, each at most `batch_tokens` pieces with padding counted.

    With `rng` rows are shuffled, sorted by length within chunks, and the batches shuffled again; without,
    rows go by length. Rows count as long as the next multiple of `grain`.
    """
    order = list(range(len(rows)))
    if rng is None:
        chunks = [order]
    else:
        rng.shuffle(order)
        typical = sum(len(row.ids) for row in rows) / max(len(rows), 1)
        size = max(1, int(_BUCKET_BATCHES * batch_tokens / max(typical, 1)))
        chunks = [order[at : at + size] for at in range(0, len(order), size)]
    made: list[list[Some]] = []
    for chunk in chunks:
        current: list[Some] = []
        for index in sorted(chunk, key=lambda i: (len(rows[i].ids), i)):
            if current and (len(current) + 1) * padded(len(rows[index].ids), grain) > batch_tokens:
                made.append(current)
                current = []
            current.append(rows[index])
        if current:
            made.append(current)
    if rng is not None:
        rng.shuffle(made)
    yield from made


def padded(length: int, grain: int) -> int:
    """The next multiple of `grain` from `length` on."""
    return -(-length // grain) * grain


def collate(batch: Sequence[Encoded], pad: int, device: torch.device) -> Tensors:
    """Return ids, mask and tags of shape (batch, longest), sentiment and intent of shape (batch,).

    Where every row was seen by a teacher, its logits come along as `taught_sentiment`, `taught_intent`, `taught_tags`.
    """
    lengths = np.array([len(row.ids) for row in batch])
    seen = np.arange(lengths.max())[None, :] < lengths[:, None]
    ids, tags = np.full(seen.shape, pad), np.full(seen.shape, IGNORED)
    ids[seen] = np.concatenate([np.asarray(row.ids) for row in batch])
    tags[seen] = np.concatenate([np.asarray(row.tags) for row in batch])
    made: dict[str, NDArray[Any]] = {
        "ids": ids,
        "mask": seen.astype(np.int64),
        "tags": tags,
        "sentiment": np.array([row.sentiment for row in batch]),
        "intent": np.array([row.intent for row in batch]),
    }
    made |= _taught(batch, seen)
    return {name: torch.from_numpy(values).to(device) for name, values in made.items()}


def _taught(batch: Sequence[Encoded], seen: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """What a teacher said of the batch, under `taught_*`; nothing where it was not asked."""
    said = [row.taught for row in batch if row.taught is not None]
    if len(said) < len(batch):
        return {}
    tags = np.zeros((*seen.shape, 2), np.float32)
    tags[seen] = np.concatenate([each.tags for each in said])
    return {
        "taught_sentiment": np.stack([each.sentiment for each in said]),
        "taught_intent": np.array([each.intent for each in said], np.float32),
        "taught_tags": tags,
    }


def balance(
    rows: Sequence[Encoded], kind: Literal["none", "root", "inverse"] = "root"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return sentiment weights (3,) and the weight of intent 1 (1,), both ones for `none`.

    `inverse` weighs a sentiment by its inverse frequency, `root` by the root of that: it tames the rare neutral class,
    which only the English corpora have; full inverse weights make the model say neutral too often. Intent 1 is weighed
    in the same way against intent 0, with a cap, for its labels are noisy.
    """
    if kind == "none":
        return torch.ones(len(SENTIMENTS)), torch.ones(1)
    counts = np.bincount([row.sentiment for row in rows if row.sentiment != IGNORED], minlength=len(SENTIMENTS)).clip(
        min=1
    )
    weights = counts.sum() / (len(SENTIMENTS) * counts)
    if kind == "root":
        weights = np.sqrt(weights)
    positive = max(sum(row.intent for row in rows), 1)
    intent = (len(rows) - positive) / positive
    intent = min(intent**0.5 if kind == "root" else intent, _MAX_INTENT_WEIGHT)
    return torch.tensor(weights, dtype=torch.float32), torch.tensor([max(intent, 1.0)])
