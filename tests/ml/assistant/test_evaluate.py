"""Measures against counts by hand, and the command on files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from flashsale.errors import InputError
from ml.__main__ import main
from ml.assistant.bound import Held, choose
from ml.assistant.evaluate import Outcome, measures, read_questions

OUTCOME = Outcome(
    confidence=np.array([0.9, 0.8, 0.7, 0.6]),
    right=np.array([True, True, False, True]),
    outside=np.array([0.75, 0.1]),
)


def test_the_curve_and_the_measures_are_those_counted_by_hand() -> None:
    answered, mistaken = OUTCOME.curve(0.2)  # weights: 0.2 a question in scope, 0.1 one outside
    assert answered.tolist() == pytest.approx([0, 0.2, 0.4, 0.5, 0.7, 0.9, 1.0])
    assert mistaken.tolist() == pytest.approx([0, 0, 0, 0.1, 0.3, 0.3, 0.4])
    assert OUTCOME.right_at(0.1, 0.2) == pytest.approx(0.4) and OUTCOME.right_at(0.3, 0.2) == pytest.approx(0.6)
    held = Held(np.array([0.65] * 99 + [0.7]), np.array([False] * 99 + [True]))
    bound = choose(held, Held(np.zeros(99), np.ones(99, dtype=bool)), most_wrong=0.02, outside_share=0.2)
    assert bound.at == 0.65
    found = measures(OUTCOME, bound)
    assert found["accuracy"] == 0.75 and found["handed_over_inside"] == 0.25 and found["handed_over_outside"] == 0.5
    assert found["wrong_answers"] == pytest.approx(0.8 * 0.25 + 0.2 * 0.5)
    assert found["auroc"] == pytest.approx(6 / 8)  # pairs of one inside and one outside in the right order


def test_equal_confidences_are_answered_together() -> None:
    tied = Outcome(np.array([0.5, 0.5]), np.array([True, False]), np.zeros(0))
    assert tied.right_at(0.1, 0.0) == 0.0 and tied.right_at(0.5, 0.0) == 0.5


def test_the_command_measures_files(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = {"bat": "the battery {} good", "屏": "手机的屏幕{}很好", "num": "0123456789 {} 99"}
    for name, marks in (("train", "abcdefghijkl"), ("test", "mnopq")):
        rows = [f"{words.format(mark)},{kind}" for kind, words in kinds.items() for mark in marks]
        (tmp_path / f"{name}.csv").write_text("\ufefftext,category\n" + "\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "out.csv").write_text('text\n"推荐, 推荐"\nzzz zzz\n', encoding="utf-8")
    files = [f"--{name}={tmp_path / name}.csv" for name in ("train", "test")]
    command = [
        "assistant",
        "evaluate",
        *files,
        "--out-of-scope",
        str(tmp_path / "out.csv"),
        "--out",
        str(tmp_path / "e"),
    ]
    assert main([*command, "--model", str(folders[0]), "--most-wrong", "0.3"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out.splitlines()[-1])
    assert found["measures"]["assistant"]["accuracy"] == 1.0 == found["measures"]["tfidf"]["accuracy"]
    assert (found["train"], found["test"], found["out_of_scope"]) == (36, 15, 2)
    assert json.loads((tmp_path / "e" / "evaluation.json").read_text())["measures"] == found["measures"]
    assert (tmp_path / "e" / "risk_coverage.png").read_bytes()[:4] == b"\x89PNG" and "tfidf" in printed.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("text,kind\na,b\n", "field 'category': the column is missing"),
        ("text,category\na,b\n ,b\n", "field 'text', row 2: it is empty"),
        ("text,category\na,b\na\n", "field 'category', row 2: it is empty"),
        ("text,category\n", "it has no rows"),
    ],
)
def test_wrong_files_are_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        read_questions(tmp_path / "bad.csv")
