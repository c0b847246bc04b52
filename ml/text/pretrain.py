"""In-domain pre-training: the encoder reads a shop's unlabelled texts before it is fine-tuned.

Masked words (Devlin et al. 2019), words that judge before others (Tian et al. 2020, SKEP): half of a text's words of
praise and blame are hidden whole, and of its other pieces 15 %, of which 80 % become `<mask>`, 10 % another piece, and
10 % stay. To be said are the piece that stood there and, by the sentence's mean, whether the hidden words praise or
blame, or neither where a text has no such word. A base that was trained to tell sentences apart forgets that when it
guesses pieces alone, which cost more than it brought (docs/benchmarks.md); so word embeddings stay as they are, and
each piece's state is held near what the base gives it in the whole text. All output layers are thrown away.

    python -m ml text pretrain --in texts.parquet --out base/
    python -m ml text train --base base/ --config full --register
"""

from __future__ import annotations

import copy
import json
import random
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from flashsale.corpora.normal import identity, normal_text
from flashsale.errors import InputError
from flashsale.settings import settings
from ml.text.base import ensure_base_model, load_bert
from ml.text.batches import batches
from ml.text.data import Encoded
from ml.text.encoder import encode, normed
from ml.text.judging import judging_words
from ml.text.model import keep
from ml.text.network import mean_of
from ml.text.reading import plain, tokenizer_of
from ml.text.scorer import fast_bf16

if TYPE_CHECKING:
    from ml.text.config import TrainConfig

CHOSEN, MASKED, CHANGED = 0.15, 0.8, 0.1
MASK = ("<mask>", "[MASK]")
HELD_EVERY = 20
GUESS, KEEP = 0.2, 0.5  # weights of the guessed pieces and of staying near the base, beside the verdict's
HEADS = 5.0  # times the encoder's rate, for layers that begin from nothing


@dataclass(frozen=True)
class Row(Encoded):
    """A text as pieces; of each word that judges its places, and whether it praises. `silent`: no word judges."""

    words: tuple[tuple[tuple[int, ...], bool], ...] = ()
    silent: bool = True


@dataclass(frozen=True)
class Hidden:
    """A text with words hidden: ids as read, the places to guess, and the shares of (blame, neither, praise) among the
    hidden words that judge; all 0 where that is not known.
    """

    read: list[int]
    places: list[int]
    verdict: tuple[float, float, float]


@dataclass(frozen=True)
class Losses:
    """Of a batch: summed surprise of guessed places and of verdicts, how many each, and how far states have moved."""

    guessed: torch.Tensor
    places: int
    verdict: torch.Tensor
    verdicts: int
    moved: torch.Tensor

    def total(self) -> torch.Tensor:
        """What a step lowers."""
        guessed, verdict = self.guessed / max(self.places, 1), self.verdict / max(self.verdicts, 1)
        return verdict + GUESS * guessed + KEEP * self.moved


class Guesser(nn.Module):
    """From states (places, hidden) to scores over the vocabulary (places, pieces), by the shared embeddings."""

    def __init__(self, words: nn.Parameter) -> None:
        super().__init__()
        pieces, size = words.shape
        self.dense, self.norm = nn.Linear(size, size), nn.LayerNorm(size)
        nn.init.eye_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)
        self.bias = nn.Parameter(torch.zeros(pieces))
        self.words = [words]  # a list, so that the parameter is not registered twice

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Scores in the states' type."""
        kind = states.dtype
        inner = F.gelu(F.linear(states, self.dense.weight.to(kind), self.dense.bias.to(kind)))
        inner = normed(inner, self.norm, self.norm.eps)
        return F.linear(inner, self.words[0].to(kind), self.bias.to(kind))


def masked(
    ids: Sequence[int], special: frozenset[int], mask: int, pieces: int, dice: random.Random
) -> tuple[list[int], list[int]]:
    """Return (ids as read, places to guess) of one text; at least one place of a text with any plain piece."""
    plain = [at for at, piece in enumerate(ids) if piece not in special]
    if not plain:
        return list(ids), []
    places = sorted(dice.sample(plain, max(1, round(CHOSEN * len(plain)))))
    read = list(ids)
    for at in places:
        draw = dice.random()
        if draw < MASKED:
            read[at] = mask
        elif draw < MASKED + CHANGED:
            read[at] = dice.randrange(pieces)
    return read, places


def hide(row: Row, special: frozenset[int], mask: int, pieces: int, dice: random.Random) -> Hidden:
    """Hide half of the words that judge, at least one, and a share of the other pieces."""
    read, found = masked(row.ids, special, mask, pieces, dice)
    judging = {at for word, _ in row.words for at in word}
    for at in judging:
        read[at] = row.ids[at]
    gone = dice.sample(row.words, max(1, len(row.words) // 2)) if row.words else []
    for word, _ in gone:
        for at in word:
            read[at] = mask
    places = sorted({*found} - judging | {at for word, _ in gone for at in word})
    if not gone:
        return Hidden(read, places, (0.0, float(row.silent), 0.0))
    praise = sum(praises for _, praises in gone) / len(gone)
    return Hidden(read, places, (1.0 - praise, 0.0, praise))


def distinct(texts: Sequence[str | None]) -> list[str]:
    """The different sentences of a column, in normal form, in order of appearance."""
    seen: dict[str, str] = {}
    for text in texts:
        if text and (key := identity(text)):
            seen.setdefault(key, normal_text(text))
    return list(seen.values())


class Reader:
    """One pre-training run of a base model."""

    def __init__(
        self, base: Path, *, batch_tokens: int, rate: float, seed: int, reading: str = "canonical", layers: int = 0
    ) -> None:
        self.bert = load_bert(base)
        if layers:
            keep(self.bert, range(layers))
        self.tokenizer = tokenizer_of(base, reading)
        pieces = plain(self.tokenizer)
        found = [pieces.token_to_id(name) for name in MASK]
        if all(piece is None for piece in found):
            raise InputError(
                f"base model {base.name}", "its tokenizer has no mask", "name a base that was read this way"
            )
        self.mask = next(piece for piece in found if piece is not None)
        self.special, self.pieces = frozenset(pieces.encode("").ids), pieces.get_vocab_size()
        self.batch_tokens, self.rate, self.seed = batch_tokens, rate, seed
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.bert.to(self.device).embeddings.requires_grad_(False)
        self.start = copy.deepcopy(self.bert).eval().requires_grad_(False)
        size = self.bert.config.hidden_size
        self.guesser = Guesser(self.bert.embeddings.word_embeddings.weight).to(self.device)
        self.verdict = nn.Linear(size, 3).to(self.device)
        self.centre, self.scale = torch.zeros(size, device=self.device), torch.ones(size, device=self.device)
        self.dtype = torch.bfloat16 if fast_bf16(self.device) else torch.float32

    def rows(self, texts: Sequence[str], max_tokens: int) -> list[Row]:
        """Texts as pieces, and the places of their words that judge; a word that is cut off is none."""
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_tokens)
        return [_row(text, found) for text, found in zip(texts, self.tokenizer.encode_batch(list(texts)), strict=True)]

    def read(self, texts: Sequence[str], epochs: int, max_tokens: int) -> dict[str, Any]:
        """Read the texts; every twentieth is held out. Returns losses before and after, pieces and seconds."""
        rows = self.rows(texts, max_tokens)
        held, learnt = rows[::HELD_EVERY], [row for at, row in enumerate(rows) if at % HELD_EVERY]
        if not learnt:
            raise InputError("pre-training texts", f"there are {len(rows)} different ones", "give a few thousand")
        self._measure(held)
        rng, began = random.Random(self.seed), time.monotonic()
        plan = [batch for _ in range(epochs) for batch in batches(learnt, self.batch_tokens, rng)]
        encoder = [parameter for parameter in self.bert.parameters() if parameter.requires_grad]
        heads = [*self.guesser.parameters(), *self.verdict.parameters()]
        groups = [{"params": encoder, "times": 1.0}, {"params": heads, "times": HEADS}]
        optimizer = torch.optim.AdamW(groups, lr=self.rate, fused=True)
        before, warm = self.judge(held), max(1, len(plan) // 20)
        for step, batch in enumerate(plan):
            share = min((step + 1) / warm, (len(plan) - step) / max(1, len(plan) - warm))
            for group in optimizer.param_groups:
                group["lr"] = self.rate * share * group["times"]
            self.bert.train()
            optimizer.zero_grad(set_to_none=True)
            loss = self._losses(batch, rng).total()
            torch.autograd.backward([loss])
            nn.utils.clip_grad_norm_([*encoder, *heads], 1.0)
            optimizer.step()
            if step % 50 == 49:
                words = (
                    f"pre-training step {step + 1}/{len(plan)} loss {loss.item():.3f} {time.monotonic() - began:.0f} s"
                )
                print(words, file=sys.stderr, flush=True)
        pieces = sum(len(row.ids) for batch in plan for row in batch)
        seconds, after = time.monotonic() - began, self.judge(held)
        return {
            "texts": len(learnt),
            "texts_that_judge": sum(bool(row.words) for row in learnt),
            "held_out_texts": len(held),
            "pieces": pieces,
            "steps": len(plan),
            "seconds": round(seconds, 1),
            "pieces_per_second": round(pieces / seconds),
            "loss_before": round(before[0], 4),
            "loss_after": round(after[0], 4),
            "verdict_before": round(before[1], 4),
            "verdict_after": round(after[1], 4),
        }

    def judge(self, rows: Sequence[Row]) -> tuple[float, float]:
        """Mean surprise of a hidden place and of a verdict over `rows`, with the same words hidden every time."""
        self.bert.eval()
        rng, found = random.Random(self.seed), []
        with torch.inference_mode():
            for batch in batches(rows, 4 * self.batch_tokens, None):
                found.append(self._losses(batch, rng))
        places, verdicts = sum(each.places for each in found), sum(each.verdicts for each in found)
        guessed, verdict = sum(float(each.guessed) for each in found), sum(float(each.verdict) for each in found)
        return guessed / max(places, 1), verdict / max(verdicts, 1)

    def save(self, base: Path, out: Path) -> None:
        """Write a base folder; it appears whole or not at all."""
        staged = out.with_name(f".{out.name}.staged")
        shutil.rmtree(staged, ignore_errors=True)
        self.bert.save_pretrained(staged)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            if (base / name).is_file():
                shutil.copyfile(base / name, staged / name)
        config = json.loads((base / "config.json").read_text(encoding="utf-8"))
        config["num_hidden_layers"] = self.bert.config.num_hidden_layers
        (staged / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
        shutil.rmtree(out, ignore_errors=True)
        staged.rename(out)

    def _measure(self, rows: Sequence[Row]) -> None:
        """Centre and scale of sentence vectors, as the base gives them for whole texts."""
        means = []
        with torch.inference_mode():
            for batch in batches(rows, 4 * self.batch_tokens, None):
                ids, mask = self._grid([row.ids for row in batch])
                means.append(mean_of(encode(self.start, ids, mask, dtype=self.dtype).float(), mask))
        found = torch.cat(means)
        self.centre, self.scale = found.mean(0).clone(), found.std(0, correction=0).clamp(min=1e-6).clone()

    def _grid(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask, shape (rows, longest)."""
        width = max(map(len, rows))
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        return ids.to(self.device), mask.to(self.device)

    def _losses(self, batch: Sequence[Row], rng: random.Random) -> Losses:
        hidden = [hide(row, self.special, self.mask, self.pieces, rng) for row in batch]
        ids, mask = self._grid([one.read for one in hidden])
        states = encode(self.bert, ids, mask, dtype=self.dtype)
        flat = [at * ids.shape[1] + place for at, one in enumerate(hidden) for place in one.places]
        goals = [row.ids[place] for row, one in zip(batch, hidden, strict=True) for place in one.places]
        chosen = states.view(-1, states.shape[-1])[torch.tensor(flat, dtype=torch.long, device=self.device)]
        wanted = torch.tensor(goals, dtype=torch.long, device=self.device)
        guessed = F.cross_entropy(self.guesser(chosen).float(), wanted, reduction="sum")
        sides = torch.tensor([one.verdict for one in hidden], device=self.device)
        said = self.verdict((mean_of(states.float(), mask) - self.centre) / self.scale)
        verdict = F.cross_entropy(said, sides, reduction="sum")
        verdicts = sum(any(one.verdict) for one in hidden)
        return Losses(guessed, len(goals), verdict, verdicts, self._moved(states, batch))

    def _moved(self, states: torch.Tensor, batch: Sequence[Row]) -> torch.Tensor:
        """One less the mean cosine of pieces' states and those that the base gives them in the whole text."""
        if not self.bert.training:
            return torch.zeros((), device=self.device)
        ids, mask = self._grid([row.ids for row in batch])
        with torch.no_grad():
            start = encode(self.start, ids, mask, dtype=self.dtype).float()
        near = F.cosine_similarity(states.float() - self.centre, start - self.centre, dim=-1)
        return ((1.0 - near) * mask).sum() / mask.sum()


def _row(text: str, found: Any) -> Row:
    """A text's pieces, with those of its words that judge."""
    words = judging_words(text)
    at = [
        (tuple(i for i, (start, end) in enumerate(found.offsets) if start < word.end and word.start < end), word.side)
        for word in words
    ]
    known = tuple((places, side == "praise") for places, side in at if places and side != "neither")
    return Row(found.ids, [], 0, 0, words=known, silent=not words)


def pretrain(
    texts: Sequence[str | None],
    out: Path,
    *,
    base: str | None = None,
    config: TrainConfig | None = None,
    epochs: int = 1,
    batch_tokens: int = 2048,
    max_tokens: int = 128,
    rate: float = 2e-4,
    threads: int | None = None,
) -> dict[str, Any]:
    """Let the base model read `texts` and write it to the folder `out`, ready to be fine-tuned.

    With `config` it reads as texts are read there, with the layers that are kept there (the lowest; others raise
    InputError). Frozen test sentences among the texts are left out, so that the exam stays sealed.
    """
    from flashsale.corpora.normal import split_of
    from ml.text.train import seed_everything

    torch.set_num_threads(threads or settings().threads)
    seed_everything(settings().seed)
    root = ensure_base_model(base or settings().text_base_model)
    read = [text for text in distinct(texts) if split_of(text) == "train"]
    reading = config.reading if config else "canonical"
    layers = _lowest(config) if config else 0
    reader = Reader(root, batch_tokens=batch_tokens, rate=rate, seed=settings().seed, reading=reading, layers=layers)
    figures = reader.read(read, epochs, max_tokens)
    reader.save(root, out)
    note = {"base": root.name, "rate": rate, "epochs": epochs, **figures}
    (out / "pretraining.json").write_text(json.dumps(note, indent=1), encoding="utf-8")
    return {**note, "out": str(out)}


def _lowest(config: TrainConfig) -> int:
    """How many of the lowest layers a configuration keeps; 0: all."""
    kept = list(config.keep_layers or ())
    if kept != list(range(len(kept))):
        remedy = "pre-train with all layers (no --config), or keep the lowest"
        raise InputError("training configuration", f"keeps the layers {kept}", remedy, field="keep_layers")
    return len(kept)
