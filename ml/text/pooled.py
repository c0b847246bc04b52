"""Sentences as vectors: the mean of the encoder's states over the word pieces, as `Scorer.logits` pools them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ml.text.scorer import Scorer

Floats = NDArray[np.float32]
_TOKEN_BUDGET = 4096


def pool(scorer: Scorer, texts: Sequence[str]) -> Floats:
    """Mean of the states over pieces, shape (n, hidden), in batches of like lengths."""
    distinct = list(dict.fromkeys(texts))
    found = np.zeros((len(distinct), scorer.encoder.size), dtype=np.float32)
    encoded = [encoding.ids for encoding in scorer.tokenizer.encode_batch(distinct)]
    order = sorted(range(len(distinct)), key=lambda at: (len(encoded[at]), distinct[at]))
    for batch in _batches([len(encoded[at]) for at in order]):
        rows = [order[place] for place in batch]
        found[rows] = _pool(scorer, [encoded[at] for at in rows])
    place = {text: at for at, text in enumerate(distinct)}
    return found[[place[text] for text in texts]]


def unit(rows: Floats) -> Floats:
    """The rows at length one; a row of zeros stays."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def _batches(lengths: Sequence[int]) -> list[range]:
    """Runs of sorted lengths that, padded to their last, stay within the budget of pieces."""
    runs, start = [], 0
    for end in range(1, len(lengths) + 1):
        if end == len(lengths) or (end + 1 - start) * lengths[end] > _TOKEN_BUDGET:
            runs.append(range(start, end))
            start = end
    return runs


def _pool(scorer: Scorer, encoded: list[list[int]]) -> Floats:
    width = max(len(ids) for ids in encoded)
    ids = torch.full((len(encoded), width), scorer.pad)
    mask = torch.zeros((len(encoded), width), dtype=torch.long)
    for row, pieces in enumerate(encoded):
        ids[row, : len(pieces)] = torch.tensor(pieces)
        mask[row, : len(pieces)] = 1
    ids, mask = ids.to(scorer.device), mask.to(scorer.device)
    with torch.inference_mode():
        states = scorer.encoder(ids, mask)
        shares = mask.unsqueeze(-1).to(states.dtype)
        mean = (states * shares).sum(1) / shares.sum(1).clamp(min=1)
    return np.asarray(mean.float().cpu().numpy(), dtype=np.float32)
