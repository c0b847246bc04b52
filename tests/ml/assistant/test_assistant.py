"""Decisions of a built assistant, its folder, its command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flashsale.errors import InputError
from ml.__main__ import main
from ml.assistant.assistant import Assistant, Plan, Reply, build
from ml.assistant.classify import Guess, fit
from ml.assistant.intents import SHOP
from tests.ml.assistant.conftest import HISTORY, PLANTED, messages

Built = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def assistant(built: Built) -> Assistant:
    return Assistant.load(built[0])


def test_over_the_bound_it_answers_and_under_it_hands_over(assistant: Assistant) -> None:
    question = "Where is my order"
    sure = assistant.ask(question)
    assistant.bound, kept = sure.confidence - 1e-3, assistant.bound
    over = assistant.ask(question, context=dict.fromkeys(assistant.knowledge.slots, "x"))
    assistant.bound = sure.confidence + 1e-3
    under = assistant.ask(question)
    assistant.bound = kept
    assert over.kind in ("answer", "hand_over") and over.intent == over.guesses[0][0]
    assert (under.kind, under.answer, under.reason, under.intent) == ("hand_over", None, "unsure", None)
    assert len(under.guesses) == 3 and under.confidence == over.confidence
    shares = [share for _, share in under.guesses]
    assert shares == sorted(shares, reverse=True) and sum(shares) <= 1.0001
    assert (under.model_version, under.knowledge_version[:11]) == ("tiny-v1", "2026-11-01-")


def test_slots_and_persons_decide(assistant: Assistant) -> None:
    def decided(intent: str, language: str, **context: str) -> Reply:
        return assistant._decide(Guess((intent, "b", "c"), (0.9, 0.05, 0.01), 2.0), [], language, context)

    asks = decided("order_status", "en")
    assert (asks.kind, asks.answer, asks.missing) == ("answer", "Please tell me the order number.", ("order_id",))
    told = decided("order_status", "zh", order_id="A-17", order_state="已发货")
    assert (told.kind, told.answer, told.missing) == ("answer", "订单 A-17 目前已发货。", ())
    person = decided("talk_to_person", "en")
    assert (person.kind, person.reason, person.answer) == ("hand_over", "asked_for_a_person", None)


def test_an_unsure_question_like_a_past_one_gets_its_answer(assistant: Assistant) -> None:
    assistant.bound, kept = 2.0, assistant.bound
    found, other = assistant.ask(PLANTED.replace("138", "139")), assistant.ask("zzz qqq 999")
    elsewhere = assistant.ask(PLANTED.replace("138", "139"), language="zh")
    assistant.bound = kept
    assert (elsewhere.kind, elsewhere.answer) == ("hand_over", None), "the past answer is in English"
    assert (found.kind, found.answer, found.source) == ("retrieved", "the umbrella folds to 24 cm", "c2")
    assert found.confidence == pytest.approx(1, abs=1e-3) and found.intent is None
    assert other.kind == "hand_over"


def test_the_same_input_gives_the_same_bytes(built: Built, folders: tuple[Path, Path], tmp_path: Path) -> None:
    plan = Plan(layers=2, most_wrong=0.2, least_similarity=0.99)
    build(SHOP, folders[0], "tiny-v1", tmp_path / "again", history=messages(*HISTORY), plan=plan)
    names = sorted(path.relative_to(built[0]) for path in built[0].rglob("*") if path.is_file())
    assert names == sorted(p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file())
    for name in names:
        assert (built[0] / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


@pytest.mark.parametrize(
    "name", ["knowledge.yaml", "classifier.safetensors", "index/answers.parquet", "encoder/config.json"]
)
def test_an_altered_folder_is_refused(name: str, built: Built, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(built[0], tmp_path / "copy"))
    (copied / name).write_bytes((copied / name).read_bytes() + b" ")
    with pytest.raises(InputError, match=f"field '{name}': the file is not what was built"):
        Assistant.load(copied)
    shutil.copyfile(built[0] / name, copied / name)
    assert Assistant.load(copied).model_version == "tiny-v1"
    (copied / "more.txt").write_text("x")
    with pytest.raises(InputError, match=r"more\.txt"):
        Assistant.load(copied)


def test_a_folder_of_something_else_is_left_alone(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(InputError, match="holds something else"):
        build(SHOP, folders[0], "v", tmp_path, history=None, plan=Plan())
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


def test_intents_apart_are_told_apart_and_strangers_are_not_sure() -> None:
    dice = np.random.default_rng(0)
    centres = np.linalg.qr(dice.normal(size=(16, 16)))[0]

    def near(at: int, count: int) -> Any:
        rows = centres[at] + dice.normal(scale=0.12, size=(count, 16))
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    labels = [f"i{at}" for at in range(6) for _ in range(20)]
    classifier, inside, outside = fit(np.concatenate([near(at, 20) for at in range(6)]), labels, near(6, 20))
    assert inside.wrong.mean() < 0.02 and outside.wrong.all() and len(outside.confidence) == 120 + 20
    best, sure = classifier.confidences(np.concatenate([near(at, 50) for at in range(6)]))
    assert (best == np.repeat(np.arange(6), 50)).mean() > 0.98
    _, stranger = classifier.confidences(near(9, 200))
    assert np.median(sure) > 0.9 and np.quantile(stranger, 0.9) < 0.5


def test_the_command_line_builds_and_asks(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "shop"
    assert main(["assistant", "build", "--model", str(folders[0]), "--layers", "1", "--out", str(out)]) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["layers"] == 1 and facts["examples"] == 440 and facts["model_version"].startswith("local-")
    assert main(["assistant", "ask", "--assistant", str(out), "--text", "退货", "--context", "order_id=A-1"]) == 0
    reply = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert reply["kind"] in ("answer", "hand_over") and reply["model_version"] == facts["model_version"]
    assert main(["assistant", "ask", "--assistant", str(out), "--text", "退货", "--context", "order_id"]) == 2
    assert "NAME=VALUE" in capsys.readouterr().err
    assert main(["assistant", "ask", "--assistant", str(out), "--text", " "]) == 2
    assert "blank" in capsys.readouterr().err
