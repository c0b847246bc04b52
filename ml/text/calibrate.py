"""Making the sentiment's probabilities mean what they say, and measuring how far they are from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from ml.text.data import Encoded

if TYPE_CHECKING:
    from ml.text.network import TextNetwork

_TRIED = np.geomspace(0.25, 4.0, 161)
BINS = 15


def best_temperature(logits: NDArray[np.float64], truth: Sequence[int]) -> float:
    """The divisor of `logits` (sentences, classes) under which the true classes are likeliest (Guo et al. 2017)."""
    rows, goals = np.arange(len(truth)), np.asarray(truth)

    def surprise(temperature: float) -> float:
        scaled = logits / temperature
        scaled = scaled - scaled.max(1, keepdims=True)
        return float(np.mean(np.log(np.exp(scaled).sum(1)) - scaled[rows, goals]))

    return float(min(_TRIED, key=surprise))


def temper(network: TextNetwork, rows: Sequence[Encoded], *, pad: int, batch_tokens: int) -> float:
    """Divide the sentiment head by the temperature that fits held-out `rows`; no answer changes. Returns it."""
    from ml.text.train import batches, collate

    device = next(network.parameters()).device
    network.eval()
    found, truth = [], []
    with torch.no_grad():
        for batch in batches(rows, batch_tokens, None):
            tensors = collate(batch, pad, device)
            found.append(network(tensors["ids"], tensors["mask"])[0].double().cpu().numpy())
            truth += [row.sentiment for row in batch]
        temperature = best_temperature(np.concatenate(found), truth)
        network.sentiment.weight.div_(temperature)
        network.sentiment.bias.div_(temperature)
    return temperature


def calibration_error(confidence: Sequence[float], right: Sequence[bool]) -> float:
    """Expected calibration error: mean distance of confidence and accuracy over bins of equal width, by their rows."""
    sure, hit = np.asarray(confidence), np.asarray(right, dtype=np.float64)
    places = np.minimum((sure * BINS).astype(int), BINS - 1)
    apart = [abs(sure[places == b].sum() - hit[places == b].sum()) for b in np.unique(places)]
    return float(sum(apart) / max(len(sure), 1))
