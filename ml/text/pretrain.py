"""In-domain pre-training: the encoder reads a shop's unlabelled texts before it is fine-tuned.

Masked words (Devlin et al. 2019): 15 % of the pieces are chosen, of which 80 % become `<mask>`, 10 % another piece, and
10 % stay; the encoder is to say what stood there (Gururangan et al. 2020 show what reading one's own domain gains). The
output layer shares the word embeddings and is thrown away afterwards. Only masked places are decoded.

    python -m ml text pretrain --in texts.parquet --out base/
    python -m ml text train --base base/ --config full --register
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional as F

from flashsale.corpora.normal import identity, normal_text
from flashsale.errors import InputError
from flashsale.settings import settings
from ml.text.batches import batches
from ml.text.data import Encoded
from ml.text.embedded import ensure_base_model
from ml.text.encoder import encode, normed
from ml.text.scorer import fast_bf16

CHOSEN, MASKED, CHANGED = 0.15, 0.8, 0.1
MASK = ("<mask>", "[MASK]")
HELD_EVERY = 20


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


def distinct(texts: Sequence[str | None]) -> list[str]:
    """The different sentences of a column, in normal form, in order of appearance."""
    seen: dict[str, str] = {}
    for text in texts:
        if text and (key := identity(text)):
            seen.setdefault(key, normal_text(text))
    return list(seen.values())


class Reader:
    """One pre-training run of a base model."""

    def __init__(self, base: Path, *, batch_tokens: int, rate: float, seed: int) -> None:
        from transformers import BertModel
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        self.bert = BertModel.from_pretrained(base, add_pooling_layer=False)
        self.tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
        found = [self.tokenizer.token_to_id(name) for name in MASK]
        if all(piece is None for piece in found):
            raise InputError(
                f"base model {base.name}", "its tokenizer has no mask", "name a base that was read this way"
            )
        self.mask = next(piece for piece in found if piece is not None)
        self.special = frozenset(self.tokenizer.encode("").ids)
        self.batch_tokens, self.rate, self.seed = batch_tokens, rate, seed
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.bert.to(self.device)
        self.guesser = Guesser(self.bert.embeddings.word_embeddings.weight).to(self.device)
        self.dtype = torch.bfloat16 if fast_bf16(self.device) else torch.float32

    def read(self, texts: Sequence[str], epochs: int, max_tokens: int) -> dict[str, Any]:
        """Read the texts; every twentieth is held out. Returns losses before and after, pieces and seconds."""
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_tokens)
        rows = [Encoded(found.ids, [], 0, 0) for found in self.tokenizer.encode_batch(list(texts))]
        held, learnt = rows[::HELD_EVERY], [row for at, row in enumerate(rows) if at % HELD_EVERY]
        if not learnt:
            raise InputError("pre-training texts", f"there are {len(rows)} different ones", "give a few thousand")
        rng, began = random.Random(self.seed), time.monotonic()
        plan = [batch for _ in range(epochs) for batch in batches(learnt, self.batch_tokens, rng)]
        optimizer = torch.optim.AdamW([*self.bert.parameters(), *self.guesser.parameters()], lr=self.rate, fused=True)
        before, warm = self.judge(held), max(1, len(plan) // 20)
        for step, batch in enumerate(plan):
            share = min((step + 1) / warm, (len(plan) - step) / max(1, len(plan) - warm))
            for group in optimizer.param_groups:
                group["lr"] = self.rate * share
            self.bert.train()
            optimizer.zero_grad(set_to_none=True)
            total, places = self._loss(batch, rng)
            loss = total / max(places, 1)
            torch.autograd.backward([loss])
            nn.utils.clip_grad_norm_([*self.bert.parameters(), *self.guesser.parameters()], 1.0)
            optimizer.step()
            if step % 50 == 49:
                words = (
                    f"pre-training step {step + 1}/{len(plan)} loss {loss.item():.3f} {time.monotonic() - began:.0f} s"
                )
                print(words, file=sys.stderr, flush=True)
        pieces = sum(len(row.ids) for batch in plan for row in batch)
        seconds = time.monotonic() - began
        return {
            "texts": len(learnt),
            "held_out_texts": len(held),
            "pieces": pieces,
            "steps": len(plan),
            "seconds": round(seconds, 1),
            "pieces_per_second": round(pieces / seconds),
            "loss_before": round(before, 4),
            "loss_after": round(self.judge(held), 4),
        }

    def judge(self, rows: Sequence[Encoded]) -> float:
        """Mean surprise a masked place over `rows`, with the same masks every time."""
        self.bert.eval()
        rng, total, places = random.Random(self.seed), 0.0, 0
        with torch.inference_mode():
            for batch in batches(rows, 4 * self.batch_tokens, None):
                found, count = self._loss(batch, rng)
                total, places = total + float(found), places + count
        return total / max(places, 1)

    def save(self, base: Path, out: Path) -> None:
        """Write a base folder; it appears whole or not at all."""
        staged = out.with_name(f".{out.name}.staged")
        shutil.rmtree(staged, ignore_errors=True)
        self.bert.save_pretrained(staged)
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            if (base / name).is_file():
                shutil.copyfile(base / name, staged / name)
        shutil.rmtree(out, ignore_errors=True)
        staged.rename(out)

    def _loss(self, batch: Sequence[Encoded], rng: random.Random) -> tuple[torch.Tensor, int]:
        """Summed surprise of a batch, and how many places were guessed."""
        pieces = self.tokenizer.get_vocab_size()
        width = max(len(row.ids) for row in batch)
        ids = torch.zeros((len(batch), width), dtype=torch.long)
        mask = torch.zeros((len(batch), width), dtype=torch.long)
        flat: list[int] = []
        goals: list[int] = []
        for at, row in enumerate(batch):
            read, places = masked(row.ids, self.special, self.mask, pieces, rng)
            ids[at, : len(read)] = torch.tensor(read)
            mask[at, : len(read)] = 1
            flat += [at * width + place for place in places]
            goals += [row.ids[place] for place in places]
        states = encode(self.bert, ids.to(self.device), mask.to(self.device), dtype=self.dtype)
        chosen = states.view(-1, states.shape[-1])[torch.tensor(flat, device=self.device)]
        wanted = torch.tensor(goals, device=self.device)
        return F.cross_entropy(self.guesser(chosen).float(), wanted, reduction="sum"), len(goals)


def pretrain(
    texts: Sequence[str | None],
    out: Path,
    *,
    base: str | None = None,
    epochs: int = 1,
    batch_tokens: int = 2048,
    max_tokens: int = 128,
    rate: float = 1e-4,
    threads: int | None = None,
) -> dict[str, Any]:
    """Let the base model read `texts` and write it to the folder `out`, ready to be fine-tuned.

    Frozen test sentences among the texts are left out, so that the exam stays sealed.
    """
    from flashsale.corpora.normal import split_of
    from ml.text.train import seed_everything

    torch.set_num_threads(threads or settings().threads)
    seed_everything(settings().seed)
    root = ensure_base_model(base or settings().text_base_model)
    read = [text for text in distinct(texts) if split_of(text) == "train"]
    reader = Reader(root, batch_tokens=batch_tokens, rate=rate, seed=settings().seed)
    figures = reader.read(read, epochs, max_tokens)
    reader.save(root, out)
    note = {"base": root.name, "rate": rate, "epochs": epochs, **figures}
    (out / "pretraining.json").write_text(json.dumps(note, indent=1), encoding="utf-8")
    return {**note, "out": str(out)}
