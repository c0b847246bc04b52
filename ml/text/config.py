"""A training run in one YAML file, checked when it is read."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from flashsale.errors import InputError
from flashsale.yaml_text import read_yaml
from ml.text.data import LANGUAGES

CONFIGS = Path(__file__).parent / "configs"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LossWeights(_Part):
    """Shares of the three losses in their sum."""

    sentiment: float = Field(ge=0)
    intent: float = Field(ge=0)
    tags: float = Field(ge=0)


class Augmentation(_Part):
    """Copies of training sentences, as a share of their number; each kind keeps the labels (see `ml.text.augment`).

    `back_translation` is a command that reads a sentence a line and writes a line for each.
    """

    synonyms: float = Field(default=0.0, ge=0, le=1)
    deletion: float = Field(default=0.0, ge=0, le=1)
    swap: float = Field(default=0.0, ge=0, le=1)
    variants: float = Field(default=0.0, ge=0, le=1)
    back_translation: str | None = None
    back_translated: float = Field(default=0.1, ge=0, le=1)


class Adaptation(_Part):
    """Which parameters of the encoder learn: all (`full`), or those that a method adds (Hugging Face peft)."""

    method: Literal["full", "lora", "adalora", "prefix", "adapters"] = "full"
    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    prefix_tokens: int = Field(default=16, ge=1)


class Evenness(_Part):
    """How hard the sentiment's head is kept from reading who speaks, or where (`ml.text.even`); 0: not at all.

    `sentences` a language are said by others to learn it from.
    """

    strength: float = Field(default=0.0, ge=0)
    sentences: int = Field(default=300, ge=1)


class Exits(_Part):
    """Layers after which a text may leave whose sentiment is clear there (`ml.text.network`), and the share of those
    leaving that the last layer may answer otherwise, on held-out sentences.
    """

    after: tuple[int, ...] = ()
    apart: float = Field(default=0.005, ge=0, lt=1)


class TrainConfig(_Part):
    """A training run; the YAML files beside this module say what each field is."""

    name: str
    rows: dict[str, int] | None
    rows_in_float32: dict[str, int] | None = None
    reading: Literal["canonical", "none"] = "canonical"
    max_tokens: int = Field(ge=8, le=512)
    serve_max_tokens: int = Field(ge=8, le=512)
    epochs: int = Field(ge=1)
    batch_tokens: int = Field(ge=64)
    accumulate: int = Field(default=1, ge=1)
    frozen_layers: int = Field(ge=0)
    encoder_rate: float = Field(gt=0)
    head_rate: float = Field(gt=0)
    layer_decay: float = Field(gt=0, le=1)
    weight_decay: float = Field(ge=0)
    warmup_share: float = Field(ge=0, lt=1)
    schedule: Literal["linear", "cosine"] = "linear"
    clip: float = Field(gt=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    class_weights: Literal["none", "root", "inverse"] = "root"
    weights: LossWeights
    adversarial: float = Field(default=0.0, ge=0)
    augment: Augmentation = Augmentation()
    adapt: Adaptation = Adaptation()
    teacher_share: float = Field(default=0.0, ge=0, le=1)
    teacher_temperature: float = Field(default=2.0, gt=0)
    even: Evenness = Evenness()
    keep_layers: tuple[int, ...] | None = None
    exits: Exits = Exits()
    valid_rows: int = Field(ge=1)
    temper_rows: int = Field(default=1500, ge=1)
    attack_rows: int = Field(default=300, ge=1)
    evaluate_every: int = Field(ge=1)
    patience: int = Field(ge=1)
    checkpoint_every: int = Field(default=0, ge=0)
    precision: Literal["auto", "bf16", "fp32"]
    compile: bool = False
    graphs: bool = True

    @model_validator(mode="after")
    def _fits_together(self) -> TrainConfig:
        for field, counts in (("rows", self.rows), ("rows_in_float32", self.rows_in_float32)):
            if wrong := sorted(set(counts or ()) - set(LANGUAGES)):
                raise ValueError(f"{field} names the language {wrong[0]!r}: give {', '.join(LANGUAGES)}")
        if self.adapt.method != "full" and self.frozen_layers:
            raise ValueError("frozen_layers belongs to adapt.method full: the other methods freeze all that they adapt")
        if self.adversarial and (self.frozen_layers or self.adapt.method != "full"):
            raise ValueError("adversarial moves the word embeddings: it needs frozen_layers 0 and adapt.method full")
        return self

    def rows_for(self, bf16: bool) -> dict[str, int] | None:
        """Most training sentences by language on a machine that multiplies bfloat16 fast, or does not; None: all."""
        if bf16 or self.rows is None or self.rows_in_float32 is None:
            return self.rows
        return {name: min(most, self.rows_in_float32.get(name, most)) for name, most in self.rows.items()}

    def rate_share(self, step: int, total: int) -> float:
        """The share of its rate that a parameter learns at in `step` of `total`, counted from 0: it warms up linearly,
        then falls linearly or along a cosine to 0 after the last step.
        """
        warm = max(1, int(self.warmup_share * total))
        if step < warm:
            return (step + 1) / warm
        share = max(0.0, (total - step) / max(1, total - warm))
        return share if self.schedule == "linear" else 0.5 * (1 - math.cos(math.pi * share))

    def digest(self) -> str:
        """SHA-256 of every field: two runs with one digest were asked for the same."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()


def load_config(name_or_path: str, **changes: Any) -> TrainConfig:
    """Return a configuration: `demo`, `full`, or a YAML file, with `changes` to its fields.

    Raises InputError that names the field where it cannot be used.
    """
    path = CONFIGS / f"{name_or_path}.yaml"
    if not path.is_file():
        path = Path(name_or_path)
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in CONFIGS.glob("*.yaml")))
        raise InputError("training configuration", f"{name_or_path} is not there", f"name a file, or {names}")
    subject = f"training configuration {path.name}"
    given = read_yaml(path, subject, "write one `field: value` a line, as in ml/text/configs")
    try:
        return TrainConfig.model_validate({**given, **changes} if isinstance(given, dict) else given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or None
        raise InputError(subject, first["msg"], "mend it", field=where) from error
