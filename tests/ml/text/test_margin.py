"""The margin between two models: what it is on known cases, and that its interval covers what it should."""

from __future__ import annotations

import numpy as np
import pytest

from ml.text.evaluate import macro_f1
from ml.text.margin import paired_margin


def answers(truth: np.ndarray, right: float, seed: int) -> list[int]:
    dice = np.random.default_rng(seed)
    wrong = (truth + dice.integers(1, 3, len(truth))) % 3
    return [int(x) for x in np.where(dice.random(len(truth)) < right, truth, wrong)]


def test_the_same_answers_have_no_margin() -> None:
    truth = [0, 1, 2, 0, 1, 2]
    margin = paired_margin(truth, ["zh"] * 6, [0, 1, 1, 0, 2, 2], [0, 1, 1, 0, 2, 2])
    assert (margin.value, margin.low, margin.high) == (0.0, 0.0, 0.0)


def test_the_value_is_the_difference_of_the_means_over_languages() -> None:
    truth = np.random.default_rng(1).integers(0, 3, 400)
    ours, theirs = answers(truth, 0.9, 2), answers(truth, 0.7, 3)
    languages = ["zh"] * 150 + ["en"] * 250
    parts = [
        macro_f1(list(truth[s]), ours[s]) - macro_f1(list(truth[s]), theirs[s]) for s in (slice(150), slice(150, 400))
    ]
    margin = paired_margin(list(truth), languages, ours, theirs)
    assert margin.value == pytest.approx(sum(parts) / 2)
    assert 0 < margin.low < margin.value < margin.high


def test_the_interval_covers_no_difference_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(60):
        truth = np.random.default_rng(seed).integers(0, 3, 200)
        sides = answers(truth, 0.8, 1000 + seed), answers(truth, 0.8, 2000 + seed)
        margin = paired_margin(list(truth), ["zh"] * 200, *sides, draws=400)
        covered += margin.low <= 0 <= margin.high
    assert 52 <= covered <= 60
