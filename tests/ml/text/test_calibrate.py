"""Probabilities after tempering, and the error that says how far they were off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ml.text import model
from ml.text.calibrate import best_shift, best_temperature, calibration_error, temper
from ml.text.data import Encoded


def test_the_temperature_undoes_what_scaled_the_logits() -> None:
    dice = np.random.default_rng(1)
    logits = dice.normal(size=(6000, 3))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = [int(dice.choice(3, p=row)) for row in shares]
    assert best_temperature(2.5 * logits, truth) == pytest.approx(2.5, rel=0.06)


def test_the_error_is_the_distance_of_confidence_and_accuracy() -> None:
    assert calibration_error([0.9] * 100, [True] * 90 + [False] * 10) == pytest.approx(0.0)
    assert calibration_error([0.9] * 100, [True] * 60 + [False] * 40) == pytest.approx(0.3)
    assert calibration_error([1.0, 0.5], [True, False]) == pytest.approx(0.25)


def test_tempering_changes_no_answer(tiny_base: Path) -> None:
    torch.manual_seed(4)
    network = model.build(tiny_base)
    torch.nn.init.normal_(network.sentiment.weight, std=3.0)
    rows = [Encoded([2, 5 + i % 7, 6 + i % 5, 3], [0, 0, 0, 0], i % 3, 0) for i in range(30)]
    ids = torch.tensor([row.ids for row in rows])
    network.eval()
    with torch.no_grad():
        before = network(ids, torch.ones_like(ids))[0]
        temperature = temper(network, rows, pad=0, batch_tokens=64)
        after = network(ids, torch.ones_like(ids))[0]
    assert temperature > 1  # the labels have nothing to do with the texts: it was too sure
    torch.testing.assert_close(after * temperature, before, rtol=1e-4, atol=1e-4)


def test_the_shift_undoes_a_weight_on_the_rare_answer() -> None:
    """Logits of a model that was trained with odds times w: the fitted shift is about -log w (King and Zeng 2001)."""
    dice = np.random.default_rng(4)
    true_logits = dice.normal(-3.0, 1.5, 20_000)
    truth = (dice.random(20_000) < 1 / (1 + np.exp(-true_logits))).astype(int)
    assert best_shift(true_logits + np.log(5.0), truth.tolist()) == pytest.approx(-np.log(5.0), abs=0.1)
