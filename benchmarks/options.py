"""What the text model's training options are worth: each beside plain fine-tuning, same sentences, same seeds.

    python benchmarks/options.py [--quick] [--arms NAME …] [--runs DIR]

Every arm is the configuration `full` without its adversarial steps and exits and with one thing changed; those named
`few-…` have 400 labelled sentences a language and are held against `few`, those named `six-few-…` besides the lower
six layers, as the demo has. `pretrained` reads the training sentences without their labels first. An arm's figure is
sentiment macro-F1 on the frozen test sentences, the mean of the languages and of the seeds; `ratio` is over its plain
arm, the interval a bootstrap over sentences in which both arms and all seeds see the same draw; `…_zh` and `…_en` are
the languages apart. With `--runs` each run's answers are kept in a folder, so that several processes can share the
work and the last one adds it up.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from benchmarks.harness import Result, machine, parser, write
from ml.text.config import TrainConfig, load_config

PLAIN: dict[str, Any] = {"adversarial": 0.0, "exits": {}}
EXITS = {"exits": load_config("full").exits.model_dump()}
FEW = {"rows": {"zh": 400, "en": 400}, "epochs": 12, "evaluate_every": 20, "patience": 12}
SHORT = {**FEW, "keep_layers": list(range(6)), "max_tokens": 64, "epochs": 8, "patience": 8}  # the demo's six layers
NARROW = {"encoder_rate": 1e-3, "head_rate": 1e-3, "layer_decay": 1.0}  # methods that train few weights want more rate
DRAWS = 1000


@dataclass(frozen=True)
class Arm:
    """One way to train: changes to the configuration, and whether the base reads the sentences first."""

    beside: str
    changes: dict[str, Any] = field(default_factory=dict)
    pretrained: bool = False


ARMS = {
    "plain": Arm("plain"),
    "pretrained": Arm("plain", pretrained=True),
    "adversarial": Arm("plain", {"adversarial": 0.5}),
    "synonyms-deletion-swap": Arm("plain", {"augment": {"synonyms": 0.3, "deletion": 0.3, "swap": 0.3}}),
    "variants": Arm("plain", {"augment": {"variants": 1.0}}),
    "lora": Arm("plain", {"adapt": {"method": "lora"}, **NARROW}),
    "adapters": Arm("plain", {"adapt": {"method": "adapters", "rank": 32}, **NARROW}),
    "prefix": Arm("plain", {"adapt": {"method": "prefix"}, **NARROW}),
    "exits": Arm("plain", EXITS),
    "few": Arm("few", FEW),
    "few-lora": Arm("few", {**FEW, **NARROW, "adapt": {"method": "lora"}}),
    "few-adapters": Arm("few", {**FEW, **NARROW, "adapt": {"method": "adapters", "rank": 32}}),
    "few-prefix": Arm("few", {**FEW, **NARROW, "adapt": {"method": "prefix"}}),
    "few-exits": Arm("few", {**FEW, **EXITS}),
    "few-pretrained": Arm("few", FEW, pretrained=True),
    "six-few": Arm("six-few", SHORT),
    "six-few-pretrained": Arm("six-few", SHORT, pretrained=True),
    "few-adversarial": Arm("few", {**FEW, "adversarial": 0.5}),
    "few-synonyms-deletion-swap": Arm(
        "few", {**FEW, "augment": {"synonyms": 1.0, "deletion": 1.0, "swap": 1.0}}
    ),
}  # fmt: skip


class Bench:
    """The sentences, the base, and the runs that are kept."""

    def __init__(self, runs: Path, quick: bool) -> None:
        from flashsale.settings import settings
        from ml.text.base import ensure_base_model
        from ml.text.data import load_examples

        self.runs, self.quick = runs, quick
        self.base = ensure_base_model(settings().text_base_model)
        self.sets = {split: load_examples(split) for split in ("train", "valid", "test")}
        if quick:
            self.sets = {split: rows[:200] for split, rows in self.sets.items()}

    def answers(self, name: str, seed: int) -> dict[str, Any]:
        """Sentiments given to the test sentences by one run, and its other figures; trained where not yet kept."""
        place = self.runs / f"{name}-{seed}.json"
        if not place.is_file():
            found = self.train(ARMS[name], seed)
            place.write_text(json.dumps(found))
        return dict(json.loads(place.read_text()))

    def train(self, arm: Arm, seed: int) -> dict[str, Any]:
        """Train one arm and read the test sentences with it."""
        from ml.text import evaluate, model, pipeline
        from ml.text.calibrate import temper
        from ml.text.scorer import Scorer
        from ml.text.train import Trainer, seed_everything

        config = TrainConfig.model_validate({**load_config("full").model_dump(), **PLAIN, **arm.changes})
        if self.quick:
            config = config.model_copy(update={"epochs": 1, "max_tokens": 32})
        base = self.read_first(config) if arm.pretrained else self.base
        sets = self.sets
        if config.rows:  # copies are made of the sentences that are taken, no others
            kept = [[e for e in sets["train"] if e.language == name][:most] for name, most in config.rows.items()]
            sets = {**sets, "train": [example for rows in kept for example in rows]}
        rows, held = pipeline.encoded(config, base, sets, [])
        seed_everything(seed)
        network = model.build(base, config.keep_layers, config.exits.after)
        history = Trainer(network, config, pad=model.pad_of(base), seed=seed).fit(rows, held)
        sizes = {"pad": model.pad_of(base), "batch_tokens": 4 * config.batch_tokens}
        fitted = temper(network, held, apart=config.exits.apart, **sizes)
        with tempfile.TemporaryDirectory() as scratch:
            model.save(
                network, base, Path(scratch), max_tokens=config.serve_max_tokens, reading=config.reading,
                intent_threshold=fitted.threshold, sure=fitted.sure,
            )  # fmt: skip
            found = evaluate.predict(Scorer(Path(scratch)), sets["test"])
        figures = evaluate.metrics(sets["test"], found)
        return {"sentiments": [p.sentiment for p in found], "seconds": history.seconds, "figures": figures}

    def read_first(self, config: TrainConfig) -> Path:
        """A base that has read the training sentences without their labels; made once for a number of layers."""
        from ml.text.pretrain import pretrain

        place = self.runs / f"pretrained-{len(config.keep_layers or ())}"
        if not (place / "pretraining.json").is_file():
            texts: list[str | None] = [example.text for example in self.sets["train"]]
            pretrain(texts, place, base=str(self.base), config=config)
        return place

    def compared(self, name: str, seeds: list[int]) -> list[Result]:
        """An arm beside its plain one: on the mean of the languages, and in each."""
        truth = np.array([e.sentiment for e in self.sets["test"]])
        languages = np.array([e.language for e in self.sets["test"]])
        mine, peers = (
            [np.array(self.answers(which, seed)["sentiments"]) for seed in seeds] for which in (name, ARMS[name].beside)
        )
        found = [_ratio(f"option_{name}", truth, mine, peers, languages)]
        for language in np.unique(languages):
            rows = languages == language
            ours, theirs = ([said[rows] for said in side] for side in (mine, peers))
            found.append(_ratio(f"option_{name}_{language}", truth[rows], ours, theirs, languages[rows]))
        return found


def _ratio(name: str, truth: Any, mine: list[Any], peers: list[Any], languages: Any) -> Result:
    """Macro-F1 over the plain arm's, with a bootstrap over sentences that both sides and all seeds share."""
    rng = np.random.default_rng(0)
    draws = [np.ones(len(truth)), *(rng.multinomial(len(truth), [1 / len(truth)] * len(truth)) for _ in range(DRAWS))]
    scores = np.array([[mean_f1(truth, side, languages, weight) for side in (mine, peers)] for weight in draws])
    ratios = scores[:, 0] / scores[:, 1]
    low, high = np.quantile(ratios[1:], [0.025, 0.975])
    bounds = float(ratios[0]), float(low), float(high)
    return Result(name, *bounds, float(scores[0, 0]), float(scores[0, 1]), "macro-F1", machine())


def mean_f1(truth: Any, runs: list[Any], languages: Any, weight: Any) -> float:
    """Macro-F1 with a weight a sentence, mean over languages and runs."""
    found = []
    for language in np.unique(languages):
        rows = languages == language
        goals, mass = truth[rows], weight[rows]
        for run in runs:
            said = run[rows]
            shares = []
            for label in np.unique(goals):
                right = float(mass[(goals == label) & (said == label)].sum())
                total = float(mass[goals == label].sum() + mass[said == label].sum())
                shares.append(2 * right / total if total else 0.0)
            found.append(float(np.mean(shares)))
    return float(np.mean(found))


def main() -> None:
    """Measure and write `results/options.json`."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--arms", nargs="+", choices=sorted(ARMS), default=list(ARMS), metavar="NAME")
    arguments.add_argument("--runs", type=Path, help="folder in which each run's answers are kept")
    arguments.add_argument("--seeds", type=int, default=3)
    args = arguments.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        runs = args.runs or Path(scratch)
        runs.mkdir(parents=True, exist_ok=True)
        bench, seeds = Bench(runs, args.quick), list(range(1 if args.quick else args.seeds))
        for name in args.arms:
            for seed in seeds:
                found = bench.answers(name, seed)
                words = " ".join(f"{key} {value:.3f}" for key, value in sorted(found["figures"].items()))
                print(f"{name} seed {seed}: {found['seconds']:.0f} s {words}", flush=True)
        wanted = [name for name in args.arms if name != ARMS[name].beside]
        # arms are measured on the machines that suit them: figures of those not named stay
        write("options", [row for name in wanted for row in bench.compared(name, seeds)], quick=args.quick, others=True)


if __name__ == "__main__":
    main()
