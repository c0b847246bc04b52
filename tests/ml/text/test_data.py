"""Examples, their order, and labels on word pieces."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from ml.text.data import IGNORED, Encoded, Example, encode, examples_digest, load_examples, select
from ml.text.scorer import piece_bounds, spans_of


def test_examples_are_in_one_order_and_splits_are_apart() -> None:
    valid, test = load_examples("valid"), load_examples("test")
    assert not {e.text for e in valid} & {e.text for e in test}
    assert {e.language for e in valid[:50]} == {"zh", "en"}
    assert examples_digest(valid) == examples_digest(load_examples("valid")) != examples_digest(test)
    assert {e.sentiment for e in test if e.language == "zh"} == {0, 2}


def test_labels_follow_pieces(tiny_base: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_base / "tokenizer.json"))
    text = "the batteries 性价比很好"
    (row,) = encode([Example(text, "en", 2, 1, ((4, 13), (14, 17)))], tokenizer, 32)
    pieces = [tokenizer.id_to_token(i) for i in row.ids]
    assert pieces == ["<s>", "▁the", "▁batter", "ies", "▁", "性价比", "很好", "</s>"]
    assert row.tags == [IGNORED, 0, 1, IGNORED, IGNORED, 1, 0, IGNORED]
    assert (row.sentiment, row.intent) == (2, 1)


def test_tags_become_the_spans_they_came_from(tiny_base: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_base / "tokenizer.json"))
    text = "the battery life, 电池很好 phone"
    bounds = piece_bounds(text, tokenizer.encode(text).offsets)
    tagged = [int(text[a:b] in ("battery", "life", "电池")) for a, b, _ in bounds]
    assert [text[a:b] for a, b in spans_of(text, bounds, tagged)] == ["battery life", "电池"]
    assert spans_of(text, bounds, [0] * len(bounds)) == []


def test_selection_takes_the_first_up_to_the_quota() -> None:
    examples = [Example("x", language, 0, 0, ()) for language in ("zh", "en", "zh", "zh", "fr")]
    rows = [Encoded([5] * length, [0] * length, 0, 0) for length in (3, 4, 9, 3, 3)]
    assert select(examples, rows, {"zh": 2, "en": 5}) == rows[:3]
    assert select(examples, rows, None) == rows
