"""Folds are fixed by the sentence, cross-validation covers each once, and a search writes a configuration that loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from flashsale.errors import InputError
from flashsale.settings import settings
from ml.text import tune
from ml.text.config import load_config
from ml.text.data import Example


@pytest.fixture
def small(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty sentences a split, and the tiny base as the setting."""
    good, bad = ("good phone", "性价比很好", "the battery good"), ("bad phone", "电池很差", "the life bad")
    examples = [
        Example(f"{words} {i}", "zh" if ord(words[0]) > 999 else "en", label, 0, ())
        for i in range(12)
        for label, group in ((2, good), (0, bad))
        for words in group
    ]
    monkeypatch.setattr(tune, "load_examples", lambda split: examples)
    monkeypatch.setenv("FLASHSALE_TEXT_BASE_MODEL", str(tiny_base))
    settings.cache_clear()
    yield
    settings.cache_clear()


def config() -> object:
    return load_config(
        "demo",
        keep_layers=None,
        frozen_layers=0,
        rows=None,
        batch_tokens=512,
        epochs=1,
        evaluate_every=1,
        valid_rows=20,
    )


def test_folds_part_the_sentences_by_their_meaning() -> None:
    assert tune.fold_of("很好!!", 5) == tune.fold_of("很好。", 5)
    counts = [0] * 5
    for i in range(500):
        counts[tune.fold_of(f"sentence {i}", 5)] += 1
    assert min(counts) > 60 and sum(counts) == 500


def test_every_sentence_is_judged_once(small: None) -> None:
    found = tune.cross_validate(config(), 3, threads=1)
    assert found["folds"] == 3 and found["sentences"] == 72
    assert 0 <= found["metrics"][tune.WHAT] <= 1 and f"{tune.WHAT}.spread" in found["metrics"]
    with pytest.raises(InputError, match="fold 3 of 3"):
        tune.run_fold(config(), 3, 3)


def test_a_search_writes_a_configuration_and_repeats(small: None, tmp_path: Path) -> None:
    first = tune.search(config(), 4, tmp_path / "a.yaml", threads=1)
    second = tune.search(config(), 4, tmp_path / "b.yaml", threads=1)
    assert first["best"] == second["best"] and first["trials"] == 4
    best = load_config(str(tmp_path / "a.yaml"))
    assert best.name == "demo-tuned" and best.head_rate == first["best"]["head_rate"]
    assert best.rows is None and best.schedule in ("linear", "cosine")
