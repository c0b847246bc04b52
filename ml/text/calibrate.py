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
_SHIFTS = np.linspace(-6.0, 3.0, 181)
BINS = 15


def best_temperature(logits: NDArray[np.float64], truth: Sequence[int]) -> float:
    """The divisor of `logits` (sentences, classes) under which the true classes are likeliest (Guo et al. 2017)."""
    rows, goals = np.arange(len(truth)), np.asarray(truth)

    def surprise(temperature: float) -> float:
        scaled = logits / temperature
        scaled = scaled - scaled.max(1, keepdims=True)
        return float(np.mean(np.log(np.exp(scaled).sum(1)) - scaled[rows, goals]))

    return float(min(_TRIED, key=surprise))


def best_shift(logits: NDArray[np.float64], truth: Sequence[int]) -> float:
    """What to add to yes-or-no `logits` (sentences,) so that the true answers are likeliest."""
    signs = np.where(np.asarray(truth) == 1, 1.0, -1.0)
    return float(min(_SHIFTS, key=lambda shift: float(np.mean(np.logaddexp(0.0, -signs * (logits + shift))))))


def best_threshold(shares: NDArray[np.float64]) -> float:
    """The probability from which on a rare answer is given, so that its F1 may be expected to be highest.

    With calibrated `shares` (sentences,), those from t on being answered yes, the expected F1 is about
    2 · (sum of shares ≥ t) / (number of shares ≥ t + sum of all shares); its best t is half of the best F1, far below
    one half where the answer is rare (Lipton et al. 2014).
    """
    falling = np.sort(shares)[::-1]
    right = np.cumsum(falling)
    return float(falling[np.argmax(2 * right / (np.arange(1, len(falling) + 1) + right[-1]))])


def temper(network: TextNetwork, rows: Sequence[Encoded], *, pad: int, batch_tokens: int) -> tuple[float, float]:
    """Fit probabilities to held-out `rows`; returns the sentiment's temperature and the intent's threshold.

    The sentiment head is divided by its temperature, which changes no answer; the intent head's bias is moved, which
    undoes the weight that training gave to the rare intent 1.
    """
    from ml.text.batches import batches, collate

    device = next(network.parameters()).device
    network.eval()
    found, cues, truth, wanted = [], [], [], []
    with torch.no_grad():
        for batch in batches(rows, batch_tokens, None):
            tensors = collate(batch, pad, device)
            sentiment, intent, _ = (each.double().cpu().numpy() for each in network(tensors["ids"], tensors["mask"]))
            found.append(sentiment)
            cues.append(intent)
            truth += [row.sentiment for row in batch]
            wanted += [row.intent for row in batch]
        temperature = best_temperature(np.concatenate(found), truth)
        network.sentiment.weight.div_(temperature)
        network.sentiment.bias.div_(temperature)
        shift = best_shift(np.concatenate(cues), wanted)
        network.intent.bias.add_(shift)
    return temperature, best_threshold(1.0 / (1.0 + np.exp(-shift - np.concatenate(cues))))


def calibration_error(confidence: Sequence[float], right: Sequence[bool]) -> float:
    """Expected calibration error: mean distance of confidence and accuracy over bins of equal width, by their rows."""
    apart, sizes, _ = _bins(confidence, right)
    return float((np.abs(apart) * sizes).sum() / max(sizes.sum(), 1))


def error_beyond_chance(confidence: Sequence[float], right: Sequence[bool]) -> float:
    """Root mean square distance of confidence and accuracy over the same bins, less what chance makes of it.

    A bin of n rows misses a true accuracy a by chance, by a (1 - a) / (n - 1) in the mean square, which is taken out of
    its square (Kumar et al. 2019); a bin of one row says nothing. The plain error has no such term: of 767 sentences
    with true probabilities it is 0.034. It is told beside the plain error, which is judged.
    """
    apart, sizes, hits = _bins(confidence, right)
    told = sizes > 1
    chance = hits * (1 - hits) / np.maximum(sizes - 1, 1)
    square = (sizes * (apart**2 - chance))[told].sum() / max(sizes.sum(), 1)
    return float(np.sqrt(max(square, 0.0)))


def _bins(confidence: Sequence[float], right: Sequence[bool]) -> tuple[NDArray[np.float64], ...]:
    """Confidence less accuracy, rows and accuracy of each bin that has rows."""
    sure, hit = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    places = np.minimum((sure * BINS).astype(int), BINS - 1)
    sizes, hits, sums = (np.bincount(places, weights, BINS) for weights in (None, hit, sure))
    used = sizes > 0
    rows = sizes[used].astype(np.float64)
    return (sums - hits)[used] / rows, rows, hits[used] / rows
