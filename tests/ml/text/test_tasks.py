"""Intent and spans in the gate, and what a smaller model may lose."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml.text import evaluate, model, speed
from ml.text.baseline import Predicted
from ml.text.compress import compress
from ml.text.data import Example
from ml.text.judged import Judged, Peer
from ml.text.margin import Margin
from ml.text.scorer import Scorer
from ml.text.speed import OWN, TEACHER, Peered, Speed
from ml.text.tasks import task_checks
from ml.text.verdict import Check

TEST = [Example(f"text {at}", "zh" if at % 2 else "en", 2, int(at % 10 < 2), ((0, 4),)) for at in range(400)]
GOOD = [Predicted(2, e.intent, e.spans) for e in TEST]


def _failed(ours: list[Predicted], champion: list[Predicted] | None = None) -> list[str]:
    return [check.name for check in task_checks(TEST, ours, champion) if not check.passed]


def test_heads_of_no_use_are_stopped_without_a_champion() -> None:
    assert _failed(GOOD) == []
    turned = [Predicted(2, 1 - e.intent, e.spans) for e in TEST]
    silent = [Predicted(2, e.intent, ()) for e in TEST]
    assert _failed(turned) == ["en: F1 of intent", "zh: F1 of intent"]
    assert _failed(silent) == ["en: F1 of spans", "zh: F1 of spans"]


def test_a_head_behind_the_champion_beyond_chance_is_stopped_and_one_within_it_is_not() -> None:
    assert _failed(GOOD, GOOD) == []
    one = [Predicted(2, 0, p.spans) if at == 0 else p for at, p in enumerate(GOOD)]
    assert _failed(one, GOOD) == [], "one of forty intents is chance"
    half = [Predicted(2, p.intent, p.spans if at % 4 < 2 else ()) for at, p in enumerate(GOOD)]
    assert _failed(half, GOOD) == ["en: F1 of spans over the champion", "zh: F1 of spans over the champion"]
    assert _failed(GOOD, half) == []
    assert "behind beyond chance" in " ".join(check.reason() for check in task_checks(TEST, half, GOOD))


def test_a_smaller_model_is_held_to_its_teacher_and_not_to_the_champion() -> None:
    scores = {"sentiment_f1.zh": 0.85, "sentiment_f1.en": 0.7}
    champion = {name: value + 0.02 for name, value in scores.items()}
    ahead = {"TF-IDF": Margin(0.04, 0.02, 0.06), "champion": Margin(-0.02, -0.03, -0.01)}
    base = {name: value - 0.04 for name, value in scores.items()}
    assert evaluate.gate(scores, base, champion, ahead)["failed"] == [
        "margin over champion",
        "zh against champion",
        "en against champion",
    ]
    told = evaluate.gate(scores, base, champion, ahead, smaller=True)
    assert told["passed"] and any("not ahead beyond chance" in reason for reason in told["reasons"])

    def failed(times: float, lost: float) -> list[str]:
        found = Speed("int8", 900.0, {TEACHER: Peered(times, 0.95, lost)}, fewer=True)
        return evaluate.gate(scores, base, champion, ahead, checks=found.checks(), smaller=True)["failed"]

    assert failed(4.2, 0.009) == []
    assert failed(4.2, 0.011) == ["macro-F1 lost to the teacher"]
    assert failed(0.9, 0.0) == ["times the teacher's speed"]
    assert Speed("int8", 900.0, {OWN: Peered(2.0, 0.99)}).checks() == []
    assert Speed("int8", 900.0, {TEACHER: Peered(0.9, 0.95, 0.5)}).checks() == [], "one of the same size is a candidate"


@pytest.mark.parametrize(("fewer", "of_champion"), [(True, True), (True, False), (False, True)])
def test_only_a_smaller_model_of_the_champion_need_not_beat_it(fewer: bool, of_champion: bool) -> None:
    scores = {"sentiment_f1.zh": 0.85, "sentiment_f1.en": 0.7}
    better = Peer({name: value + 0.005 for name, value in scores.items()}, [])
    worse = Peer({name: value - 0.1 for name, value in scores.items()}, [])
    ahead = {"TF-IDF": Margin(0.1, 0.08, 0.12), "champion": Margin(-0.005, -0.01, 0.0)}
    found = Judged(
        scores, {"TF-IDF": worse, "champion": better}, ahead, [], "int8", Calm(),  # type: ignore[arg-type]
        Speed("int8", 900.0, {TEACHER: Peered(4.0, 0.99, 0.005)}, fewer=fewer), of_champion=of_champion,
    )  # fmt: skip
    assert found.gate()["failed"] == ([] if fewer and of_champion else ["margin over champion"])


class Calm:
    """Attacks and fairness with nothing to say."""

    def checks(self) -> list[Check]:
        return []


def test_speed_and_loss_are_measured_on_what_is_served(tiny_base: Path, tmp_path: Path) -> None:
    import torch

    torch.manual_seed(0)
    folders = {name: tmp_path / name for name in ("large", "small")}
    large = model.build(tiny_base)
    torch.nn.init.normal_(large.sentiment.weight)
    model.save(large, tiny_base, folders["large"], max_tokens=32)
    model.save(model.build(tiny_base, [0]), tiny_base, folders["small"], max_tokens=32)
    test = [Example(f"the battery of phone {at} is good", "en", at % 3, 0, ()) for at in range(300)]
    compress(folders["small"], [example.text for example in test[:50]])
    mine, theirs = ([p.sentiment for p in evaluate.predict(Scorer(folders[n]), test)] for n in ("small", "large"))
    found = speed.measure(folders["small"], test, mine, folders["large"])
    truth = [example.sentiment for example in test]
    lost = evaluate.macro_f1(truth, theirs) - evaluate.macro_f1(truth, mine)
    assert found.peers[TEACHER].lost == pytest.approx(lost) and found.fewer
    assert not speed.measure(folders["large"], test, theirs, folders["large"]).fewer
    alike = sum(a == b for a, b in zip(mine[:256], theirs[:256], strict=True)) / 256
    assert found.peers[TEACHER].alike == pytest.approx(alike)
    assert (OWN in found.peers) == (found.precision != "fp32")
    figures = found.metrics()
    assert figures["speed.texts_per_second"] > 0 and figures["speed.lost_to_teacher"] == pytest.approx(lost, abs=1e-4)
    assert "times its teacher as served" in found.section() and "points of macro-F1 behind" in found.section()
    assert speed.measure(folders["large"], test, theirs).checks() == []
