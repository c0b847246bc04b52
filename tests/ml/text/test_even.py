"""Heads that are kept from reading who speaks: the formula on known numbers, and a whole network."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from ml.text import model
from ml.text.config import Evenness
from ml.text.data import Example
from ml.text.even import Apart, even, level
from ml.text.reading import tokenizer_of
from ml.text.variants import said_by_others, table

FAIR = Evenness(strength=50.0, sentences=40)


def test_what_copies_have_apart_leaves_the_head_and_the_rest_stays() -> None:
    """One feature moves with the speaker and says nothing, another says what the head is for."""
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(4000, 3, generator=generator, dtype=torch.float64)
    apart = torch.zeros(500, 3, dtype=torch.float64)
    apart[:, 0] = torch.randn(500, generator=generator, dtype=torch.float64)
    head = torch.nn.Linear(3, 1).double()
    head.weight.data, head.bias.data = torch.tensor([[2.0, 1.0, -1.0]]).double(), torch.tensor([0.5]).double()
    usual = torch.nn.functional.pad(rows, (0, 1), value=1.0)
    other = torch.nn.functional.pad(apart, (0, 1))
    level(head, usual.T @ usual / len(usual), other.T @ other / len(other), 100.0)
    assert abs(float(head.weight.data[0, 0])) < 0.05
    assert head.weight.data[0, 1:].tolist() == pytest.approx([1.0, -1.0], abs=0.05)
    assert float(head.bias.data) == pytest.approx(0.5, abs=0.1)


def test_copies_differ_in_the_speaker_alone() -> None:
    example = Example("电池很好", "zh", 2, 0, ((0, 2),))
    people, places = said_by_others(example, random.Random(3), 4)
    for copies, words in ((people, "people"), (places, "places")):
        assert len({copy.text for copy in copies}) == 4
        assert all(copy.text.endswith(example.text) and not copy.spans and copy.sentiment == 2 for copy in copies)
        assert all(any(word in copy.text for word in table("zh")[words]) for copy in copies)


def evened(base: Path, how: Evenness) -> tuple[Apart, dict[str, torch.Tensor]]:
    torch.manual_seed(4)
    network = model.build(base)
    torch.nn.init.normal_(network.sentiment.weight)  # a fresh head reads nothing
    sentences = ["the battery is good", "the phone is bad", "good battery life", "bad phone"]
    examples = [Example(f"{text} {number}", "en", 2, 0, ()) for number in range(30) for text in sentences]
    tokenizer = tokenizer_of(base, "canonical")
    apart = even(network, examples, tokenizer, how, pad=1, max_tokens=60, batch_tokens=512, seed=0)
    return apart, {name: value.clone() for name, value in network.state_dict().items()}


def test_a_network_reads_less_of_the_speaker_and_its_encoder_stays(tiny_base: Path) -> None:
    untouched, before = evened(tiny_base, Evenness())
    apart, after = evened(tiny_base, FAIR)
    assert untouched == Apart(0, 0.0, 0.0)
    assert apart.sentences == 80 and 0 < apart.after < 0.3 * apart.before
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"sentiment.weight", "sentiment.bias"}
    again, same = evened(tiny_base, FAIR)
    assert again == apart and all(torch.equal(after[name], same[name]) for name in after)
