"""Exits: a text whose sentiment is clear after some of the layers goes no further."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from flashsale.errors import InputError
from ml.text import calibrate, compress, distill, model, scorer
from ml.text.config import Evenness
from ml.text.data import Encoded, Example
from ml.text.even import even
from ml.text.explain import Explainer
from ml.text.network import TextNetwork
from ml.text.reading import tokenizer_of
from ml.text.scorer import NEVER, Scorer
from ml.text.train import Trainer, seed_everything
from tests.ml.text.test_compress import sentences
from tests.ml.text.test_training import _config, _rows

NUMBERS = ["p_negative", "p_neutral", "p_positive", "p_intent"]


@pytest.fixture()
def network(tiny_base: Path) -> TextNetwork:
    """Two layers, an exit after the first, random heads."""
    torch.manual_seed(2)
    found = model.build(tiny_base, exits=[1])
    for head in (found.sentiment, found.intent, found.tags, found.exits[0].head):
        torch.nn.init.normal_(head.weight, std=1.0)
    return found.eval()


def saved(network: TextNetwork, base: Path, folder: Path, *sure: float) -> Path:
    model.save(network, base, folder, max_tokens=48, sure=sure)
    return folder


def test_a_sure_exit_answers_and_the_last_layer_answers_the_rest(
    network: TextNetwork, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = sentences(60, seed=3)
    first = Scorer(saved(network, tiny_base, tmp_path / "first", 0.0), precision="fp32").score(texts)
    bound = float(first[NUMBERS[:3]].max(axis=1).median())
    folder = saved(network, tiny_base, tmp_path / "m", bound)
    served = Scorer(folder, precision="fp32")
    found = served.score(texts)
    exits = {True: 0, False: 0}
    for text, row in zip(texts, found[NUMBERS].to_numpy(), strict=True):
        ids = torch.tensor([served.tokenizer.encode(text).ids])
        with torch.no_grad():
            (low, last), intent, _ = network.answers(ids, torch.ones_like(ids))
        leaves = bool(low.softmax(-1).max() > bound)
        exits[leaves] += 1
        wanted = torch.cat([(low if leaves else last).softmax(-1)[0], intent.sigmoid()])
        assert row == pytest.approx(wanted.numpy(), abs=2e-4)
    assert min(exits.values()) > 5, "some leave and some stay"

    whole = Scorer(folder, precision="fp32", early=False).score(texts)
    assert found[["p_intent", "spans"]].equals(whole[["p_intent", "spans"]]), "words are read before anybody leaves"
    assert not found["p_positive"].equals(whole["p_positive"])
    monkeypatch.setattr(scorer, "_BUDGETS", {"cpu": 48, "cuda": 48})
    assert np.allclose(found[NUMBERS], served.score(texts)[NUMBERS], atol=2e-4), "company changes nothing"


def test_those_who_left_are_not_worked_on(
    network: TextNetwork, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[tuple[int, int]] = []
    rise = scorer.Encoder.rise

    def counted(self: scorer.Encoder, states: torch.Tensor, mask: torch.Tensor, depths: range) -> torch.Tensor:
        rows.extend((depth, len(mask)) for depth in depths)
        return rise(self, states, mask, depths)

    monkeypatch.setattr(scorer.Encoder, "rise", counted)
    texts = list(dict.fromkeys(sentences(40, seed=3)))
    for sure, above in ((0.0, 0), (NEVER, len(texts))):
        rows.clear()
        Scorer(saved(network, tiny_base, tmp_path / str(sure), sure), precision="fp32").score(texts)
        assert sum(count for depth, count in rows if depth == 0) == len(texts)
        assert sum(count for depth, count in rows if depth == 1) == above


def test_a_folder_keeps_its_exits(network: TextNetwork, tiny_base: Path, tmp_path: Path) -> None:
    labels = json.loads((saved(network, tiny_base, tmp_path / "m", 0.7) / scorer.LABELS).read_text())
    assert labels["exits"] == [{"after": 1, "sure": 0.7}] and labels["format"] == 4
    again = model.load(tmp_path / "m")
    assert again.depths == [1, 2]
    ids = torch.tensor([[0, 5, 6, 7, 2]])
    for mine, theirs in zip(network.answers(ids, ids > -1)[0], again.answers(ids, ids > -1)[0], strict=True):
        assert torch.equal(mine, theirs)
    untold = json.loads((saved(network, tiny_base, tmp_path / "n") / scorer.LABELS).read_text())
    assert untold["exits"] == [{"after": 1, "sure": NEVER}], "without a bound nobody leaves"
    plain = model.build(tiny_base)
    assert json.loads((saved(plain, tiny_base, tmp_path / "p") / scorer.LABELS).read_text())["format"] == 2


@pytest.mark.parametrize("exits", [[0], [2], [1, 1]])
def test_exits_lie_between_the_layers(tiny_base: Path, exits: list[int]) -> None:
    with pytest.raises(InputError, match=r"exits\.after.*rising numbers from 1 to 1"):
        model.build(tiny_base, exits=exits)


def test_every_head_learns_and_the_words_are_read_below(tiny_base: Path) -> None:
    seed_everything(4)
    rows = _rows(tiny_base)
    network = model.build(tiny_base, exits=[1])
    trainer = Trainer(network, _config(epochs=12, exits={"after": [1]}), pad=1, seed=4)
    history = trainer.fit(rows, rows[:20])
    assert history.evaluations[-1]["valid_loss"] < 0.8 * history.evaluations[0]["valid_loss"]
    assert float(network.exits[0].head.weight.detach().abs().max()) > 0.01 and float(network.exits[0].scale.max()) != 1
    network.eval()
    ids = torch.tensor([row.ids[:4] for row in rows])
    right = torch.tensor([row.sentiment for row in rows])
    with torch.no_grad():
        before = network.answers(ids, torch.ones_like(ids))
        for parameter in network.encoder.encoder.layer[1].parameters():
            parameter.zero_()
        after = network.answers(ids, torch.ones_like(ids))
    assert (before[0][0].argmax(1) == right).float().mean() > 0.9, "the exit learnt the labels too"
    assert torch.equal(before[1], after[1]) and torch.equal(before[2], after[2])
    assert torch.equal(before[0][0], after[0][0]) and not torch.equal(before[0][1], after[0][1])


def test_a_student_has_exits_of_its_own(tiny_base: Path) -> None:
    seed_everything(2)
    rows, teacher = _rows(tiny_base), model.build(tiny_base)
    Trainer(teacher, _config(), pad=1, seed=2).fit(rows, rows[:10])
    small = distill.student(teacher, [0, 1], [1])
    assert small.depths == [1, 2] and not teacher.exits
    told = distill.taught(rows, teacher, 1)
    Trainer(small, _config(teacher_share=1.0, epochs=6, exits={"after": [1]}), pad=1, seed=2).fit(told, told[:20])
    small.eval()
    with torch.no_grad():
        for row in told[:12]:
            assert row.taught is not None
            ids = torch.tensor([row.ids])
            wanted = torch.tensor(row.taught.sentiment).softmax(-1)
            for answer in small.answers(ids, torch.ones_like(ids))[0]:
                assert float((answer[0].softmax(-1) - wanted).abs().mean()) < 0.15


def test_the_bound_is_the_lowest_that_keeps_the_promise() -> None:
    dice = np.random.default_rng(5)
    confidence = dice.uniform(0.4, 1.0, 4000)
    same = dice.random(4000) < 0.7 + 0.3 * confidence**0.2  # the surer, the more alike
    bound = calibrate.best_bound(confidence, same, 0.02)
    assert 0.4 < bound < NEVER
    assert (~same[confidence > bound]).mean() <= 0.02
    lower = np.sort(confidence[confidence <= bound])[::-1][:400]
    assert all((~same[confidence > other]).mean() > 0.02 for other in lower[1:]), "no lower one does"
    assert calibrate.best_bound(confidence, np.ones(4000, dtype=bool), 0.0) == 0.0, "all may leave"
    assert calibrate.best_bound(confidence, np.zeros(4000, dtype=bool), 0.1) == NEVER, "nobody may"


def test_bounds_are_fitted_to_what_is_left(tiny_base: Path) -> None:
    """Of those who leave no more than the promised share are answered otherwise; heads mean what they say."""
    seed_everything(6)
    dice = np.random.default_rng(6)
    rows = [Encoded([0, *dice.integers(4, 60, 3).tolist(), 2], [0] * 5, i % 3, 0) for i in range(400)]
    network = model.build(tiny_base, exits=[1])
    for head in (network.sentiment, network.exits[0].head):
        torch.nn.init.normal_(head.weight, std=2.0)
    before = network.exits[0].head.weight.detach().clone()
    fitted = calibrate.temper(network, rows, pad=1, batch_tokens=512, apart=0.05)
    assert not torch.equal(before, network.exits[0].head.weight)
    ids = torch.tensor([row.ids for row in rows])
    with torch.no_grad():
        first, last = (found.softmax(-1) for found in network.answers(ids, torch.ones_like(ids))[0])
    leaves = first.amax(1) > fitted.sure[0]
    assert float(leaves.float().mean()) == pytest.approx(fitted.left[0], abs=0.01)
    if leaves.any():
        assert float((first.argmax(1) != last.argmax(1))[leaves].float().mean()) <= 0.05


def test_every_head_is_evened(network: TextNetwork, tiny_base: Path) -> None:
    examples = [Example(f"{text} {at}", "en", 2, 0, ()) for at in range(30) for text in ("good phone", "bad battery")]
    before = [head.weight.detach().clone() for head, *_ in network.heads()]
    how = Evenness(strength=50.0, sentences=40)
    tokenizer = tokenizer_of(tiny_base, "canonical")
    even(network, examples, tokenizer, how, pad=1, max_tokens=60, batch_tokens=512, seed=0)
    assert all(not torch.equal(old, head.weight) for old, (head, *_) in zip(before, network.heads(), strict=True))


def test_ranges_are_measured_above_an_exit_too(network: TextNetwork, tiny_base: Path, tmp_path: Path) -> None:
    easy, texts = saved(network, tiny_base, tmp_path / "easy", 0.0), sentences(40, seed=3)
    hard = saved(network, tiny_base, tmp_path / "hard", NEVER)
    one, other = compress.measure(easy, texts), compress.measure(hard, texts)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    compress.compress(easy, texts)
    small, full = (Scorer(easy, precision=precision).score(texts)[NUMBERS] for precision in ("int8", "fp32"))
    assert 0 < np.abs(small.to_numpy() - full.to_numpy()).mean() < 0.02


def test_who_answered_is_explained(network: TextNetwork, tiny_base: Path, tmp_path: Path) -> None:
    text, told = "the battery good", []
    for name, sure in (("exit", 0.0), ("last", NEVER)):
        folder = saved(network, tiny_base, tmp_path / name, sure)
        found, served = Explainer(folder).explain(text), Scorer(folder, precision="fp32").score([text]).iloc[0]
        assert found.shares["positive"] == pytest.approx(served["p_positive"], abs=2e-4)
        assert found.intent == pytest.approx(served["p_intent"], abs=2e-4)
        assert max(found.gap.values()) < 0.05, "attributions add up to this answer"
        told.append([word.sentiment for word in found.words])
    assert told[0] != pytest.approx(told[1], abs=1e-3)
