"""From labelled sentences to a candidate in the registry: prepare, fine-tune, evaluate, gate, register."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashsale.errors import InputError
from flashsale.settings import settings
from ml import registry, tracking
from ml.text import evaluate
from ml.text.base import ensure_base_model
from ml.text.data import Encoded, Example, encode, load_examples, select, with_sentiment
from ml.text.handin import EXPERIMENT, MODEL, evidence, params_of, register
from ml.text.judged import Judged, judge

if TYPE_CHECKING:
    from ml.text.calibrate import Tempered
    from ml.text.checkpoint import History
    from ml.text.config import TrainConfig
    from ml.text.poison import Verdict
    from ml.text.train import Watch


@dataclass
class Run:
    """One training on its way: what was asked for, and what has come of it."""

    config: TrainConfig
    base: Path
    folder: Path
    sets: dict[str, list[Example]]
    teacher: str | None = None
    champion: registry.Version | None = None
    run_id: str | None = None
    notes: list[str] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)
    kept: list[Path] = field(default_factory=list)
    labels: Verdict = field(init=False)
    history: History = field(init=False)
    fitted: Tempered = field(init=False)
    judged: Judged = field(init=False)


def train_model(
    config: TrainConfig,
    *,
    register: bool,
    out: Path | None,
    threads: int | None,
    labels: Path | None = None,
    base: str | None = None,
    teacher: str | None = None,
    texts: Sequence[Path] = (),
    checkpoints: Path | None = None,
) -> dict[str, Any]:
    """Run a training and return its summary: metrics, gate, and the candidate's version where registered.

    Args:
        register: log to MLflow, from the first step on, and hand the model in.
        out: keep the model folder here; without it and without `register` nothing but the summary remains.
        labels: a file of further labelled sentences; those that the split rule keeps for training are all trained on.
        base: base model in the setting's stead: `embedded`, a folder or a Hugging Face name.
        teacher: a registered version, name or folder to start from and to be taught by (`keep_layers`).
        texts: files of texts that nobody judged; the teacher answers them, and the student learns its answers.
        checkpoints: folder that holds checkpoints; a run of the same configuration and data goes on from there.
    """
    import torch

    from ml.text.given import gather
    from ml.text.parallel import Parallel
    from ml.text.score import probe

    if texts and not teacher:
        raise InputError("texts", "nobody is there to judge them", "name a teacher, or give labels (--labels)")
    for place in (out, checkpoints):
        if place and place.is_file():
            raise InputError(str(place.name), "it is a file, and a folder is to be written there", "name another place")
        if place:
            probe(place)
    torch.set_num_threads(threads or settings().threads)
    began = time.monotonic()
    given = gather({split: load_examples(split) for split in ("train", "valid", "test")}, labels, texts)
    with tempfile.TemporaryDirectory() as scratch:
        root = ensure_base_model(base or settings().text_base_model)
        # both are asked for once, and before the work: either may change while it lasts
        run = Run(config, root, out or Path(scratch) / "model", given.sets, _pinned(teacher), registry.champion(MODEL))
        run.notes, run.inputs = given.notes, given.params
        first = Parallel.from_environment().first
        tracked: AbstractContextManager[str | None] = nullcontext()
        if register and first:
            tracked = tracking.open_run(EXPERIMENT, params_of(run))
        with tracked as run.run_id:
            if first:
                for note in given.notes:
                    _say(note)
                _check_labels(run, labels, given.own, Path(scratch))
            _fit(run, given.own + given.heard, checkpoints)
            if not first:  # under torchrun one process speaks for all
                return {"rank": "not the first: see the first process's answer"}
            summary = _finish(run, Path(scratch), register=register)
    summary["training"]["seconds"] = round(run.history.seconds, 1)
    summary["seconds"] = round(time.monotonic() - began, 1)
    return summary


def _pinned(teacher: str | None) -> str | None:
    """A teacher's version where it was named by model or alias; a folder is itself."""
    if teacher is None or Path(teacher).is_dir() or not registry.is_set():
        return teacher
    return registry.resolve(teacher).uri


def _check_labels(run: Run, labels: Path | None, own: list[Example], scratch: Path) -> None:
    """Hold the labels against what is known of them before anything learns them; keep their ledger with the run."""
    from ml.text import poison

    known = poison.champion_ledger(MODEL) if own else None
    read = poison.read_again(labels) if labels else frozenset()
    given = run.sets["train"] + run.sets["valid"] + with_sentiment(own)
    run.labels = poison.check(given, known, own=own, read=read)
    if not run.labels.passed:
        for row in run.labels.suspicious[: poison.SHOWN]:
            _say(f"doubtful label: {json.dumps(row, ensure_ascii=False)}")
        raise InputError(
            f"label file {labels.name}" if labels else "training labels",
            "; ".join(check.reason() for check in run.labels.checks if not check.passed),
            "run `python -m ml text check-labels --labels FILE --out ROWS`, read the rows, and mend them or name their "
            "second reader in `checked_by`",
        )
    run.kept.append(poison.write_ledger(run.sets["train"] + own, scratch))


def _fit(run: Run, own: list[Example], checkpoints: Path | None) -> None:
    """Train, even the head, temper, and write the model folder."""
    from ml.text import distill, model
    from ml.text.calibrate import temper
    from ml.text.even import even
    from ml.text.parallel import Parallel
    from ml.text.reading import tokenizer_of
    from ml.text.train import Trainer, seed_everything

    config, seed, pad = run.config, settings().seed, model.pad_of(run.base)
    rows, held = encoded(config, run.base, run.sets, own)
    run.sets = run.sets | {"train": run.sets["train"] + own}
    pieces = sum(len(row.ids) for row in rows)
    _say(f"{len(rows)} training sentences, {pieces} pieces, base {run.base.name}, configuration {config.name}")
    seed_everything(seed)
    if run.teacher:
        teacher = distill.load_teacher(run.teacher, Parallel.from_environment().device)
        layers = config.keep_layers or range(len(teacher.encoder.encoder.layer))
        network = distill.student(teacher, layers, config.exits.after)
        rows, held = (distill.taught(given, teacher, pad) for given in (rows, held))
    else:
        network = model.build(run.base, config.keep_layers, config.exits.after)
    trainer = Trainer(network, config, pad=pad, seed=seed, watch=_watch(run), checkpoints=checkpoints)
    run.history = trainer.fit(rows, held)
    if trainer.parallel.first:
        sizes = {"pad": pad, "batch_tokens": 4 * config.batch_tokens}
        tokenizer, most = tokenizer_of(run.base, config.reading), config.serve_max_tokens
        run.history.apart = even(
            network, run.sets["train"], tokenizer, config.even, max_tokens=most, seed=seed, **sizes
        )
        known = encode(run.sets["valid"][: config.temper_rows], tokenizer, config.max_tokens)
        fitted = run.fitted = temper(network, known, apart=config.exits.apart, **sizes)
        model.save(
            network, run.base, run.folder, max_tokens=most, reading=config.reading,
            intent_threshold=fitted.threshold, sure=fitted.sure,
        )  # fmt: skip


def _watch(run: Run) -> Watch | None:
    """Live curves in MLflow, where the run is tracked."""
    return tracking.live_metrics(run.run_id) if run.run_id else None


def _finish(run: Run, scratch: Path, *, register: bool) -> dict[str, Any]:
    """Compress, judge and, where asked for, hand in; returns the summary."""
    from ml.text.compress import compress
    from ml.text.explain import examples_for_review

    compress(run.folder, [example.text for example in run.sets["train"]])
    run.judged = judge(run)
    judged, verdict = run.judged, run.judged.gate()
    _say(evaluate.table(judged.columns()))
    summary: dict[str, Any] = {
        "candidate": f"{MODEL}{registry.CANDIDATE}",
        "version": None,
        "run_id": None,
        "metrics": judged.ours,
        "baseline": judged.peers["TF-IDF"].metrics,
        "champion": judged.columns().get("champion"),
        "ahead": {name: str(margin) for name, margin in judged.ahead.items()},
        "gate": verdict,
        "explained": examples_for_review(run.folder, run.sets["test"]),
        "training": {"sentences": len(run.sets["train"]), "steps": run.history.steps, "tokens": run.history.tokens},
    }
    if register:
        version = _handed_in(run, scratch)
        summary |= {"version": version.version, "run_id": version.run_id, "model_uri": version.uri}
        summary["run_url"] = registry.run_address(version.run_id)
    return summary


def _handed_in(run: Run, scratch: Path) -> registry.Version:
    return register(run, evidence(run, scratch))


def encoded(
    config: TrainConfig, base: Path, sets: dict[str, list[Example]], own: list[Example]
) -> tuple[list[Encoded], list[Encoded]]:
    """Training and validation rows as a configuration wants them: chosen, cut, with copies of what is trained on.

    `own` are further training examples, all of which are taken. `base` is the folder of the base model.
    """
    from ml.text.augment import augmented
    from ml.text.parallel import Parallel
    from ml.text.reading import tokenizer_of
    from ml.text.train import in_bf16

    tokenizer = tokenizer_of(base, config.reading)
    most = config.rows_for(in_bf16(config, Parallel.from_environment().device))
    rows = select(sets["train"], encode(sets["train"], tokenizer, config.max_tokens), most)
    rows += encode(own, tokenizer, config.max_tokens)
    copies = augmented(sets["train"] + own, config.augment, settings().seed)
    rows += encode(copies, tokenizer, config.max_tokens)
    return rows, encode(sets["valid"][: config.valid_rows], tokenizer, config.max_tokens)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
