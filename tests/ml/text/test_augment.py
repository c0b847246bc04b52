"""Copies of sentences keep what their labels say: spans name the same words, and no meaning is turned round."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashsale.corpora.normal import identity
from flashsale.errors import InputError
from ml.text.augment import augmented, synonyms, with_deletions, with_swap, with_synonyms
from ml.text.config import Augmentation
from ml.text.data import Example, load_examples
from ml.text.weak import demand_spans

ENGLISH = Example("the battery life is great, but the strap was not very sturdy", "en", 1, 0, ((4, 16), (36, 41)))
CHINESE = Example("性价比很高,物流非常快,包装也漂亮", "zh", 2, 0, ((0, 3), (6, 8), (12, 14)))


def words_of(example: Example) -> list[str]:
    return sorted(example.text[start:end] for start, end in example.spans)


@pytest.fixture(scope="module")
def real() -> list[Example]:
    return load_examples("train")[:600]


@pytest.mark.parametrize("kind", ["synonyms", "deletion", "swap"])
def test_real_sentences_keep_spans_labels_and_turns(real: list[Example], kind: str) -> None:
    copies = augmented(real, Augmentation(**{kind: 1.0}), seed=1)
    assert len(copies) > 60
    known = {identity(example.text) for example in real}
    assert not known & {identity(copy.text) for copy in copies}, "no copy equals an original"
    assert len({identity(copy.text) for copy in copies}) == len(copies)
    spans: dict[tuple[str, ...], int] = {}
    for example in real:
        spans[tuple(words_of(example))] = spans.get(tuple(words_of(example)), 0) + 1
    assert all(tuple(words_of(copy)) in spans for copy in copies), "the spans name the words they named"
    for turn in ("不", "没", " not ", " never "):
        before, after = (sum(turn in e.text for e in group) for group in (real, copies))
        assert (after > 0) == (before > 0) or kind != "swap" or after == 0


def test_one_seed_gives_one_set_and_another_another(real: list[Example]) -> None:
    how = Augmentation(synonyms=0.3, deletion=0.3, swap=0.3)
    first, again, other = (augmented(real, how, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert augmented(list(reversed(real)), how, 1) != [] and {c.text for c in first} == {
        c.text for c in augmented(list(reversed(real)), how, 1)
    }, "what is drawn for a sentence does not depend on its neighbours"


def test_synonyms_come_from_the_table() -> None:
    import random

    copy = with_synonyms(ENGLISH, random.Random(0))
    assert copy is not None and copy.text != ENGLISH.text and words_of(copy) == words_of(ENGLISH)
    table, _ = synonyms("en")
    before, after = ENGLISH.text.split(), copy.text.split()
    changed = [(a, b) for a, b in zip(before, after, strict=False) if a != b]
    assert changed and all(b.strip(",") in " ".join(table[a.strip(",")]) for a, b in changed[:1])
    assert "not" in after


def test_deletions_leave_negations_and_spans() -> None:
    import random

    for seed in range(20):
        copy = with_deletions(ENGLISH, random.Random(seed))
        assert copy is not None and "not" in copy.text and "but" in copy.text
        assert words_of(copy) == words_of(ENGLISH) and len(copy.text) < len(ENGLISH.text)


def test_swap_moves_clauses_with_their_spans() -> None:
    import random

    copy = with_swap(CHINESE, random.Random(1))
    assert copy is not None and sorted(copy.text) == sorted(CHINESE.text) and copy.text != CHINESE.text
    assert words_of(copy) == words_of(CHINESE)
    assert with_swap(ENGLISH, random.Random(1)) is None, "clauses that a but joins stay in order"


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="很好差非常的,。 good bad the very!不not", min_size=1, max_size=40), st.integers(0, 9))
def test_spans_stay_inside_whatever_the_text(text: str, seed: int) -> None:
    import random

    for language in ("zh", "en"):
        example = Example(text, language, 0, 0, tuple(demand_spans(text, language)))
        for change in (with_synonyms, with_deletions, with_swap):
            copy = change(example, random.Random(seed))
            if copy is not None:
                assert all(0 <= s < e <= len(copy.text) for s, e in copy.spans)
                assert words_of(copy) == words_of(example)


def test_back_translation_by_a_command(tmp_path: Path) -> None:
    script = tmp_path / "translate.py"
    script.write_text("import sys\nfor line in sys.stdin: print(line.strip().upper() + ' INDEED')\n")
    how = Augmentation(back_translation=f"{sys.executable} {script}", back_translated=1.0)
    copies = augmented([ENGLISH], how, 1)
    assert [copy.text for copy in copies] == [ENGLISH.text.upper() + " INDEED"] and copies[0].sentiment == 1
    script.write_text("print('one line for all')\n")
    with pytest.raises(InputError, match="back_translation"):
        augmented([ENGLISH, CHINESE], how, 1)
    with pytest.raises(InputError, match="back_translation.*does not start"):
        augmented([ENGLISH], how.model_copy(update={"back_translation": "no-such-program --x"}), 1)
