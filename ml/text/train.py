"""Fine-tuning: one loop for every method, on a CPU, on CUDA, and under `torchrun`.

    python -m ml text train --config full
    torchrun --nproc-per-node 8 -m ml text train --config full

Batches hold sentences of like lengths; AdamW with warm-up, clipping, early stopping on held-out loss; a step that does
not fit in memory is taken in halves. One seed gives one result, and a run that is resumed from a checkpoint ends with
the same weights as one that never stopped. Of several processes each takes a batch of every step, and the gradients are
those of one process that accumulates as many.
"""

from __future__ import annotations

import copy
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ml.text import model
from ml.text.adapt import adapt, merge
from ml.text.batches import Tensors, balance, batches, collate
from ml.text.checkpoint import Checkpoints, History, State, mark_of, random_state
from ml.text.config import TrainConfig
from ml.text.data import Encoded
from ml.text.graphs import GRAIN, Graphs
from ml.text.memory import Parting, attempt, is_memory, parts_of
from ml.text.network import TextNetwork
from ml.text.parallel import Parallel
from ml.text.scorer import fast_bf16

_STANDARD_ROWS = 256
Batch = list[Encoded]
Watch = Callable[[dict[str, float], int], None]


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch, and ask PyTorch for repeatable kernels."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what repeatable products want on CUDA
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    # on CUDA attention repeats only where nothing else is allowed; a CPU has operations that know no such form
    torch.use_deterministic_algorithms(True, warn_only=not torch.cuda.is_available())
    torch.utils.deterministic.fill_uninitialized_memory = False  # every kernel used here writes all it allocates


def in_bf16(config: TrainConfig, device: torch.device) -> bool:
    """Whether a configuration trains in bfloat16 on a device."""
    return config.precision == "bf16" or (config.precision == "auto" and fast_bf16(device))


class Trainer:
    """One fine-tuning run of `network`.

    Args:
        network: changed in place; after `fit` it has the plain shape again, whatever method adapted it.
        pad: id of the padding piece.
        seed: of batches, dropout and fresh parameters.
        watch: called with (figures, step) at every evaluation, to draw live curves.
        checkpoints: folder for checkpoints; where it holds one of the same run, `fit` goes on from there.
    """

    def __init__(
        self,
        network: TextNetwork,
        config: TrainConfig,
        *,
        pad: int,
        seed: int,
        watch: Watch | None = None,
        checkpoints: Path | None = None,
    ) -> None:
        self.config, self.pad, self.seed, self.watch = config, pad, seed, watch
        self.parallel = Parallel.from_environment()
        self.device = self.parallel.device
        self.network = network.to(self.device)
        self.bf16 = in_bf16(config, self.device)
        model.set_dropout(network, config.dropout)
        model.freeze_below(network, config.frozen_layers)
        self.adapted = adapt(network, config.adapt)
        self.forward = torch.compile(network.answers, dynamic=True) if config.compile else network.answers
        self.checkpoints = Checkpoints(checkpoints) if checkpoints else None
        # AdaLoRA changes its shape between steps, and several processes or batches a step add up in between
        whole = self.parallel.world == 1 and config.accumulate == 1 and config.adapt.method != "adalora"
        self.replays = config.graphs and not config.compile and whole and self.device.type == "cuda"
        self.graphs: Graphs | None = None
        self.parting = Parting(self.parallel.free)

    def fit(self, train: Sequence[Encoded], valid: Sequence[Encoded]) -> History:
        """Train, keep the parameters of the best evaluation, and return what happened."""
        config, began = self.config, time.monotonic()
        class_weights, intent_weight = balance(train, config.class_weights)
        self.class_weights, self.intent_weight = class_weights.to(self.device), intent_weight.to(self.device)
        mark = self._mark(train, valid)
        self._standardize(train)
        steps = list(self._plan(train))
        self._prepare(len(steps))
        history, best, skip = self._resume(mark)
        if self.replays:
            self.graphs = Graphs(self._whole_step, train, budget=config.batch_tokens, pad=self.pad, device=self.device)
        already, recent = history.seconds, []
        silent = not (sys.stderr.isatty() and self.parallel.first)
        for step in tqdm(steps[skip:], initial=skip, total=len(steps), unit="step", disable=silent):
            recent.append(self._step(step, history))
            history.steps += 1
            history.tokens += sum(len(row.ids) for batch in step for row in batch)
            history.seconds = already + time.monotonic() - began
            if history.steps % config.evaluate_every == 0 or history.steps == len(steps):
                best = self._evaluate(
                    valid, history, float(np.mean([float(loss) for loss in recent])), len(steps), best
                )
                recent = []
                if history.waited >= config.patience:
                    break
            if self.checkpoints and config.checkpoint_every and history.steps % config.checkpoint_every == 0:
                self._save(self.checkpoints, history, best, mark)
        self.graphs = None
        self.network.load_state_dict(best, strict=False)
        merge(self.network, self.adapted)
        history.seconds = already + time.monotonic() - began
        return history

    def judge(self, rows: Sequence[Encoded]) -> float:
        """Mean loss over `rows`, each batch counting by its rows."""
        self.network.eval()
        total = 0.0
        with torch.inference_mode():
            for batch in batches(rows, 4 * self.config.batch_tokens, None):
                whole = self._totals([self._collated(batch)])
                total += sum(self.parting.each(batch, partial(self._judged, totals=whole))) * len(batch)
        return self.parallel.agreed(total / max(len(rows), 1))

    def _judged(self, batch: Batch, totals: Tensors) -> float:
        return float(self._loss(self._collated(batch), totals))

    def _plan(self, train: Sequence[Encoded]) -> Iterator[list[Batch]]:
        """The batches of every step, all epochs: each step has `accumulate` batches a process."""
        rng, group = random.Random(self.seed), self.config.accumulate * self.parallel.world
        for _ in range(self.config.epochs):
            made = list(batches(train, self.config.batch_tokens, rng, grain=GRAIN if self.replays else 1))
            yield from (made[at : at + group] for at in range(0, len(made), group))

    def _evaluate(
        self, valid: Sequence[Encoded], history: History, loss: float, total: int, best: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        judged = self.judge(valid)
        history.peak_mib = max(history.peak_mib, self.parallel.memory_mib())
        entry = {"step": float(history.steps), "loss": loss, "valid_loss": judged}
        history.evaluations.append(entry)
        figures = {**entry, "tokens_per_second": history.tokens_per_second, "memory_mib": history.peak_mib}
        if self.parallel.first:
            print(
                f"text training step {history.steps}/{total} loss {loss:.3f} valid {judged:.3f} "
                f"{history.seconds:.0f} s {history.tokens_per_second:.0f} pieces/s {history.peak_mib:.0f} MiB",
                file=sys.stderr,
                flush=True,
            )
            if self.watch:
                self.watch(figures, history.steps)
        if judged < history.best_loss:
            history.best_loss, history.best_step, history.waited = judged, history.steps, 0
            return copy.deepcopy({name: value.detach().cpu() for name, value in self._learning().items()})
        history.waited += 1
        return best

    def _standardize(self, rows: Sequence[Encoded]) -> None:
        """Measure what the heads are to see on the first rows, with the encoder as it came."""
        self.network.eval()
        heads = self.network.heads()
        pooled, pieces = [list[torch.Tensor]() for _ in heads], []
        with torch.inference_mode():
            for batch in batches(rows[:_STANDARD_ROWS], 4 * self.config.batch_tokens, None):
                for states, means in self.parting.each(batch, self._represented):
                    for mine, mean in zip(pooled, means, strict=True):
                        mine.append(mean)
                    pieces.append(states)
        seen = [(pieces, self.network.piece_centre, self.network.piece_scale)]
        seen += [(mine, centre, scale) for mine, (_, centre, scale) in zip(pooled, heads, strict=True)]
        for parts, centre, scale in seen:
            found = torch.cat(parts)
            centre.copy_(found.mean(0))
            scale.copy_(found.std(0, correction=0).clamp(min=1e-3))

    def _represented(self, batch: Batch) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """States of a batch's pieces (pieces, size) and each head's means (rows, size)."""
        tensors = self._collated(batch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            states, means = self.network.represent(tensors["ids"], tensors["mask"])
        return states[tensors["mask"].bool()], list(means)

    def _collated(self, batch: Batch) -> Tensors:
        return collate(batch, self.pad, self.device)

    def _step(self, step: list[Batch], history: History) -> float | torch.Tensor:
        """One optimiser step; where memory does not suffice its batches are halved, now and from now on.

        Returns its loss; where steps are replayed on a GPU as a tensor there, so that nobody waits for it.
        """
        self.network.learn(self.config.frozen_layers)
        self._set_rates(history.steps)
        if self.graphs:
            try:
                return self.graphs(step[0])
            except RuntimeError as error:
                if not is_memory(error):
                    raise
                self.graphs = None
        mine = step[self.parallel.rank :: self.parallel.world]
        totals = self._totals([self._collated(batch) for batch in step])
        while (loss := self._gradients(mine, totals, history)) is None:
            history.halvings += 1
            self.parallel.free()
            print(f"out of memory: batches are taken in {2**history.halvings} parts", file=sys.stderr, flush=True)
        self.parallel.add_up(self.trained)
        self._apply()
        self.adapted.after_step(history.steps)
        return self.parallel.summed(float(loss))

    def _gradients(self, mine: Sequence[Batch], totals: Tensors, history: History) -> torch.Tensor | None:
        """Gradients of this process's batches, in parts; returns their loss, None where it did not fit somewhere.

        All processes learn of it together: one that began again alone would wait for the others without end.
        """
        parts = [part for batch in mine for part in parts_of(batch, 2**history.halvings)]
        self.optimizer.zero_grad(set_to_none=True)
        made = list[Tensors]()

        def together(work: Callable[[], torch.Tensor]) -> torch.Tensor | None:
            found, error = attempt(work)
            if error is not None and all(len(part) == 1 for part in parts):
                raise error
            if not self.parallel.summed(float(error is not None)):
                return found
            self.optimizer.zero_grad(set_to_none=True)
            return None

        def plain() -> torch.Tensor:
            made.extend(self._collated(part) for part in parts)
            return self._plain(made, totals)

        loss = together(plain)
        if loss is None or not self.config.adversarial:
            return loss
        along = together(lambda: self.parallel.copied(self.network.word_embeddings()))
        if along is None:
            return None
        self.parallel.add_in(along)
        return None if together(lambda: self._moved(made, totals, along)) is None else loss

    def _whole_step(self, tensors: Tensors) -> torch.Tensor:
        """An optimiser step on one batch that never waits for the GPU; returns its loss."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._accumulate([tensors], self._totals([tensors]))
        self._apply()
        return loss

    def _apply(self) -> None:
        """Clip the gradients and let the optimiser take its step."""
        torch.nn.utils.clip_grad_norm_(self.trained, self.config.clip)
        self.optimizer.step()

    def _accumulate(self, parts: Sequence[Tensors], totals: Tensors) -> torch.Tensor:
        """Add up the gradients of the parts, and of the worst small change of the word embeddings; returns the loss."""
        loss = self._plain(parts, totals)
        if self.config.adversarial:
            self._moved(parts, totals, self.parallel.copied(self.network.word_embeddings()))
        return loss

    def _plain(self, parts: Sequence[Tensors], totals: Tensors) -> torch.Tensor:
        loss = self._backward(parts, totals)
        held = self.adapted.penalty()  # belongs to the step and not to each of its parts
        if self.parallel.first and isinstance(held, torch.Tensor):
            torch.autograd.backward([held])
            loss += held.detach()
        return loss

    def _moved(self, parts: Sequence[Tensors], totals: Tensors, along: torch.Tensor) -> torch.Tensor:
        with model.moved_against(self.network.word_embeddings(), self.config.adversarial, along):
            return self._backward(parts, totals)

    def _backward(self, parts: Sequence[Tensors], totals: Tensors) -> torch.Tensor:
        """Add the gradients of the parts; their loss, 0 where a process has no part in the last step of an epoch."""
        found = torch.zeros((), device=self.device)
        for tensors in parts:
            loss = self._loss(tensors, totals)
            torch.autograd.backward([loss])
            found += loss.detach()
        return found

    def _loss(self, tensors: Tensors, totals: Tensors) -> torch.Tensor:
        weights = self.config.weights
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            (*leaving, last), *rest = self.forward(tensors["ids"], tensors["mask"])
        outputs, classes = (last, *rest), self.class_weights
        sentiment, intent, tags = model.losses(
            outputs, tensors, totals, class_weights=classes, intent_weight=self.intent_weight
        )
        sentiment = self._by_depth([*(model.sentiment_loss(e, tensors, totals, classes) for e in leaving), sentiment])
        loss = weights.sentiment * sentiment + weights.intent * intent + weights.tags * tags
        share = self.config.teacher_share
        if not share or "taught_tags" not in tensors:
            return loss
        heat = self.config.teacher_temperature
        sentiment, intent, tags = model.taught_losses(outputs, tensors, totals, heat)
        told = (model.taught_sentiment_loss(each, tensors, totals, heat) for each in leaving)
        sentiment = self._by_depth([*told, sentiment])
        taught = weights.sentiment * sentiment + weights.intent * intent + weights.tags * tags
        return (1 - share) * loss + share * taught

    def _by_depth(self, found: Sequence[torch.Tensor]) -> torch.Tensor:
        """Mean of the heads' losses, each by the layers before it (Zhou et al. 2020): the last one counts most."""
        depths = self.network.depths
        return torch.stack([each * depth for each, depth in zip(found, depths, strict=True)]).sum() / sum(depths)

    def _totals(self, tensors: Sequence[Tensors]) -> Tensors:
        return model.totals(tensors, self.class_weights)

    def _learning(self) -> dict[str, torch.nn.Parameter]:
        return {name: value for name, value in self.network.named_parameters() if value.requires_grad}

    def _prepare(self, total: int) -> None:
        """Optimiser and schedule for `total` steps."""
        config = self.config
        self.trained = list(self._learning().values())
        groups: list[dict[str, Any]] = model.parameter_groups(
            self.network,
            encoder_rate=config.encoder_rate,
            head_rate=config.head_rate,
            layer_decay=config.layer_decay,
            weight_decay=config.weight_decay,
        )
        self.rates, self.total = [float(group["lr"]) for group in groups], total
        if self.replays:  # a replayed step reads its rate from where it was when it was recorded
            for group in groups:
                group["lr"] = torch.tensor(group["lr"], device=self.device)
        self.optimizer = torch.optim.AdamW(groups, fused=True, capturable=self.replays)
        self.adapted.begin(total)

    def _set_rates(self, step: int) -> None:
        share = self.config.rate_share(step, self.total)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            if self.replays:
                group["lr"].fill_(rate * share)
            else:
                group["lr"] = rate * share

    def _resume(self, mark: str) -> tuple[History, dict[str, torch.Tensor], int]:
        saved = self.checkpoints.newest(mark) if self.checkpoints else None
        if saved is None:
            torch.manual_seed(self.seed + self.parallel.rank)  # each process drops out others
            return History(), {}, 0
        saved.restore(self._learning(), self.optimizer, self.parallel.rank)
        self.adapted.restore(saved.method)
        history = History(**saved.history)
        print(f"text training goes on from step {history.steps}", file=sys.stderr, flush=True)
        return history, saved.best, history.steps

    def _save(self, place: Checkpoints, history: History, best: dict[str, torch.Tensor], mark: str) -> None:
        random = self.parallel.gathered(random_state(self.device))
        if self.parallel.first:
            state = State.of(self._learning(), self.optimizer, best, self.adapted.state(), random, vars(history))
            place.write(mark, history.steps, state)

    def _mark(self, train: Sequence[Encoded], valid: Sequence[Encoded]) -> str:
        """What tells this run from every other: a checkpoint of another base, teacher or label is not gone on from."""
        if not self.checkpoints:
            return ""
        shaped = f"{self.config.digest()}-{self.seed}-{self.parallel.world}-{self.replays}"
        return mark_of(shaped, [*train, *valid], self.network.state_dict())
