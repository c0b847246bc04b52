"""A sentiment head that does not read who speaks, or where.

A short training makes something of every name: which names stood in praise is luck. What a head makes of a name is a
direction of the vectors it reads, so the direction can be taken out of the head, for names that were never listed too,
since they move the vectors along the same few directions (Ravfogel et al. 2020 project such directions out; here they
are shrunk, so that nothing else is given up for them).

Training sentences are said by others (`ml.text.variants.said_by_others`): copies that differ in the person or the place
alone. With x the vectors that a head (w, b) reads of training sentences, d those of the copies less their mean over
the copies of one sentence, the head becomes the one that minimises

    mean of ((w' - w) · x + b' - b)²  +  strength · mean of (w' · d)²

that is w' = (C + strength · D)⁻¹ C w with the second moments C of (x, 1) and D of (d, 0): a ridge regression on the
head's own answers, whose penalty falls on what copies have apart. The sentiment's head is changed. That of intent reads
pieces: changed in the same way it moved no less with names, and lost up to nine points of F1 (measured).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ml.text.batches import batches, collate
from ml.text.config import Evenness
from ml.text.data import Encoded, Example, encode
from ml.text.reading import plain
from ml.text.variants import said_by_others

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn

    from ml.text.network import TextNetwork
    from ml.text.scorer import Reading

COPIES = 4
#: Characters of a sentence at most: the shorter it is, the more of its mean is the name.
SHORT = {"zh": 40, "en": 90}
#: Sentences a language that say what a head has to keep.
KEPT = 1000
_TINY = 1e-6


@dataclass(frozen=True)
class Apart:
    """How far copies' logits lie from their mean (root mean square), before and after."""

    sentences: int
    before: float
    after: float


def even(
    network: TextNetwork,
    examples: Sequence[Example],
    tokenizer: Tokenizer | Reading,
    how: Evenness,
    *,
    pad: int,
    max_tokens: int,
    batch_tokens: int,
    seed: int,
) -> Apart:
    """Change the sentiment heads of `network`, its exits' too; returns what became of the last one's logits.

    Args:
        examples: training sentences, in an order in which any first ones are a fair sample.
        how: the number of sentences a language that are said by others, and the strength; 0 leaves it alone.
        max_tokens: pieces at most; sentences whose copies are longer are passed over.
    """
    if not how.strength:
        return Apart(0, 0.0, 0.0)
    network.eval()
    kept, groups = _chosen(examples, how.sentences, seed)
    # Copies are cut as they stand: a name that the reading folds speaks for those that it does not know.
    rows = encode([example for group in groups for example in group], plain(tokenizer), max_tokens)
    parts = [rows[at : at + COPIES] for at in range(0, len(rows), COPIES)]
    parts = [part for part in parts if max(len(row.ids) for row in part) < max_tokens]
    if not parts:
        return Apart(0, 0.0, 0.0)
    with torch.no_grad():
        every = _means(network, encode(kept, tokenizer, max_tokens), pad, batch_tokens)
        said = _means(network, [row for part in parts for row in part], pad, batch_tokens)
        for (head, *_), means, copies in zip(network.heads(), every, said, strict=True):
            grouped = copies.view(-1, COPIES, copies.shape[-1])
            usual = _moments(means, one=True)
            other = _moments((grouped - grouped.mean(1, keepdim=True)).flatten(0, 1), one=False)
            before = _spread(head, other)
            level(head, usual, other, how.strength)
        return Apart(len(parts), before, _spread(network.sentiment, other))


def level(head: nn.Linear, usual: torch.Tensor, apart: torch.Tensor, strength: float) -> None:
    """Put the minimum of the module's docstring into `head`; both moments have shape (features + 1, features + 1)."""
    size = len(usual)
    usual = usual + torch.eye(size, dtype=usual.dtype) * _TINY * usual.diagonal().mean()
    whole = torch.cat([head.weight.data, head.bias.data[:, None]], 1).to(usual)
    found = torch.linalg.solve(usual + strength * apart, usual @ whole.T).T
    head.weight.data.copy_(found[:, :-1])
    head.bias.data.copy_(found[:, -1])


def _chosen(examples: Sequence[Example], sentences: int, seed: int) -> tuple[list[Example], list[list[Example]]]:
    """Sentences to keep the answers of, and copies of short ones: a group is one sentence, said by `COPIES` others."""
    dice, kept, groups = random.Random(seed), [], []
    for language, most in SHORT.items():
        mine = [example for example in examples if example.language == language]
        kept += mine[:KEPT]
        for example in [e for e in mine if len(e.text) <= most][:sentences]:
            groups += said_by_others(example, dice, COPIES)
    return kept, groups


def _means(network: TextNetwork, rows: Sequence[Encoded], pad: int, batch_tokens: int) -> torch.Tensor:
    """What each head reads of each row, shape (heads, rows, features), in their order."""
    place = {id(row): at for at, row in enumerate(rows)}
    heads = network.heads()
    found = torch.zeros(len(heads), len(rows), network.sentiment.in_features, dtype=torch.float64)
    for batch in batches(rows, batch_tokens, None):
        tensors = collate(batch, pad, network.sentiment.weight.device)
        _, means = network.represent(tensors["ids"], tensors["mask"])
        for at, (mean, (_, centre, scale)) in enumerate(zip(means, heads, strict=True)):
            found[at, [place[id(row)] for row in batch]] = ((mean - centre) / scale).cpu().double()
    return found


def _moments(rows: torch.Tensor, *, one: bool) -> torch.Tensor:
    """Second moments of rows with a last column of ones (`one`) or of nothing."""
    whole = torch.nn.functional.pad(rows, (0, 1), value=float(one))
    return whole.T @ whole / len(whole)


def _spread(head: nn.Linear, apart: torch.Tensor) -> float:
    """Root mean square of the head's logits of copies around their mean."""
    weight = head.weight.data.cpu().double()
    return float(((weight @ apart[:-1, :-1]) * weight).sum(1).mean().clamp(min=0).sqrt())
