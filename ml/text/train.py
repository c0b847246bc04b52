"""Fine-tuning: length-bucketed batches, AdamW with warm-up and linear decay, clipping, early stopping."""

from __future__ import annotations

import copy
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flashsale.errors import InputError
from ml.text import model
from ml.text.data import IGNORED, SENTIMENTS, Encoded
from ml.text.network import TextNetwork
from ml.text.scorer import fast_bf16

CONFIGS = Path(__file__).parent / "configs"
_MAX_INTENT_WEIGHT = 8.0
_BUCKET_BATCHES = 40
_STANDARD_ROWS = 256


class LossWeights(BaseModel):
    """Shares of the three losses in their sum."""

    model_config = ConfigDict(extra="forbid")
    sentiment: float = Field(ge=0)
    intent: float = Field(ge=0)
    tags: float = Field(ge=0)


class TrainConfig(BaseModel):
    """A training run; the YAML files beside this module say what each field is."""

    model_config = ConfigDict(extra="forbid")
    name: str
    rows: dict[str, int] | None
    max_tokens: int = Field(ge=8, le=512)
    serve_max_tokens: int = Field(ge=8, le=512)
    epochs: int = Field(ge=1)
    batch_tokens: int = Field(ge=64)
    frozen_layers: int = Field(ge=0)
    encoder_rate: float = Field(gt=0)
    head_rate: float = Field(gt=0)
    layer_decay: float = Field(gt=0, le=1)
    weight_decay: float = Field(ge=0)
    warmup_share: float = Field(ge=0, lt=1)
    clip: float = Field(gt=0)
    weights: LossWeights
    valid_rows: int = Field(ge=1)
    evaluate_every: int = Field(ge=1)
    patience: int = Field(ge=1)
    precision: Literal["auto", "bf16", "fp32"]


def load_config(name_or_path: str) -> TrainConfig:
    """Return a configuration: `demo`, `full`, or a YAML file. Raises InputError where it cannot be used."""
    path = CONFIGS / f"{name_or_path}.yaml"
    if not path.is_file():
        path = Path(name_or_path)
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in CONFIGS.glob("*.yaml")))
        raise InputError("training configuration", f"{name_or_path} is not there", f"name a file, or {names}")
    try:
        return TrainConfig.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"training configuration {path.name}", first["msg"], "mend it", field=where) from error


@dataclass
class History:
    """What a training run did: one entry an evaluation, and totals."""

    evaluations: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_step: int = 0
    temperature: float = 1.0


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch, and ask PyTorch for repeatable kernels."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # every kernel used here writes all it allocates


def batches(rows: Sequence[Encoded], batch_tokens: int, rng: random.Random | None) -> Iterator[list[Encoded]]:
    """Yield batches of similar lengths, each at most `batch_tokens` pieces with padding counted.

    With `rng` rows are shuffled, sorted by length within chunks, and the batches shuffled again; without,
    rows go by length.
    """
    order = list(range(len(rows)))
    if rng is None:
        chunks = [order]
    else:
        rng.shuffle(order)
        typical = sum(len(row.ids) for row in rows) / max(len(rows), 1)
        size = max(1, int(_BUCKET_BATCHES * batch_tokens / max(typical, 1)))
        chunks = [order[at : at + size] for at in range(0, len(order), size)]
    made: list[list[Encoded]] = []
    for chunk in chunks:
        current: list[Encoded] = []
        for index in sorted(chunk, key=lambda i: (len(rows[i].ids), i)):
            if current and (len(current) + 1) * len(rows[index].ids) > batch_tokens:
                made.append(current)
                current = []
            current.append(rows[index])
        if current:
            made.append(current)
    if rng is not None:
        rng.shuffle(made)
    yield from made


def collate(batch: Sequence[Encoded], pad: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Return ids, mask and tags of shape (batch, longest), sentiment and intent of shape (batch,)."""
    width = max(len(row.ids) for row in batch)
    ids = torch.full((len(batch), width), pad)
    tags = torch.full((len(batch), width), IGNORED)
    mask = torch.zeros((len(batch), width), dtype=torch.long)
    for at, row in enumerate(batch):
        ids[at, : len(row.ids)] = torch.tensor(row.ids)
        tags[at, : len(row.tags)] = torch.tensor(row.tags)
        mask[at, : len(row.ids)] = 1
    made = {
        "ids": ids,
        "mask": mask,
        "tags": tags,
        "sentiment": torch.tensor([row.sentiment for row in batch]),
        "intent": torch.tensor([row.intent for row in batch]),
    }
    return {name: tensor.to(device) for name, tensor in made.items()}


def balance(rows: Sequence[Encoded]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return sentiment weights (3,), the square root of inverse frequency, and the weight of intent 1 (1,).

    The root tames the rare neutral class, which only the English corpora have; full inverse weights make the
    model say neutral too often. The intent weight is capped, for its labels are noisy.
    """
    counts = np.bincount([row.sentiment for row in rows], minlength=len(SENTIMENTS)).clip(min=1)
    weights = np.sqrt(counts.sum() / (len(SENTIMENTS) * counts))
    positive = max(sum(row.intent for row in rows), 1)
    intent = min((len(rows) - positive) / positive, _MAX_INTENT_WEIGHT)
    return torch.tensor(weights, dtype=torch.float32), torch.tensor([max(intent, 1.0)])


class Trainer:
    """One fine-tuning run of `network` on `train`, judged on `valid`."""

    def __init__(self, network: TextNetwork, config: TrainConfig, *, pad: int, seed: int) -> None:
        self.config, self.pad, self.seed = config, pad, seed
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = network.to(self.device)
        wanted = config.precision
        self.bf16 = wanted == "bf16" or (wanted == "auto" and fast_bf16(self.device))
        model.freeze_below(network, config.frozen_layers)

    def fit(self, train: Sequence[Encoded], valid: Sequence[Encoded]) -> History:
        """Train, keep the parameters of the best evaluation, and return what happened."""
        config, began, rng = self.config, time.monotonic(), random.Random(self.seed)
        self.class_weights, self.intent_weight = (tensor.to(self.device) for tensor in balance(train))
        self._standardize(train)
        plan = [list(batches(train, config.batch_tokens, rng)) for _ in range(config.epochs)]
        total = sum(map(len, plan))
        optimizer, schedule = self._optimizer(total)
        history, best, waited, recent = History(), float("inf"), 0, []
        state: dict[str, torch.Tensor] = {}
        for batch in (batch for epoch in plan for batch in epoch):
            recent.append(self._step(batch, optimizer))
            schedule.step()
            history.steps += 1
            history.tokens += sum(len(row.ids) for row in batch)
            if history.steps % config.evaluate_every and history.steps != total:
                continue
            judged = self.judge(valid)
            entry = {"step": float(history.steps), "loss": float(np.mean(recent)), "valid_loss": judged}
            history.evaluations.append(entry)
            recent = []
            print(f"text training step {history.steps}/{total} loss {entry['loss']:.3f} valid {judged:.3f} "
                  f"{time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)  # fmt: skip
            if judged < best:
                best, waited, history.best_step = judged, 0, history.steps
                state = copy.deepcopy({k: v.detach().cpu() for k, v in self._trained().items()})
            elif (waited := waited + 1) >= config.patience:
                break
        self.network.load_state_dict(state, strict=False)
        history.seconds = time.monotonic() - began
        return history

    def judge(self, rows: Sequence[Encoded]) -> float:
        """Mean loss over `rows`, each batch counting by its rows."""
        self.network.eval()
        total = 0.0
        with torch.inference_mode():
            for batch in batches(rows, 4 * self.config.batch_tokens, None):
                total += float(self._loss(batch)) * len(batch)
        return total / max(len(rows), 1)

    def _standardize(self, rows: Sequence[Encoded]) -> None:
        """Measure what the heads are to see on the first rows, with the encoder as it came."""
        self.network.eval()
        pooled, pieces = [], []
        with torch.inference_mode():
            for batch in batches(rows[:_STANDARD_ROWS], 4 * self.config.batch_tokens, None):
                tensors = collate(batch, self.pad, self.device)
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                    states, mean = self.network.represent(tensors["ids"], tensors["mask"])
                pooled.append(mean.float())
                pieces.append(states.float()[tensors["mask"].bool()])
        for name, found in (("sentence", torch.cat(pooled)), ("piece", torch.cat(pieces))):
            getattr(self.network, f"{name}_centre").copy_(found.mean(0))
            getattr(self.network, f"{name}_scale").copy_(found.std(0, correction=0).clamp(min=1e-3))

    def _learn(self) -> None:
        """Training mode, but for the frozen layers: dropout there would only blur what they feed upwards."""
        self.network.train()
        if self.config.frozen_layers:
            self.network.encoder.embeddings.eval()
            for layer in self.network.encoder.encoder.layer[: self.config.frozen_layers]:
                layer.eval()

    def _step(self, batch: Sequence[Encoded], optimizer: torch.optim.Optimizer) -> float:
        self._learn()
        optimizer.zero_grad(set_to_none=True)
        loss = self._loss(batch)
        torch.autograd.backward([loss])
        torch.nn.utils.clip_grad_norm_(self._trained().values(), self.config.clip)
        optimizer.step()
        return float(loss.detach())

    def _loss(self, batch: Sequence[Encoded]) -> torch.Tensor:
        tensors, weights = collate(batch, self.pad, self.device), self.config.weights
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            outputs = self.network(tensors["ids"], tensors["mask"])
        sentiment, intent, tags = model.losses(
            outputs,
            tensors["sentiment"],
            tensors["intent"],
            tensors["tags"],
            class_weights=self.class_weights,
            intent_weight=self.intent_weight,
        )
        return weights.sentiment * sentiment + weights.intent * intent + weights.tags * tags

    def _trained(self) -> dict[str, torch.nn.Parameter]:
        return {name: value for name, value in self.network.named_parameters() if value.requires_grad}

    def _optimizer(self, total: int) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LambdaLR]:
        config = self.config
        groups: list[dict[str, Any]] = model.parameter_groups(
            self.network,
            encoder_rate=config.encoder_rate,
            head_rate=config.head_rate,
            layer_decay=config.layer_decay,
            weight_decay=config.weight_decay,
        )
        optimizer = torch.optim.AdamW(groups, fused=True)
        warm = max(1, int(config.warmup_share * total))

        def share(step: int) -> float:
            return (step + 1) / warm if step < warm else max(0.0, (total - step) / max(1, total - warm))

        return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, share)
