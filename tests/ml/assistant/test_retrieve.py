"""Past answers: the planted pair is found, identifiers are masked, one customer's answer is not another's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flashsale.errors import InputError
from flashsale.lake import Lake
from ml.assistant.history import from_file, from_lake, of_one_customer, pairs
from ml.assistant.retrieve import Choice, Index, agreement, build_index
from ml.assistant.vectors import vectors
from ml.text.score import write_table
from tests.ml.assistant.conftest import HISTORY, PLANTED, messages


@pytest.fixture(scope="module")
def index(scorer: Any) -> Index:
    return build_index(pairs(messages(*HISTORY)), lambda texts: vectors(scorer, texts), Choice())


def test_the_planted_pair_is_found_and_masked(index: Index, scorer: Any) -> None:
    asked = PLANTED.replace("13812345678", "<phone>")
    assert asked in index.questions["question"].to_pylist() and "1381" not in str(index.questions.to_pylist())
    best = index.search(vectors(scorer, [asked])[0])[0]
    assert (best.answer, best.conversation, best.conversations) == ("the umbrella folds to 24 cm", "c2", 2)
    assert best.similarity == pytest.approx(1, abs=1e-5)
    cosines = vectors(scorer, index.questions["question"].to_pylist()) @ vectors(scorer, ["how folded"])[0]
    assert index.search(vectors(scorer, ["how folded"])[0])[0].similarity == pytest.approx(cosines.max(), abs=1e-5)


def test_what_was_for_one_customer_is_not_offered(index: Index, scorer: Any) -> None:
    answers = index.answers["answer"].to_pylist()
    assert answers == ["the umbrella folds to 24 cm"]  # neither the order's, nor the one given in one conversation
    once = build_index(pairs(messages(*HISTORY)), lambda t: vectors(scorer, t), Choice(least_conversations=1))
    assert once.answers["answer"].to_pylist() == [*answers, "Blue wrapping is possible."]


@pytest.mark.parametrize(
    ("answer", "theirs"),
    [
        ("Call <phone> please", True),
        ("您好王女士，已为您处理", True),
        ("Dear Anna, it is on its way", True),
        ("parcel SF10023 left", True),
        ("Dear customer, it is on its way", False),
        ("签收后 7 天内可以退货", False),
    ],
)
def test_answers_that_name_somebody_are_told(answer: str, theirs: bool) -> None:
    assert of_one_customer(answer) is theirs


def test_numbers_and_negations_part_answers_that_vectors_merge(scorer: Any) -> None:
    said = ["it takes 3 days", "It takes 3 days!", "it takes 30 days", "it takes 30 days.", "it does not take 3 days"]
    turns = [t for at, a in enumerate(said) for t in ((f"c{at}", "customer", f"days {at}"), (f"c{at}", "agent", a))]
    found = build_index(
        pairs(messages(*turns)), lambda t: vectors(scorer, t), Choice(merge_from=0.0, least_conversations=1)
    )
    assert found.answers["answer"].to_pylist() == ["It takes 3 days!", "it takes 30 days.", "it does not take 3 days"]
    assert found.answers["conversations"].to_pylist() == [2, 2, 1]


def test_an_answer_to_everything_is_not_offered() -> None:
    """Six topics of three questions: each has an answer of its own, and "we will look into it" was said to all."""
    dice = np.random.default_rng(0)
    rows = {
        f"topic {topic} {at}": np.eye(8)[topic] + dice.normal(scale=0.05, size=8)
        for topic in range(6)
        for at in range(6)
    }

    def vectors_of(texts: Any) -> Any:
        found = np.array([rows.get(text, np.eye(8)[len(text) % 8]) for text in texts], dtype=np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    turns = []
    for name in rows:
        topic, at = name.split()[1:]
        said = "we will look into it" if int(at) >= 3 else f"do {topic}"
        turns += [(name, "customer", name), (name, "agent", said)]
    kept = build_index(pairs(messages(*turns)), vectors_of, Choice(merge_from=1.1))
    assert sorted(kept.answers["answer"].to_pylist()) == [f"do {topic}" for topic in range(6)]
    everything = build_index(pairs(messages(*turns)), vectors_of, Choice(merge_from=1.1, least_alike=-1))
    assert everything.answers.num_rows == 7 and len(everything) == 36


def test_neighbouring_messages_of_a_side_are_one() -> None:
    found = pairs(
        messages(
            ("c", "agent", "hello"),
            ("c", "customer", "is it"),
            ("c", "customer", "blue"),
            ("c", "agent", "yes"),
            ("c", "agent", "可以，请点“我的”：  3 天；"),
            ("c", "customer", "thanks"),
        )
    )
    assert [(pair.question, pair.answer) for pair in found] == [("is it blue", "yes\n可以，请点“我的”：  3 天；")], (
        "as written"
    )


def test_an_index_is_read_as_it_was_written(index: Index, tmp_path: Path) -> None:
    index.save(tmp_path / "a")
    again = Index.load(tmp_path / "a")
    assert again.vectors.tobytes() == index.vectors.tobytes()
    assert again.answers.equals(index.answers) and again.questions.equals(index.questions)
    again.save(tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    (tmp_path / "a" / "answers.parquet").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        Index.load(tmp_path / "a")


def test_the_past_predicts_itself_as_counted_by_hand() -> None:
    rows = {"a1": [1, 0], "a2": [0.99, 0.141], "b1": [0.98, 0.199], "b2": [0, 1]}
    turns = [t for q in rows for t in ((q, "customer", q), (q, "agent", "one" if q[0] == "a" else "two"))]

    def near(texts: Any) -> Any:
        return np.array([rows.get(text, [1, 0] if text == "one" else [0, 1]) for text in texts], dtype=np.float32)

    found = build_index(pairs(messages(*turns)), near, Choice(least_alike=-1))
    # a1's nearest is a2 (same), a2's is b1 (other), b1's is a2 (other), b2 has none near
    assert agreement(found, 0.9) == {"questions": 4, "near": 3, "same_answer": pytest.approx(1 / 3, abs=1e-4)}


def test_a_file_and_the_lake_give_the_same_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASHSALE_PSEUDONYM_KEY", "k" * 32)
    table = messages(*HISTORY)
    write_table(table, tmp_path / "past.jsonl")
    filed = from_file(tmp_path / "past.jsonl")
    assert all(name.startswith("c_") for name in filed["conversation_id"].to_pylist())
    lake = Lake(str(tmp_path / "lake"))
    lake.write("raw/support_messages", "date=2026-11-01", filed)
    assert pairs(from_lake(lake)) == pairs(filed) and len(pairs(filed)) == 3


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"conversation_id": "c", "role": "customer", "text": "t"}', "field 'event_at': the column is missing"),
        ('{"conversation_id": "c", "role": "bot", "text": "t", "event_at": "2026-11-01T00:00:00Z"}', "'role', row 0"),
        ('{"conversation_id": "c", "role": "agent", "text": "t", "event_at": "soon"}', "field 'event_at': it is no"),
        ('{"conversation_id": "c", "role": "agent", "text": "t", "event_at": 1767225600000}', "event_at': it is no"),
        (
            '{"conversation_id": "c", "role": "agent", "text": "t", "event_at": "2026-11-01 00:00"}',
            "event_at': it is no",
        ),
        ('{"conversation_id": null, "role": "agent", "text": "t", "event_at": "2026-11-01T00:00:00Z"}', "row 0: it is"),
    ],
)
def test_wrong_histories_are_refused(line: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "past.jsonl"
    path.write_text(line + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=words):
        from_file(path)
