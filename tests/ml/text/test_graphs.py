"""Steps replayed on a GPU: what they are fed is what a plain batch holds, and they learn what plain steps learn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ml.text import model
from ml.text.batches import batches, collate
from ml.text.data import Encoded, Taught
from ml.text.graphs import GRAIN, Graphs, Table
from ml.text.train import Trainer, seed_everything
from tests.ml.text.test_training import _config, _rows

CPU = torch.device("cpu")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="replaying needs a GPU with CUDA")


def _taught(rows: list[Encoded]) -> list[Encoded]:
    rng = np.random.default_rng(0)
    return [
        Encoded(
            row.ids, row.tags, row.sentiment, row.intent,
            Taught(rng.normal(size=3).astype("f4"), float(rng.normal()), rng.normal(size=(len(row.ids), 2)).astype("f4")),
        )
        for row in rows
    ]  # fmt: skip


def test_a_table_gives_the_rows_of_a_plain_batch(tiny_base: Path) -> None:
    rows = _taught(_rows(tiny_base))
    table, chosen = Table(rows, 1, CPU), [3, 0, 17]
    plain = collate([rows[at] for at in chosen], 1, CPU)
    taken = table.take(torch.tensor(chosen), plain["ids"].shape[1])
    assert set(taken) == set(plain)
    for name, values in plain.items():
        assert torch.equal(taken[name], values), name


def test_batches_have_one_shape_a_multiple_of_the_grain(tiny_base: Path) -> None:
    rows = _rows(tiny_base)
    table, numbers = Table(rows, 1, CPU), {id(row): at for at, row in enumerate(rows)}
    for batch in batches(rows, 96, None, grain=GRAIN):
        count, width = table.shape([numbers[id(row)] for row in batch], 96)
        assert width % GRAIN == 0 and max(len(row.ids) for row in batch) <= width
        assert count == 96 // width >= len(batch)


@pytest.mark.parametrize("share", [0.0, 0.7])
def test_rows_that_fill_a_batch_teach_nothing(tiny_base: Path, share: float) -> None:
    """Loss and gradients of a batch are the same with and without filling rows, with and without a teacher."""
    rows, found = _taught(_rows(tiny_base))[:7], []
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    table, width = Table(rows, 1, device), GRAIN
    for chosen in (list(range(7)), [*range(7), table.filler, table.filler]):
        seed_everything(1)
        trainer = Trainer(model.build(tiny_base), _config(dropout=0.0, teacher_share=share), pad=1, seed=1)
        trainer.class_weights, trainer.intent_weight = (
            torch.tensor(given, device=device) for given in ([1.0, 2.0, 0.5], [3.0])
        )
        trainer._prepare(10)
        tensors = table.take(torch.tensor(chosen, device=device), width)
        loss = trainer._accumulate([tensors], trainer._totals([tensors]))
        found.append(
            (float(loss), {n: p.grad.clone() for n, p in trainer.network.named_parameters() if p.grad is not None})
        )
    (plain, gradients), (filled, again) = found
    assert plain == pytest.approx(filled, rel=1e-6) and len(gradients) > 20
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, again[name], atol=1e-6), name


def _learnt(base: Path, **changes: Any) -> tuple[dict[str, torch.Tensor], Graphs | None]:
    kept: list[Graphs] = []

    class Watched(Trainer):
        def _whole_step(self, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
            kept.append(self.graphs) if self.graphs else None
            return super()._whole_step(tensors)

    seed_everything(4)
    rows = _rows(base)
    trainer = Watched(model.build(base), _config(**changes), pad=1, seed=4)
    trainer.fit(rows, rows[:10])
    return {name: value.cpu() for name, value in trainer.network.state_dict().items()}, kept[0] if kept else None


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take every step kernel by kernel, with the batches that replaying has."""

    def run(self: Graphs, shape: tuple[int, int], filled: torch.Tensor) -> None:
        self.chosen[shape] = filled.to(self.device)
        self._body(shape)

    monkeypatch.setattr(Graphs, "_run", run)
    yield


@needs_cuda
@pytest.mark.parametrize("changes", [{}, {"adversarial": 0.5}, {"precision": "bf16"}])
def test_replayed_steps_repeat(tiny_base: Path, changes: dict[str, Any]) -> None:
    first, graphs = _learnt(tiny_base, **changes)
    again, _ = _learnt(tiny_base, **changes)
    assert graphs is not None and graphs.recorded
    assert all(torch.equal(value, again[name]) for name, value in first.items())


@needs_cuda
def test_replayed_steps_learn_what_plain_steps_learn(tiny_base: Path, request: pytest.FixtureRequest) -> None:
    replayed, _ = _learnt(tiny_base)
    request.getfixturevalue("one_by_one")
    plain, graphs = _learnt(tiny_base)
    assert graphs is not None and not graphs.recorded
    for name, value in replayed.items():
        assert torch.allclose(value, plain[name], atol=1e-6), name
