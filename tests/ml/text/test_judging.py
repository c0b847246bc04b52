"""Words that judge: the examples beside the lists, longest entries first, turned words on no side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flashsale.errors import InputError
from flashsale.yaml_text import parse_yaml
from ml.text import judging
from ml.text.judging import judging_words

RAW: dict[str, Any] = parse_yaml(judging.RULES.read_text(encoding="utf-8"), judging.RULES.name)
EXAMPLES = [(one["text"], one["words"]) for lists in RAW.values() for one in lists["examples"]]


@pytest.mark.parametrize(("text", "wanted"), EXAMPLES)
def test_the_examples_are_read_as_they_say(text: str, wanted: dict[str, str]) -> None:
    assert {text[word.start : word.end]: word.side for word in judging_words(text)} == wanted


def test_the_longest_entry_counts_and_english_words_are_whole() -> None:
    assert [(w.start, w.end, w.side) for w in judging_words("不推荐")] == [(0, 3, "blame")]
    assert judging_words("the badger wasteland is goodish") == []
    assert [w.side for w in judging_words("GOOD price, isn't bad")] == ["praise", "neither"]


def test_a_word_on_both_sides_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = tmp_path / "judging.yaml"
    lists.write_text("zh: {praise: 好 差, blame: 差, turns: 不}\n", encoding="utf-8")
    monkeypatch.setattr(judging, "RULES", lists)
    judging.load_lists.cache_clear()
    try:
        with pytest.raises(InputError, match="'差' praises and blames"):
            judging_words("好")
    finally:
        judging.load_lists.cache_clear()
