"""Scores against scikit-learn and by hand; the gate; the baseline learns."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from sklearn.metrics import f1_score

from ml.text import evaluate
from ml.text.baseline import Baseline, Predicted
from ml.text.data import Example
from ml.text.margin import Margin
from ml.text.verdict import Check


def test_f1_agrees_with_scikit_learn() -> None:
    rng = random.Random(1)
    truth, found = [rng.choice((0, 2)) for _ in range(200)], [rng.randrange(3) for _ in range(200)]
    expected = f1_score(truth, found, labels=[0, 2], average="macro")
    assert evaluate.macro_f1(truth, found) == pytest.approx(expected)
    assert evaluate.f1([1, 0, 1], [1, 1, 0]) == 0.5 and evaluate.f1([0], [0]) == 0.0


def test_spans_count_only_when_exact() -> None:
    truth, found = [[(0, 2), (3, 5)], []], [[(0, 2), (3, 6)], [(1, 2)]]
    assert evaluate.span_f1(truth, found) == pytest.approx(2 * 1 / (2 + 3))


def _metrics(zh: float, en: float) -> dict[str, float]:
    return {"sentiment_f1.zh": zh, "sentiment_f1.en": en, "sentiment_f1.mean": (zh + en) / 2}


def test_gate() -> None:
    clear, chance = Margin(0.04, 0.02, 0.06), Margin(0.01, -0.01, 0.03)
    base, champion = _metrics(0.8, 0.6), _metrics(0.85, 0.7)
    first = evaluate.gate(_metrics(0.79, 0.7), base, None, {"TF-IDF": clear})
    assert first["passed"] and any("zh: 0.790 against TF-IDF 0.800" in reason for reason in first["reasons"])
    assert not evaluate.gate(_metrics(0.81, 0.61), base, None, {"TF-IDF": chance})["passed"]
    ahead = {"TF-IDF": clear, "champion": clear}
    assert evaluate.gate(_metrics(0.88, 0.73), base, champion, ahead)["passed"]
    even = evaluate.gate(champion, base, champion, ahead | {"champion": Margin(0.0, 0.0, 0.0)})
    assert not even["passed"] and "not ahead beyond chance" in " ".join(even["reasons"])
    fallen = evaluate.gate(_metrics(0.83, 0.8), base, champion, ahead)
    assert not fallen["passed"] and any("falls behind" in reason for reason in fallen["reasons"])


def test_gate_holds_calibration_and_the_other_checks() -> None:
    clear, base = {"TF-IDF": Margin(0.04, 0.02, 0.06)}, _metrics(0.8, 0.6)
    ours = _metrics(0.85, 0.7)
    good = {"calibration_error.zh": 0.03, "calibration_error.en": 0.029}
    found = evaluate.gate(ours | good, base, None, clear)
    assert found["passed"] and found["failed"] == []
    assert "zh: calibration error: 0.03 (limit 0.03); 15 bins, passed" in found["reasons"]
    told = evaluate.gate(ours | good | {"calibration_beyond_chance.zh": 0.031}, base, None, clear)
    assert told["passed"] and "15 bins; 0.0310 beyond chance, passed" in " ".join(told["reasons"])
    assert not evaluate.gate(
        ours | {"calibration_error.en": 0.0312, "calibration_beyond_chance.en": 0.0}, base, None, clear
    )["passed"]
    over = evaluate.gate(ours | good | {"calibration_error.en": 0.0312}, base, None, clear)
    assert not over["passed"] and over["failed"] == ["en: calibration error"]
    looser = evaluate.gate(ours | {"calibration_error.en": 0.0312}, base, None, clear, calibration_limit=0.04)
    assert looser["passed"]
    sarcasm, wrong = Check("sarcasm", True, 0.3, judged=False), Check("loss to typos", False, 7.0, 6.0, "points")
    assert evaluate.gate(ours, base, None, clear, checks=[sarcasm])["passed"]
    stopped = evaluate.gate(ours, base, None, clear, checks=[sarcasm, wrong])
    assert stopped["failed"] == ["loss to typos"]
    assert stopped["reasons"][-1] == "loss to typos: 7 points (limit 6 points), NOT PASSED"


def test_metrics_and_pictures(tmp_path: Path) -> None:
    examples = [Example("a", "zh", 0, 1, ((0, 1),)), Example("b", "zh", 2, 0, ()), Example("c", "en", 1, 0, ())]
    found = [Predicted(0, 1, ((0, 1),)), Predicted(0, 1, ()), Predicted(1, 0, ())]
    got = evaluate.metrics(examples, found)
    assert got["sentiment_accuracy.zh"] == 0.5 and got["sentiment_f1.zh"] == pytest.approx(1 / 3, abs=1e-4)
    assert got["span_f1.zh"] == 1.0 and got["intent_f1.zh"] == pytest.approx(2 / 3, abs=1e-4)
    assert got["sentiment_accuracy.mean"] == 0.75
    assert evaluate.confusion(examples, found, "zh") == [[1, 0, 0], [0, 0, 0], [1, 0, 0]]
    evaluate.draw_confusion(examples, found, tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 2000
    assert "| sentiment_f1.zh | 0.333 |" in evaluate.table({"candidate": got})


def test_baseline_learns_what_is_plain() -> None:
    made = []
    for i in range(40):
        good = i % 2 == 0
        text = f"电池{'很好' if good else '很差'}{i}{'想买' if good else '退货'}"
        made.append(Example(text, "zh", 2 if good else 0, int(good), ((0, 2),)))
    found = Baseline(made[:30], made[30:]).predict(made[30:])
    assert [p.sentiment for p in found] == [e.sentiment for e in made[30:]]
    assert [p.intent for p in found] == [e.intent for e in made[30:]]
    assert all(p.spans == ((0, 2),) for p in found)
