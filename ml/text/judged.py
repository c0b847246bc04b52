"""A trained text model beside its peers: TF-IDF on the same sentences, the champion, the teacher it was made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashsale.settings import settings
from ml import registry
from ml.text import evaluate
from ml.text.data import Example, examples_digest, with_sentiment

if TYPE_CHECKING:
    from ml.text.baseline import Predicted
    from ml.text.margin import Margin
    from ml.text.pipeline import Run
    from ml.text.robustness import Robustness
    from ml.text.speed import Speed
    from ml.text.verdict import Check


@dataclass(frozen=True)
class Peer:
    """A model's test results: metrics, the sentiment it gave each test sentence, and, of the champion, all it said."""

    metrics: evaluate.Metrics
    sentiments: list[int]
    said: Sequence[Predicted] = ()


@dataclass(frozen=True)
class Judged:
    """The candidate's test results beside its peers', in the precision in which it was served; `of_champion`: whether
    the champion taught it.
    """

    ours: evaluate.Metrics
    peers: dict[str, Peer]
    ahead: dict[str, Margin]
    predictions: list[Predicted]
    precision: str
    robustness: Robustness
    speed: Speed
    tasks: Sequence[Check] = ()
    labels: Sequence[Check] = ()
    of_champion: bool = False

    @property
    def checks(self) -> list[Check]:
        """Intent and spans, what a smaller model lost, attacks, fairness and labels."""
        return [*self.tasks, *self.speed.checks(), *self.robustness.checks(), *self.labels]

    def columns(self) -> dict[str, evaluate.Metrics]:
        """Metrics by the name of the model."""
        return {"candidate": self.ours} | {name: peer.metrics for name, peer in self.peers.items()}

    def figures(self) -> dict[str, float]:
        """Figures of the checks, for the run."""
        return self.robustness.metrics() | self.speed.metrics()

    def section(self) -> str:
        """The card's section on attacks and fairness, and on speed."""
        return f"{self.robustness.section()}\n{self.speed.section()}"

    def files(self, place: Path) -> list[Path]:
        """Write the picture of the checks; returns it."""
        from ml.text.robustness import draw

        path = place / "robustness.png"
        draw(self.robustness, path)
        return [path]

    def gate(self) -> dict[str, Any]:
        """Whether the candidate deserves a review, and why."""
        columns = self.columns()
        peers = columns["TF-IDF"], columns.get("champion")
        smaller = self.speed.fewer and self.of_champion
        return evaluate.gate(self.ours, *peers, self.ahead, checks=self.checks, smaller=smaller)


def judge(run: Run) -> Judged:
    """The trained folder of a run on the frozen sentences, as it is served."""
    from ml.text.margin import paired_margin
    from ml.text.robustness import measure
    from ml.text.score import locate
    from ml.text.scorer import Scorer
    from ml.text.speed import measure as measure_speed
    from ml.text.tasks import task_checks

    test, served = run.sets["test"], Scorer(run.folder)
    found = evaluate.predict(served, test)
    named = {
        "TF-IDF": _baseline(run.sets | {"train": with_sentiment(run.sets["train"])}),
        "champion": _champion(run.champion, test),
    }
    peers = {name: peer for name, peer in named.items() if peer is not None}
    truth, languages = [e.sentiment for e in test], [e.language for e in test]
    mine = [p.sentiment for p in found]
    ahead = {name: paired_margin(truth, languages, mine, peer.sentiments) for name, peer in peers.items()}
    robust = measure(served, test, seed=settings().seed, sample=run.config.attack_rows)
    champion = peers["champion"].said if "champion" in peers else None
    speed = measure_speed(run.folder, test, mine, locate(run.teacher)[0] if run.teacher else None)
    ours, tasks = evaluate.metrics(test, found), task_checks(test, found, champion)
    taught = run.champion is not None and run.teacher == run.champion.uri
    return Judged(ours, peers, ahead, found, served.precision, robust, speed, tasks, run.labels.checks, taught)


def _peer(test: Sequence[Example], found: Sequence[Predicted]) -> Peer:
    return Peer(evaluate.metrics(test, found), [p.sentiment for p in found], found)


def _baseline(sets: dict[str, list[Example]]) -> Peer:
    """TF-IDF's test results; fitted once for the same data, then read from the platform's home."""
    from ml.text.baseline import Baseline

    key = hashlib.sha256("".join(examples_digest(sets[name]) for name in sorted(sets)).encode()).hexdigest()[:16]
    path = settings().models_dir / "baselines" / f"text-{key}.peer.json"
    if path.is_file():
        return Peer(**json.loads(path.read_text(encoding="utf-8")))
    result = replace(_peer(sets["test"], Baseline(sets["train"], sets["valid"]).predict(sets["test"])), said=())
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".staged")
    staged.write_text(json.dumps(asdict(result), sort_keys=True), encoding="utf-8")
    staged.replace(path)
    return result


def _champion(holder: registry.Version | None, test: Sequence[Example]) -> Peer | None:
    from ml.text.scorer import Scorer

    if holder is None:
        return None
    folder = registry.model_folder(registry.fetch(holder.uri))
    return _peer(test, evaluate.predict(Scorer(folder), test))
