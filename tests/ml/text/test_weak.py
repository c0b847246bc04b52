"""The rule tables' own examples, and what spans promise."""

from __future__ import annotations

import pytest

from flashsale.corpora import load_sentences
from flashsale.errors import InputError
from ml.text.weak import demand_spans, language_of, load_rules, merge_spans, purchase_intent


@pytest.mark.parametrize("language", ["zh", "en"])
def test_examples_in_the_tables_hold(language: str) -> None:
    examples = load_rules(language).examples
    for example in examples["intent"]:
        assert purchase_intent(example["text"], language) == example["label"], example
    for example in examples["spans"]:
        text = example["text"]
        assert [text[a:b] for a, b in demand_spans(text, language)] == example["spans"], example


def test_spans_of_real_sentences_are_apart_and_trimmed() -> None:
    table = load_sentences().to_pylist()[::53]
    seen = 0
    for row in table:
        text, last = row["text"], -1
        for start, end in demand_spans(text, row["language"]):
            assert last < start < end <= len(text) and text[start:end] == text[start:end].strip()
            last, seen = end, seen + 1
    assert seen > len(table)


def test_joining_and_languages() -> None:
    assert merge_spans("ab cd,ef", [(3, 5), (0, 2), (6, 8)]) == [(0, 5), (6, 8)]
    assert demand_spans("İİ battery", "en") == [(3, 10)]  # a letter whose lower case is two
    assert (language_of("好 phone"), language_of("phone")) == ("zh", "en")
    with pytest.raises(InputError, match="no rules"):
        load_rules("fr")
