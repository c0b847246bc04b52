"""Which words made the model say so: integrated gradients per word, checked by deletion curves.

Integrated gradients (Sundararajan, Taly and Yan 2017): the gradient of an answer with respect to the word embeddings,
averaged along the straight way from a baseline to the text, times the difference of the two. The baseline is a text of
padding embeddings with the special pieces kept. The way is cut by Gauss-Legendre nodes. Attributions add up to the
answer's change from the baseline (completeness); what is missing is stated as `gap`.

The answer of `sentiment` is the likeliest class's logit less the mean of all classes' (a softmax does not see what they
share), that of `intent` its logit. Attributions of pieces are summed over their word; a Chinese piece is a word.

The full weights are explained, in float32: the served form (8-bit, bfloat16) rounds, and has no gradients. Where a
text leaves at an exit, the exit's answer is what is explained. Of the
network nothing is used but its `forward` and its table of word embeddings: each place of the text looks up a row of
its own in a table put in that one's stead, so any forward that looks words up can be explained.

A deletion curve (Samek et al. 2017) takes words out, those that speak most for the answer first, and follows its
probability: the faster it falls, the truer the order. `area` is the mean of the curve; random orders are its yardstick.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.func import functional_call

from ml.text import model, scorer
from ml.text.scorer import piece_bounds

if TYPE_CHECKING:
    from ml.text.data import Example

Floats = NDArray[np.float64]
STEPS = 32
ANSWERS = ("sentiment", "intent")
SHARES = tuple(at / 10 for at in range(1, 11))
_ROWS = 16


@dataclass(frozen=True)
class Word:
    """A word of a text (character offsets, end exclusive) and what it added to each answer, in logits."""

    start: int
    end: int
    text: str
    sentiment: float
    intent: float


@dataclass(frozen=True)
class Explained:
    """A text's answers with their words; `gap` is the completeness error of each answer, in logits."""

    text: str
    sentiment: str
    shares: dict[str, float]
    intent: float
    words: list[Word]
    gap: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "text": self.text,
            "sentiment": self.sentiment,
            **{f"p_{name}": round(share, 4) for name, share in self.shares.items()},
            "p_intent": round(self.intent, 4),
            "words": [
                {"start": w.start, "end": w.end, "text": w.text, "sentiment": round(w.sentiment, 4),
                 "intent": round(w.intent, 4)} for w in self.words
            ],
            "gap": {name: round(value, 5) for name, value in self.gap.items()},
        }  # fmt: skip


class Explainer:
    """Explains the texts of one model folder.

    Args:
        folder: `model.safetensors`, `config.json`, `tokenizer.json`, `labels.json`, `manifest.json`.
        steps: nodes on the way from the baseline, at least 2.
    """

    def __init__(self, folder: Path, *, steps: int = STEPS) -> None:
        import json

        self.network = model.load(folder).requires_grad_(False)
        self.table = self.network.word_embeddings()
        self.place = next(name for name, value in self.network.named_parameters() if value is self.table)
        labels = json.loads((folder / scorer.LABELS).read_text(encoding="utf-8"))
        self.classes: list[str] = labels["sentiment"]
        self.sure = [float(leave["sure"]) for leave in labels.get("exits", ())]
        self.tokenizer = scorer.tokenizer_of(folder)
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(int(labels["max_tokens"]))
        self.pad = model.pad_of(folder)
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        self.nodes = torch.tensor((nodes + 1) / 2, dtype=torch.float32)
        self.weights = torch.tensor(weights / 2, dtype=torch.float32)

    def answer(self, text: str) -> str:
        """The sentiment that the full weights give a text."""
        ids = torch.tensor([self.tokenizer.encode(text).ids])
        return self.classes[int(self._answered(ids, torch.ones_like(ids))[1][0].argmax())]

    def _answered(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[int, torch.Tensor, torch.Tensor]:
        """The head that answers the first of these texts (its first exit that is sure, else the last layer), and the
        logits of that head's sentiment (texts, 3) and of the intent (texts,) of all.
        """
        with torch.no_grad():
            sentiments, intent, _ = self.network.answers(ids, mask)
        sure = (float(found[0].softmax(-1).max()) > bound for found, bound in zip(sentiments, self.sure, strict=False))
        head = next((at for at, leaves in enumerate(sure) if leaves), len(self.sure))
        return head, sentiments[head], intent

    def explain(self, text: str) -> Explained:
        """Explain one text that is not blank; what is cut in serving is cut here."""
        encoding = self.tokenizer.encode(text)
        ids = torch.tensor([encoding.ids])
        kept = torch.tensor(encoding.special_tokens_mask, dtype=torch.bool)
        head, sentiment, intent = self._answered(ids, torch.ones_like(ids))
        shares = torch.softmax(sentiment[0].double(), -1)
        named = int(shares.argmax())
        pieces, gap = self._attributions(ids, kept, named, head)
        return Explained(
            text,
            self.classes[named],
            {name: float(share) for name, share in zip(self.classes, shares, strict=True)},
            float(torch.sigmoid(intent[0].double())),
            _words(text, encoding.offsets, pieces),
            gap,
        )

    def _attributions(
        self, ids: torch.Tensor, kept: torch.Tensor, named: int, head: int = -1
    ) -> tuple[dict[str, Floats], dict[str, float]]:
        """Attributions a piece (pieces,) of each answer, and the completeness errors."""
        end = self.table[ids]
        start = self.table[torch.where(kept[None, :], ids, torch.full_like(ids, self.pad))]
        sums = {answer: torch.zeros_like(end) for answer in ANSWERS}
        for nodes, weights in zip(self.nodes.split(_ROWS), self.weights.split(_ROWS), strict=True):
            points = (start + nodes[:, None, None] * (end - start)).requires_grad_(True)
            with torch.enable_grad():
                answers = {answer: value.sum() for answer, value in self._answers(points, named, head).items()}
            for last, (answer, value) in enumerate(answers.items(), 1):
                (slope,) = torch.autograd.grad(value, points, retain_graph=last < len(answers))
                sums[answer] += (weights[:, None, None] * slope).sum(0)
        with torch.no_grad():
            ends = self._answers(torch.cat([start, end]), named, head)
        found, gap = {}, {}
        for answer in ANSWERS:
            pieces = ((end - start) * sums[answer]).sum(-1)[0].double()
            found[answer] = np.asarray(pieces.numpy(), dtype=np.float64)
            gap[answer] = float(pieces.sum() - (ends[answer][1] - ends[answer][0]))
        return found, gap

    def _answers(self, embedded: torch.Tensor, named: int, head: int) -> dict[str, torch.Tensor]:
        """The two answers, shape (rows,), for word embeddings of shape (rows, pieces, hidden)."""
        rows, pieces, hidden = embedded.shape
        spare = self.pad + 1  # an embedding's padding row has no gradient, so no place may look that one up
        table = torch.cat([embedded.new_zeros(spare, hidden), embedded.reshape(-1, hidden)])
        ids = spare + torch.arange(rows * pieces).view(rows, pieces)
        sentiment, intent, _ = functional_call(self.network, {self.place: table}, (ids, torch.ones_like(ids), head))
        return {"sentiment": sentiment[:, named] - sentiment.mean(-1), "intent": intent}

    def deletion_curve(self, text: str, order: Sequence[Word], answer: str = "sentiment") -> Floats:
        """The answer's probability with the first 10 %, 20 %, … 100 % of the words in `order` taken out, shape (10,).

        `sentiment` follows the class that the whole text was given, `intent` the intent.
        """
        encoding = self.tokenizer.encode(text)
        bounds = piece_bounds(text, encoding.offsets)
        rows = [list(encoding.ids)]
        for share in SHARES:
            gone = [(w.start, w.end) for w in order[: max(1, round(share * len(order)))]]
            out = [start < end and any(s <= start and end <= e for s, e in gone) for start, end, _ in bounds]
            rows.append([piece for piece, off in zip(encoding.ids, out, strict=True) if not off])
        ids = torch.full((len(rows), len(rows[0])), self.pad)
        mask = torch.zeros_like(ids)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = torch.tensor(row)
            mask[at, : len(row)] = 1
        _, sentiment, intent = self._answered(ids, mask)
        named = int(sentiment[0].argmax())
        found = torch.softmax(sentiment, -1)[1:, named] if answer == "sentiment" else intent[1:].sigmoid()
        return np.asarray(found.double().numpy(), dtype=np.float64)

    def deletion_area(self, found: Explained, answer: str = "sentiment", *, draws: int = 5) -> tuple[float, float]:
        """Mean of the deletion curve in the order of attribution, and of `draws` random orders; lower is better."""
        ordered = sorted(found.words, key=lambda w: -getattr(w, answer))
        ours = self.deletion_curve(found.text, ordered, answer).mean()
        dice, random_areas = random.Random(found.text), []
        for _ in range(draws):
            mixed = dice.sample(found.words, len(found.words))
            random_areas.append(self.deletion_curve(found.text, mixed, answer).mean())
        return float(ours), float(np.mean(random_areas))


def _words(text: str, offsets: Sequence[tuple[int, int]], pieces: dict[str, Floats]) -> list[Word]:
    """Words with the sums of their pieces' attributions; special pieces belong to none (and differ from none)."""
    found: list[list[float]] = []
    for at, (start, end, first) in enumerate(piece_bounds(text, offsets)):
        if start == end:
            continue
        added = [float(pieces[answer][at]) for answer in ANSWERS]
        if found and (not first or start < found[-1][1]):  # a bare word mark names the first character that follows it
            before = found[-1]
            found[-1] = [before[0], max(end, before[1]), before[2] + added[0], before[3] + added[1]]
        else:
            found.append([start, end, *added])
    return [Word(int(s), int(e), text[int(s) : int(e)], one, two) for s, e, one, two in found]


def marked(found: Explained, *, colour: bool = False) -> str:
    """One line for a terminal: words that speak for the sentiment as `+word+`, against it as `-word-`.

    A word is marked where it holds at least half of the strongest word's weight; with `colour` green and red take
    the marks' place.
    """
    strongest = max((abs(w.sentiment) for w in found.words), default=0.0)
    line, last = [], 0
    for word in found.words:
        line.append(found.text[last : word.start])
        strong = strongest > 0 and abs(word.sentiment) >= strongest / 2
        sign = "+" if word.sentiment > 0 else "-"
        if not strong:
            line.append(word.text)
        elif colour:
            line.append(f"\x1b[{32 if sign == '+' else 31}m{word.text}\x1b[0m")
        else:
            line.append(f"{sign}{word.text}{sign}")
        last = word.end
    line.append(found.text[last:])
    share = found.shares[found.sentiment]
    return f"{''.join(line)}  [{found.sentiment} {share:.2f}, intent {found.intent:.2f}]"


def examples_for_review(folder: Path, examples: Sequence[Example], *, count: int = 4, most: int = 90) -> list[str]:
    """Up to `count` short explained lines for the review page: of each language, one that is right and one that is
    wrong.

    `examples` are frozen test sentences in their fixed order; those of 12 to `most` characters are taken. The lines
    are as `marked` gives them, with the label that people gave.
    """
    from ml.text.data import SENTIMENTS

    explainer = Explainer(folder)
    wanted = [(language, right) for language in ("zh", "en") for right in (True, False)]
    lines: dict[tuple[str, bool], str] = {}
    for example in [e for e in examples if 12 <= len(e.text) <= most][:200]:
        if not any(language == example.language and (language, right) not in lines for language, right in wanted):
            continue
        found = explainer.answer(example.text)
        key = example.language, found == SENTIMENTS[example.sentiment]
        if key in wanted and key not in lines:
            line = marked(explainer.explain(example.text))
            lines[key] = f"{line} people: {SENTIMENTS[example.sentiment]}"
        if len(lines) >= min(count, len(wanted)):
            break
    return [lines[key] for key in wanted if key in lines][:count]
