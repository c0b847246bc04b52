"""Eight-bit scoring: close to the full model, the same every time, refused where it was not made."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from ml.text import model, scorer
from ml.text.compress import compress, measure, quantize
from ml.text.scorer import Scorer

WORDS = ["the", "battery", "good", "bad", "phone", "很差", "性价比", "很好", "书", "买"]


def sentences(count: int, seed: int) -> list[str]:
    dice = random.Random(seed)
    return [" ".join(dice.choices(WORDS, k=dice.randint(2, 20))) for _ in range(count)]


@pytest.fixture()
def folder(tiny_base: Path, tmp_path: Path) -> Path:
    torch.manual_seed(2)
    network = model.build(tiny_base)
    for head in (network.sentiment, network.intent, network.tags):
        torch.nn.init.normal_(head.weight, std=0.3)
    model.save(network, tiny_base, tmp_path / "model", max_tokens=48)
    return tmp_path / "model"


def test_bytes_score_like_floats(folder: Path) -> None:
    full = Scorer(folder, precision="fp32").score(sentences(60, seed=1))
    written = compress(folder, sentences(80, seed=2))
    small = Scorer(folder, precision="int8").score(sentences(60, seed=1))
    numbers = [name for name in scorer.COLUMNS if name.startswith("p_")]
    apart = np.abs(full[numbers].to_numpy() - small[numbers].to_numpy())
    assert 0 < apart.mean() < 0.02 and apart.max() < 0.15
    assert (full["sentiment"] == small["sentiment"]).mean() > 0.9
    assert written.stat().st_size < (folder / scorer.WEIGHTS).stat().st_size


def test_the_same_sentences_give_the_same_bytes(folder: Path) -> None:
    first = compress(folder, sentences(40, seed=2)).read_bytes()
    assert compress(folder, sentences(40, seed=2)).read_bytes() == first


def test_ranges_do_not_depend_on_how_many_cores_measure_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorer, "_BUDGETS", {"cpu": 64, "cuda": 64})
    maximum, before, found = torch.maximum, torch.get_num_threads(), []

    def slow(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        time.sleep(0.002)  # time enough for another core's range to be overwritten
        return maximum(one, other)

    monkeypatch.setattr(torch, "maximum", slow)
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(measure(folder, sentences(60, seed=3)))
    finally:
        torch.set_num_threads(before)
    assert found[0].keys() == found[1].keys() and all(
        torch.equal(top, found[1][name]) for name, top in found[0].items()
    )


def test_altered_bytes_are_refused(folder: Path) -> None:
    path = compress(folder, sentences(20, seed=2))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"int8\.safetensors"):
        Scorer(folder, precision="int8")


@pytest.mark.parametrize("narrow", [False, True])
def test_a_product_of_bytes_is_near_the_product(narrow: bool) -> None:
    """Outlying channels, which plain rounding would drown the others under."""
    if not narrow and not scorer.whole_bytes():
        pytest.skip("this processor adds whole bytes in 16 bits, which overflow")
    generator = torch.Generator().manual_seed(3)
    weight, bias = torch.randn(16, 32, generator=generator), torch.randn(16, generator=generator)
    given = torch.randn(200, 32, generator=generator) * torch.cat([torch.full((2,), 40.0), torch.ones(30)])
    parts = quantize(weight, bias, given.abs().amax(0))
    product = scorer.Int8({f"p.{name}": value for name, value in parts.items()}, "p", torch.float32, narrow=narrow)
    wanted = given @ weight.T + bias
    assert (product(given) - wanted).abs().mean() < (0.03 if narrow else 0.02) * wanted.abs().mean()
