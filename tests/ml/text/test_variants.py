"""Variants keep spans and labels, use only their table, and share no name or place with what is tested."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from ml.text import fairness
from ml.text.augment import augmented
from ml.text.config import Augmentation
from ml.text.data import Example, load_examples
from ml.text.variants import table, with_variant

CHINESE = Example("这个手机很好用,我喜欢,东西不错", "zh", 2, 0, ((2, 4),))
ENGLISH = Example("The battery is very good, I love it", "en", 2, 1, ((4, 11),))


@pytest.mark.parametrize("example", [CHINESE, ENGLISH])
def test_every_kind_of_variant_keeps_the_span_and_the_labels(example: Example) -> None:
    made = [with_variant(example, random.Random(seed)) for seed in range(200)]
    named = example.text[slice(*example.spans[0])]
    for copy in made:
        assert copy is not None and copy.text != example.text
        assert [copy.text[a:b] for a, b in copy.spans] == [named]
        assert (copy.sentiment, copy.intent, copy.language) == (example.sentiment, example.intent, example.language)
    words = table(example.language)
    texts = [copy.text for copy in made if copy]
    assert any(text.endswith(example.text) and any(who in text for who in words["people"]) for text in texts)
    assert any(any(place in text for place in words["places"]) for text in texts)
    assert any(text.startswith(example.text) and text[-1] in "".join(words["emoji"]) for text in texts)
    assert any(face in text for text in texts for face in words["faces"][1].values())
    assert len({text for text in texts if len(set(text) - set(example.text)) < 8}) > 3  # dialects among them


def test_what_is_tested_is_not_what_is_trained_on() -> None:
    for language in ("zh", "en"):
        trained = {word.lower() for name in ("people", "places") for word in table(language)[name]}
        groups = fairness.tables()[language]["groups"]
        tested = {w.lower() for kind in groups.values() for line in kind.values() for w in fairness.words_of(line)}
        assert trained and not trained & tested


def test_variants_fall_on_every_label_alike() -> None:
    real = load_examples("train")[:3000]
    copies = augmented(real, Augmentation(variants=0.5), seed=1)
    assert 1100 < len(copies) < 1700
    before, after = (Counter((e.language, e.sentiment) for e in rows) for rows in (real, copies))
    for key, count in before.items():
        assert after[key] / len(copies) == pytest.approx(count / len(real), abs=0.04)
