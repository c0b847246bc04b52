"""Choosing a configuration: k-fold cross-validation, and a pruned search (Akiba et al. 2019, Optuna)."""

from __future__ import annotations

import hashlib
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from flashsale.corpora.normal import identity
from flashsale.errors import InputError
from flashsale.settings import settings
from ml import tracking
from ml.text.config import TrainConfig
from ml.text.data import Example, load_examples
from ml.text.given import file_digest
from ml.text.handin import EXPERIMENT, flattened
from ml.text.labels import read_labels
from ml.text.score import probe

if TYPE_CHECKING:
    from ml.text.train import Watch

WHAT = "sentiment_f1.mean"


def fold_of(text: str, folds: int) -> int:
    """The fold of a sentence, by a hash of its normal form: near-copies share it, others do not move it."""
    digest = hashlib.sha256(b"fold " + identity(text).encode()).digest()
    return int.from_bytes(digest[:8], "big") % folds


@dataclass(frozen=True)
class Lab:
    """Where trainings of a choice take place: on which base and which further labels, and whether MLflow is told.

    Args:
        base: base model in the setting's stead.
        labels: a label file; its training rows are learnt from, and judged by nobody.
        track: each fold or trial is a run in MLflow, with its parameters, curves and metrics.
        threads: CPU threads; None is the setting.
    """

    base: str | None = None
    labels: Path | None = None
    track: bool = False
    threads: int | None = None

    def own(self) -> list[Example]:
        """The rows of the label file."""
        return read_labels(self.labels, "train") if self.labels else []

    @contextmanager
    def run(self, config: TrainConfig, kind: str, **params: Any) -> Iterator[Told]:
        """A run in MLflow while the block lasts: where its curves, its metrics and its tags go."""
        if not self.track:
            yield Told(None)
            return
        asked = {"kind": kind, "base": self.base or settings().text_base_model, "seed": settings().seed, **params}
        if self.labels:
            asked |= {"labels": self.labels.name, "labels_sha256": file_digest(self.labels)}
        with tracking.open_run(EXPERIMENT, flattened(config) | asked) as run_id:
            told, api = Told(tracking.live_metrics(run_id)), tracking.client()
            yield told
            for name, value in told.metrics.items():
                api.log_metric(run_id, name, value)
            for name, tag in told.tags.items():
                api.set_tag(run_id, name, tag)


@dataclass(frozen=True)
class Told:
    """What a run is told: its curves by `watch`, and in the end its metrics and tags."""

    watch: Watch | None
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


def run_fold(config: TrainConfig, fold: int, folds: int, lab: Lab = Lab()) -> dict[str, Any]:
    """Train on the training sentences outside `fold` and judge on those inside; metrics as of a test set.

    The frozen test sentences are not looked at. Raises InputError for a fold that is not there.
    """
    if folds < 2:
        raise InputError("cross-validation", f"{folds} folds leave nothing to judge", "ask for two or more")
    if not 0 <= fold < folds:
        raise InputError("cross-validation", f"there is no fold {fold} of {folds}", f"name one of 0 to {folds - 1}")
    known = load_examples("train")
    inside = [example for example in known if fold_of(example.text, folds) == fold]
    outside, own = ([e for e in rows if fold_of(e.text, folds) != fold] for rows in (known, lab.own()))
    with lab.run(config, "fold", fold=fold, folds=folds) as told:
        found = _judged(config, outside, load_examples("valid"), inside, lab, own=own, watch=told.watch)
        told.metrics.update(found)
    return {"fold": fold, "folds": folds, "sentences": len(inside), "metrics": found}


def cross_validate(config: TrainConfig, folds: int, lab: Lab = Lab()) -> dict[str, Any]:
    """All folds one after another: mean and standard deviation of every metric over the folds. As `run_fold`."""
    return summed([run_fold(config, fold, folds, lab) for fold in range(max(folds, 1))])


def summed(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation (`<metric>.spread`) over what `run_fold` gave."""
    names = sorted(set.intersection(*(set(run["metrics"]) for run in runs)))
    found: dict[str, float] = {}
    for name in names:
        values = [run["metrics"][name] for run in runs]
        found[name] = round(statistics.fmean(values), 4)
        found[f"{name}.spread"] = round(statistics.stdev(values), 4) if len(values) > 1 else 0.0
    return {"folds": len(runs), "sentences": sum(run["sentences"] for run in runs), "metrics": found}


def search(
    config: TrainConfig, trials: int, out: Path, *, minutes: float | None = None, lab: Lab = Lab()
) -> dict[str, Any]:
    """Search rates, decay, dropout and batch size for the best macro-F1 on validation sentences; writes YAML to `out`.

    A trial whose held-out loss is above the median of the earlier ones at the same evaluation is given up. One seed
    gives one search; `minutes` bounds its time.
    """
    import optuna

    if trials < 1:
        raise InputError("search", f"{trials} trials try nothing", "ask for one or more")
    probe(out)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=settings().seed % 2**32)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=optuna.pruners.MedianPruner(3, 1))
    train, valid, own = load_examples("train"), load_examples("valid"), lab.own()

    def attempt(trial: Any) -> float:
        tried = proposed(config, trial)

        with lab.run(tried, "trial", trial=trial.number) as told:

            def watch(figures: dict[str, float], step: int) -> None:
                if told.watch:
                    told.watch(figures, step)
                trial.report(-figures["valid_loss"], step)
                if trial.should_prune():
                    raise optuna.TrialPruned

            try:
                found = _judged(tried, train, valid, valid, lab, own=own, watch=watch)
                told.metrics.update(found)
            except optuna.TrialPruned:  # it is given up, which is no failure of its run
                told.tags["pruned"] = "true"
        if told.tags:
            raise optuna.TrialPruned
        print(f"trial {trial.number}: {WHAT} {found[WHAT]:.4f} {trial.params}", file=sys.stderr, flush=True)
        return float(found[WHAT])

    study.optimize(attempt, n_trials=trials, timeout=minutes * 60 if minutes else None)
    done = [trial for trial in study.trials if trial.state.is_finished() and trial.value is not None]
    if not done:
        raise InputError("search", "no trial ended", "give it more minutes or trials")
    best = proposed(config, optuna.trial.FixedTrial(study.best_params)).model_copy(
        update={"name": f"{config.name}-tuned"}
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    found = f"{len(study.trials)} trials, {WHAT} {study.best_value:.4f} on validation sentences"
    head = f"# Found by `python -m ml text tune`: {found}\n"
    out.write_text(head + yaml.safe_dump(best.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    pruned = sum(trial.state == optuna.trial.TrialState.PRUNED for trial in study.trials)
    return {
        "trials": len(study.trials),
        "pruned": pruned,
        "best": study.best_params,
        WHAT: study.best_value,
        "out": str(out),
    }


def proposed(config: TrainConfig, trial: Any) -> TrainConfig:
    """The configuration with the fields that a trial draws."""
    changes = {
        "encoder_rate": trial.suggest_float("encoder_rate", 1e-5, 1e-3, log=True),
        "head_rate": trial.suggest_float("head_rate", 1e-4, 1e-2, log=True),
        "layer_decay": trial.suggest_float("layer_decay", 0.75, 1.0),
        "dropout": trial.suggest_float("dropout", 0.0, 0.3),
        "warmup_share": trial.suggest_float("warmup_share", 0.0, 0.2),
        "schedule": trial.suggest_categorical("schedule", ["linear", "cosine"]),
        "batch_tokens": trial.suggest_categorical("batch_tokens", [512, 1024, 2048]),
    }
    return TrainConfig.model_validate(config.model_dump() | changes)


def _judged(
    config: TrainConfig,
    train: Sequence[Example],
    held: Sequence[Example],
    judged: Sequence[Example],
    lab: Lab,
    *,
    own: Sequence[Example],
    watch: Watch | None = None,
) -> dict[str, float]:
    """Metrics on `judged` of a model trained on what it takes of `train` and on all of `own`; `held` stops it early."""
    import torch

    from ml.text import evaluate, model
    from ml.text.base import ensure_base_model
    from ml.text.pipeline import encoded
    from ml.text.scorer import Scorer
    from ml.text.train import Trainer, seed_everything

    torch.set_num_threads(lab.threads or settings().threads)
    base = ensure_base_model(lab.base or settings().text_base_model)
    rows, early = encoded(config, base, {"train": list(train), "valid": list(held)}, list(own))
    seed_everything(settings().seed)
    network = model.build(base, config.keep_layers, config.exits.after)
    Trainer(network, config, pad=model.pad_of(base), seed=settings().seed, watch=watch).fit(rows, early)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        model.save(network, base, folder, max_tokens=config.serve_max_tokens, reading=config.reading)
        return evaluate.metrics(judged, evaluate.predict(Scorer(folder), judged))
