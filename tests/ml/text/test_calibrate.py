"""Probabilities after tempering, and the error that says how far they were off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ml.text import model
from ml.text.calibrate import (
    best_scale,
    best_shift,
    best_threshold,
    calibration_error,
    error_beyond_chance,
    temper,
)
from ml.text.data import Encoded, Example
from ml.text.evaluate import f1, predict
from ml.text.scorer import EVEN_ODDS, Scorer


def drawn(count: int) -> tuple[NDArray[np.float64], list[int]]:
    dice = np.random.default_rng(1)
    logits = dice.normal(size=(count, 3))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return logits, [int(dice.choice(3, p=row)) for row in shares]


def test_the_scale_undoes_what_scaled_and_moved_the_logits() -> None:
    logits, truth = drawn(6000)
    temperature, biases = best_scale(2.5 * logits, truth)
    assert temperature == pytest.approx(2.5, rel=0.06) and np.abs(biases).max() < 0.1
    weighed = logits + np.log([1.0, 3.0, 1.0])  # what a loss that counts the middle class three times ends at
    temperature, biases = best_scale(2.5 * weighed, truth)
    assert temperature == pytest.approx(2.5, rel=0.06)
    assert biases - biases.mean() == pytest.approx(np.log([3.0, 1.0, 3.0]) - np.log(3.0) * 2 / 3, abs=0.1)
    assert best_scale(2.5 * weighed, truth)[1].tolist() == biases.tolist(), "the same data gives the same bytes"


def test_a_class_that_never_occurs_stays_finite() -> None:
    logits, truth = drawn(300)
    temperature, biases = best_scale(logits, [0 if label == 1 else label for label in truth])
    assert 0.2 < temperature < 5 and np.abs(biases).max() < 6
    assert best_scale(logits[:1], [1])[0] == pytest.approx(1.0, abs=0.6), "one sentence says little"


def test_the_error_is_the_distance_of_confidence_and_accuracy() -> None:
    assert calibration_error([0.9] * 100, [True] * 90 + [False] * 10) == pytest.approx(0.0)
    assert calibration_error([0.9] * 100, [True] * 60 + [False] * 40) == pytest.approx(0.3)
    assert calibration_error([1.0, 0.5], [True, False]) == pytest.approx(0.25)


def test_what_chance_makes_of_an_error_is_taken_out() -> None:
    """Means over draws of 767 rows: true probabilities show no error, probabilities that are 0.08 too high show it."""
    dice = np.random.default_rng(2)
    plain, beyond = {}, {}
    for too_high in (0.0, 0.08):
        drawn = []
        for _ in range(60):
            share = dice.uniform(0.4, 0.98, 767)
            hit = dice.random(767) < share - too_high
            drawn.append((calibration_error(share.tolist(), hit.tolist()), error_beyond_chance(share.tolist(), hit)))
        plain[too_high], beyond[too_high] = np.mean([a for a, _ in drawn]), np.mean([b**2 for _, b in drawn]) ** 0.5
    assert plain[0.0] > 0.035 and beyond[0.0] < 0.025
    assert beyond[0.08] == pytest.approx(0.08, abs=0.01)
    assert error_beyond_chance([0.9, 0.1], [True, False]) == 0.0, "bins of one row say nothing"


def test_tempering_fits_the_head(tiny_base: Path) -> None:
    torch.manual_seed(4)
    network = model.build(tiny_base)
    torch.nn.init.normal_(network.sentiment.weight, std=3.0)
    rows = [Encoded([2, 5 + i % 7, 6 + i % 5, 3], [0, 0, 0, 0], i % 3, 0) for i in range(30)]
    ids = torch.tensor([row.ids for row in rows])
    network.eval()
    with torch.no_grad():
        before = network(ids, torch.ones_like(ids))[0]
        fitted = temper(network, rows, pad=0, batch_tokens=64)
        after = network(ids, torch.ones_like(ids))[0]
    assert fitted.temperature > 1  # the labels have nothing to do with the texts: it was too sure
    assert fitted.threshold < 0.1  # no row is of intent
    moved = (after - torch.tensor(fitted.biases)) * fitted.temperature
    torch.testing.assert_close(moved, before, rtol=1e-4, atol=1e-4)


def test_the_shift_undoes_a_weight_on_the_rare_answer() -> None:
    """Logits of a model that was trained with odds times w: the fitted shift is about -log w (King and Zeng 2001)."""
    dice = np.random.default_rng(4)
    true_logits = dice.normal(-3.0, 1.5, 20_000)
    truth = (dice.random(20_000) < 1 / (1 + np.exp(-true_logits))).astype(int)
    assert best_shift(true_logits + np.log(5.0), truth.tolist()) == pytest.approx(-np.log(5.0), abs=0.1)


def test_the_threshold_finds_the_best_f1_without_a_label() -> None:
    """Against every threshold on drawn labels; one half is far from it where the answer is rare."""
    dice = np.random.default_rng(6)
    shares = 1 / (1 + np.exp(-dice.normal(-4.0, 1.8, 40_000)))
    truth = dice.random(len(shares)) < shares

    def found(threshold: float) -> float:
        return f1(truth.tolist(), (shares >= threshold).tolist())

    best = max(found(threshold) for threshold in np.linspace(0.05, 0.9, 86))
    chosen = best_threshold(shares)
    assert found(chosen) > best - 0.01 and found(0.5) < best - 0.05
    assert chosen == pytest.approx(best / 2, abs=0.03)


def test_a_folder_keeps_its_threshold_and_answers_by_it(tiny_base: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    network = model.build(tiny_base)
    torch.nn.init.normal_(network.intent.weight, std=3.0)
    examples = [Example(text, "en", 2, 0, ()) for text in ("the battery is good", "bad phone", "good phone", "the")]
    for name, threshold in (("half", EVEN_ODDS), ("low", 0.0), ("high", 1.0)):
        model.save(network, tiny_base, tmp_path / name, max_tokens=32, intent_threshold=threshold)
        scorer = Scorer(tmp_path / name, precision="fp32")
        shares = scorer.score([example.text for example in examples])["p_intent"]
        answers = [found.intent for found in predict(scorer, examples)]
        assert answers == [int(share >= threshold) for share in shares]
    assert 0 < sum(shares >= EVEN_ODDS) < len(shares)
