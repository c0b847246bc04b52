"""Training on a tiny random BERT: the loss falls, a seed repeats, batches and freezing are as stated."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from flashsale.errors import InputError
from ml.text import model
from ml.text.batches import balance, batches, collate
from ml.text.config import TrainConfig, load_config
from ml.text.data import IGNORED, Encoded, Example, encode
from ml.text.train import Trainer, seed_everything

TEXTS = [
    ("the battery life good", 2, 1, ((4, 16),)),
    ("the phone bad", 0, 0, ((4, 9),)),
    ("性价比很好", 2, 1, ((0, 3),)),
    ("电池很差", 0, 0, ((0, 2),)),
    ("the book", 1, 0, ()),
]


def _rows(base: Path) -> list[Encoded]:
    examples = [Example(text, "en", s, i, spans) for text, s, i, spans in TEXTS] * 12
    return encode(examples, Tokenizer.from_file(str(base / "tokenizer.json")), 32)


def _config(**changes: object) -> TrainConfig:
    small = {"epochs": 8, "batch_tokens": 96, "frozen_layers": 0, "encoder_rate": 2e-3, "head_rate": 1e-2}
    small |= {"evaluate_every": 4, "patience": 99, "precision": "fp32", "max_tokens": 32, "adversarial": 0.0}
    return load_config("full").model_copy(update={**small, **changes})


def _train(base: Path, seed: int, **changes: object) -> tuple[Trainer, list[dict[str, float]]]:
    seed_everything(seed)
    rows = _rows(base)
    trainer = Trainer(model.build(base), _config(**changes), pad=1, seed=seed)
    history = trainer.fit(rows, rows[:10])
    assert history.tokens > 0 and history.best_step > 0
    return trainer, history.evaluations


def test_loss_falls_and_a_seed_repeats(tiny_base: Path) -> None:
    first, seen = _train(tiny_base, 3)
    second, again = _train(tiny_base, 3)
    _, other = _train(tiny_base, 4)
    assert seen[-1]["valid_loss"] < 0.5 * seen[0]["valid_loss"]
    assert [e["loss"] for e in seen] == [e["loss"] for e in again] != [e["loss"] for e in other]
    for (name, one), two in zip(first.network.state_dict().items(), second.network.state_dict().values(), strict=True):
        assert torch.equal(one, two), name


def test_frozen_layers_stay_and_the_rest_learns(tiny_base: Path) -> None:
    seed_everything(5)
    before = {name: value.clone() for name, value in model.build(tiny_base).state_dict().items()}
    trainer, _ = _train(tiny_base, 5, frozen_layers=1, epochs=1)
    changed = {name for name, value in trainer.network.state_dict().items() if not torch.equal(value, before[name])}
    assert not [name for name in changed if ".embeddings." in name or ".layer.0." in name]
    assert [name for name in changed if ".layer.1." in name] and "tags.weight" in changed


def test_early_stopping_keeps_the_best(tiny_base: Path) -> None:
    rate = {"encoder_rate": 0.5, "head_rate": 2.0}  # far too high: it gets worse at once
    seed_everything(6)
    rows = _rows(tiny_base)
    trainer = Trainer(model.build(tiny_base), _config(**rate, evaluate_every=1, patience=2, epochs=5), pad=1, seed=6)
    history = trainer.fit(rows, rows[:10])
    best = min(history.evaluations, key=lambda e: e["valid_loss"])
    assert history.steps == len(history.evaluations) < 5 * 7
    assert history.best_step == best["step"] and trainer.judge(rows[:10]) == pytest.approx(best["valid_loss"], rel=1e-4)


def test_batches_hold_every_row_once_within_budget() -> None:
    rng = random.Random(0)
    rows = [Encoded([7] * rng.randint(3, 40), [0], 0, 0) for _ in range(300)]
    for shuffler in (random.Random(1), None):
        made = list(batches(rows, 200, shuffler))
        assert sorted(id(row) for batch in made for row in batch) == sorted(map(id, rows))
        assert all(len(batch) * max(len(row.ids) for row in batch) <= 200 for batch in made)
        padded = sum(len(batch) * max(len(row.ids) for row in batch) for batch in made)
        assert padded < 1.1 * sum(len(row.ids) for row in rows)  # length buckets leave little padding


def test_collate_pads_what_the_losses_ignore() -> None:
    made = collate(
        [Encoded([0, 5, 2], [-100, 1, -100], 2, 1), Encoded([0, 2], [-100, -100], 0, 0)], 1, torch.device("cpu")
    )
    assert made["ids"].tolist() == [[0, 5, 2], [0, 2, 1]] and made["mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert made["tags"][1].tolist() == [IGNORED] * 3


def test_losses_match_their_formulas_however_a_step_is_parted() -> None:
    sentiment, intent = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), torch.tensor([0.0, 0.0])
    tags = torch.tensor([[[0.0, 0.0], [9.0, 0.0]], [[0.0, 3.0], [0.0, 0.0]]])
    batch = {
        "sentiment": torch.tensor([0, 1]),
        "intent": torch.tensor([1, 0]),
        "tags": torch.tensor([[1, IGNORED], [0, 1]]),
    }
    classes, wanted = torch.tensor([1.0, 3.0, 1.0]), torch.tensor([4.0])
    sizes = model.totals([batch], classes)

    def found(rows: slice) -> list[float]:
        part = {name: value[rows] for name, value in batch.items()}
        outputs = (sentiment[rows], intent[rows], tags[rows])
        given = model.losses(outputs, part, sizes, class_weights=classes, intent_weight=wanted)
        return [float(loss) for loss in given]

    likely, half, odd = math.exp(2) / (math.exp(2) + 2), math.log(2), math.log(1 + math.exp(3))
    oracle = [(-math.log(likely) + 3 * math.log(3)) / 4, (4 * half + half) / 2, (half + odd + half) / 3]
    assert found(slice(0, 2)) == pytest.approx(oracle, rel=1e-5)
    assert [a + b for a, b in zip(found(slice(0, 1)), found(slice(1, 2)), strict=True)] == pytest.approx(
        oracle, rel=1e-5
    )


def test_a_sentiment_that_nobody_gave_teaches_the_other_heads_alone() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0], [5.0, 1.0, 0.0]], requires_grad=True)
    classes, wanted = torch.tensor([1.0, 3.0, 1.0]), torch.ones(1)
    batch = {"sentiment": torch.tensor([0, IGNORED]), "intent": torch.tensor([0, 1]), "tags": torch.zeros(2, 1).long()}
    outputs = (logits, torch.zeros(2), torch.zeros(2, 1, 2))
    sentiment, intent, _ = model.losses(
        outputs, batch, model.totals([batch], classes), class_weights=classes, intent_weight=wanted
    )
    sentiment.backward()
    assert float(sentiment) == pytest.approx(-math.log(math.exp(2) / (math.exp(2) + 2)), rel=1e-5)
    assert float(intent) == pytest.approx(math.log(2), rel=1e-5)
    assert logits.grad is not None and logits.grad[0].any() and not logits.grad[1].any()
    rows = [Encoded([], [], s, 1) for s in (0, IGNORED, IGNORED, 2)]
    assert balance(rows)[0].tolist() == balance([rows[0], rows[3]])[0].tolist()


def test_balance_favours_the_rare() -> None:
    rows = [Encoded([], [], s, i) for s, i in [(0, 0)] * 4 + [(1, 1)] + [(2, 0)] * 4]
    weights, intent = balance(rows)
    assert weights[1] == pytest.approx(3**0.5) and weights[0] == weights[2] < 1
    assert float(intent) == pytest.approx(8**0.5)
    assert float(balance(rows, "inverse")[1]) == 8.0 and float(balance(rows, "none")[1]) == 1.0


def test_configurations_are_checked(tmp_path: Path) -> None:
    assert load_config("demo").frozen_layers > 0
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: x\nepochs: 0\n")
    with pytest.raises(InputError, match="training configuration broken.yaml, field"):
        load_config(str(broken))
    with pytest.raises(InputError, match="demo"):
        load_config("nowhere")
