"""The demand model as it is served: one file that needs no other of this repository.

MLflow runs this script as a model's code, so it imports the standard library and public packages only. A model
folder holds `model.json` (features, ridge core, elasticities, calibration), three LightGBM text files and
`manifest.json` with the SHA-256 of each; nothing is unpickled.

Forecast = level x response: log quantiles of demand over baseline at list price (a ridge core plus LightGBM
heads on what it leaves), plus elasticity x log(price / list price), plus the log of the baseline.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

if TYPE_CHECKING:
    import lightgbm

Floats = npt.NDArray[np.float64]

MODEL, MANIFEST = "model.json", "manifest.json"
QUANTILES = {"p10": 0.1, "p50": 0.5, "p90": 0.9}
CLIP = 4.0  # standard deviations an unseen value may lie out
NEW, KNOWN = "new", "known"  # groups of offers: without and with a past sale of the SKU in that region
PAST_SALES = "past_sale_count"  # the feature that tells them apart, known when the offer is planned


@dataclass(frozen=True)
class Encoder:
    """Turns a feature frame into a standardised matrix; missing numbers become the training mean."""

    numeric: list[str]
    levels: dict[str, list[str]]
    mean: list[float] = field(default_factory=list)
    scale: list[float] = field(default_factory=list)

    def matrix(self, frame: pd.DataFrame) -> Floats:
        """Standardised features, shape (rows, columns); no NaN."""
        standard = (self.raw(frame) - np.array(self.mean)) / np.array(self.scale)
        return np.clip(np.nan_to_num(standard, nan=0.0), -CLIP, CLIP)

    def raw(self, frame: pd.DataFrame) -> Floats:
        """Numbers as they are and categories one-hot, shape (rows, columns)."""
        parts = [frame[self.numeric].to_numpy(dtype=np.float64)]
        for name, levels in self.levels.items():
            values = frame[name].astype(str).to_numpy()
            parts.append((values[:, None] == np.array(levels)[None, :]).astype(np.float64))
        return np.hstack(parts)

    def coded(self, frame: pd.DataFrame) -> Floats:
        """Numbers as they are and categories as codes (-1 unknown), for trees; shape (rows, columns)."""
        parts = [frame[self.numeric].to_numpy(dtype=np.float64)]
        for name, levels in self.levels.items():
            codes = pd.Categorical(frame[name].astype(str), categories=levels).codes
            parts.append(np.asarray(codes, dtype=np.float64)[:, None])
        return np.hstack(parts)


@dataclass(frozen=True)
class Ridge:
    """y = intercept + encoded features x weights."""

    encoder: Encoder
    weights: list[float]
    intercept: float
    penalty: float

    def predict(self, frame: pd.DataFrame) -> Floats:
        """Predictions, shape (rows,)."""
        return np.asarray(self.encoder.matrix(frame) @ np.array(self.weights) + self.intercept)


@dataclass(frozen=True)
class LevelHeads:
    """Everything a forecast needs.

    `shifts` are conformal corrections in log units, by quantile; `group_shifts` those of groups (`group_of`) that had
    enough rows for their own, the others take `shifts`. `trees` maps a quantile's name to its booster.
    """

    ridge: Ridge
    trees: dict[str, lightgbm.Booster]
    elasticity: dict[str, float]
    pooled_elasticity: float
    shifts: dict[str, float]
    notes: dict[str, Any] = field(default_factory=dict)
    group_shifts: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def features(self) -> list[str]:
        """Columns that `level` reads."""
        return [*self.ridge.encoder.numeric, *self.ridge.encoder.levels]

    def level(self, frame: pd.DataFrame) -> Floats:
        """Log quantiles (p10, p50, p90) of demand over baseline at list price, shape (rows, 3), in order."""
        core, coded = self.ridge.predict(frame), self.ridge.encoder.coded(frame)
        heads = [core + np.asarray(self.trees[q].predict(coded, num_threads=1)) for q in QUANTILES]
        return np.asarray(np.sort(np.column_stack(heads) + self._shift(frame), axis=1), dtype=np.float64)

    def _shift(self, frame: pd.DataFrame) -> Floats:
        """Correction of each row's quantiles, shape (rows, 3)."""
        out = np.tile([self.shifts[q] for q in QUANTILES], (len(frame), 1))
        for name, own in self.group_shifts.items():
            out[group_of(frame) == name] = [own[q] for q in QUANTILES]
        return out

    def log_effect(self, category: npt.NDArray[Any], log_ratio: Floats) -> Floats:
        """Change of log demand at `log_ratio` = log(price / list price), shape (rows,)."""
        slope = np.array([self.elasticity.get(str(c), self.pooled_elasticity) for c in category])
        return np.asarray(slope * log_ratio, dtype=np.float64)

    def forecast(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Quantiles of demand in units: `p10`, `p50`, `p90`.

        Args:
            frame: `features`, `base_units` (baseline units over the sale's hours) and `log_price_ratio`.
        """
        effect = self.log_effect(frame["category"].to_numpy(), frame["log_price_ratio"].to_numpy(np.float64))
        units = np.exp(self.level(frame) + effect[:, None]) * frame["base_units"].to_numpy(np.float64)[:, None]
        return pd.DataFrame(np.maximum(units - 0.5, 0.0), columns=list(QUANTILES), index=frame.index)


def group_of(frame: pd.DataFrame) -> npt.NDArray[np.str_]:
    """`new` or `known` by row of a feature frame; a row whose past sales are not given is new, shape (rows,)."""
    return np.where(frame[PAST_SALES].to_numpy(np.float64) > 0, KNOWN, NEW)


def save(heads: LevelHeads, folder: Path) -> None:
    """Write a model folder; raises FileExistsError where one is."""
    folder.mkdir(parents=True)
    for name, booster in heads.trees.items():
        (folder / f"head_{name}.txt").write_text(booster.model_to_string(), encoding="utf-8")
    encoder = heads.ridge.encoder
    core = {
        "numeric": encoder.numeric, "levels": encoder.levels, "mean": encoder.mean, "scale": encoder.scale,
        "weights": heads.ridge.weights, "intercept": heads.ridge.intercept, "penalty": heads.ridge.penalty,
    }  # fmt: skip
    whole = {
        "ridge": core, "elasticity": heads.elasticity, "pooled_elasticity": heads.pooled_elasticity,
        "shifts": heads.shifts, "group_shifts": heads.group_shifts, "notes": heads.notes,
    }  # fmt: skip
    (folder / MODEL).write_text(json.dumps(whole, indent=1, sort_keys=True), encoding="utf-8")
    digests = {path.name: _digest(path) for path in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps(digests, indent=1, sort_keys=True), encoding="utf-8")


def load(folder: Path) -> LevelHeads:
    """Read a model folder; raises ValueError where a file is not what the manifest says.

    A model saved before there were corrections by group has none and forecasts as it did.
    """
    import lightgbm

    for name, digest in json.loads((folder / MANIFEST).read_text(encoding="utf-8")).items():
        if _digest(folder / name) != digest:
            raise ValueError(f"demand model {folder}: {name} does not match its manifest; fetch the model again")
    raw = json.loads((folder / MODEL).read_text(encoding="utf-8"))
    core = raw["ridge"]
    encoder = Encoder(core["numeric"], core["levels"], core["mean"], core["scale"])
    trees = {q: lightgbm.Booster(model_file=str(folder / f"head_{q}.txt")) for q in QUANTILES}
    ridge = Ridge(encoder, core["weights"], core["intercept"], core["penalty"])
    groups = raw.get("group_shifts", {})
    return LevelHeads(ridge, trees, raw["elasticity"], raw["pooled_elasticity"], raw["shifts"], raw["notes"], groups)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _serve() -> None:
    """Tell MLflow what to serve: a frame of features in, demand quantiles in units out."""
    from mlflow.models import set_model
    from mlflow.pyfunc.model import PythonModel

    class Served(PythonModel):
        """The MLflow face of `LevelHeads`."""

        def load_context(self, context: Any) -> None:
            self.heads = load(Path(context.artifacts["model"]))

        def predict(self, context: Any, model_input: Any, params: dict[str, Any] | None = None) -> Any:
            return self.heads.forecast(model_input)

    set_model(Served())


if not __name__.startswith("ml."):  # run by MLflow as a model's code; the platform itself only imports the parts
    _serve()
