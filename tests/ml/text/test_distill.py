"""A student learns what its teacher answers, from fewer layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from flashsale.corpora.normal import split_of
from flashsale.errors import InputError
from ml.text import distill, model, pipeline
from ml.text.batches import collate
from ml.text.data import IGNORED, load_examples
from ml.text.train import Trainer, seed_everything
from tests.ml.text.test_training import _config, _rows


def test_the_teacher_is_asked_once_a_row_and_in_order(tiny_base: Path) -> None:
    seed_everything(1)
    teacher = model.build(tiny_base)
    torch.nn.init.normal_(teacher.sentiment.weight)
    rows = _rows(tiny_base)[:9]
    found = distill.taught(rows, teacher, 1)
    assert [row.ids for row in found] == [row.ids for row in rows]
    for row in found:
        tensors = collate([row], 1, torch.device("cpu"))
        with torch.no_grad():
            alone = teacher(tensors["ids"], tensors["mask"])
        assert row.taught is not None and row.taught.tags.shape == (len(row.ids), 2)
        assert np.allclose(row.taught.sentiment, alone[0][0].numpy(), atol=0.05), "bfloat16 where the chip has it"


def test_losses_to_a_teacher_match_their_formula() -> None:
    outputs = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([2.0]), torch.tensor([[[0.0, 1.0], [5.0, 5.0]]])
    tensors = {
        "tags": torch.tensor([[0, IGNORED]]),
        "intent": torch.tensor([0]),
        "taught_sentiment": torch.tensor([[0.0, 0.0, 2.0]]),
        "taught_intent": torch.tensor([-2.0]),
        "taught_tags": torch.tensor([[[2.0, 0.0], [0.0, 0.0]]]),
    }
    totals = {"sentiment": torch.tensor(7.0), "intent": torch.tensor(1.0), "tags": torch.tensor(1)}
    found = model.taught_losses(outputs, tensors, totals, 2.0)

    def divergence(wanted: list[float], given: list[float]) -> float:
        p, q = (np.exp(np.array(v) / 2) / np.exp(np.array(v) / 2).sum() for v in (wanted, given))
        return float(4 * (p * np.log(p / q)).sum())

    oracle = [divergence([0, 0, 2], [1, 0, 0]), divergence([-2, 0], [2, 0]), divergence([2, 0], [0, 1])]
    assert [float(loss) for loss in found] == pytest.approx(oracle, rel=1e-4)


def test_a_student_comes_to_answer_like_its_teacher(tiny_base: Path) -> None:
    seed_everything(2)
    rows = _rows(tiny_base)
    teacher = model.build(tiny_base)
    Trainer(teacher, _config(), pad=1, seed=2).fit(rows, rows[:10])
    told = distill.taught(rows, teacher, 1)
    small = distill.student(teacher, [1])
    assert len(small.encoder.encoder.layer) == 1 and len(teacher.encoder.encoder.layer) == 2

    start = Trainer(small, _config(teacher_share=1.0, epochs=6, evaluate_every=1), pad=1, seed=2).fit(told, told[:20])
    losses = [entry["valid_loss"] for entry in start.evaluations]
    assert losses[-1] < 0.3 * losses[0], "the distance to the teacher's answers falls"
    tensors = collate(told, 1, torch.device("cpu"))
    small.eval()
    with torch.no_grad():
        mine, wanted = (v.softmax(-1) for v in (small(tensors["ids"], tensors["mask"])[0], tensors["taught_sentiment"]))
    assert float((mine - wanted).abs().mean()) < 0.05
    with pytest.raises(InputError, match="no layer 5"):
        distill.student(teacher, [5])


def test_texts_that_nobody_judged_are_new_ones_without_a_sentiment(tmp_path: Path) -> None:
    english = [f"looking to buy lamp {number} and a battery charger" for number in range(40)]
    chinese = [f"第{number}盏灯很暗" for number in range(40)]
    kept = [text for text in [*english, *chinese] if split_of(text) == "train"]
    assert 0 < len(kept) < 80, "the split rule keeps some for validation or test"
    known, sealed = load_examples("train")[0], load_examples("test")[0]
    rows = [*english, english[0].upper() + "!", None, "", known.text, sealed.text, *chinese]
    path = tmp_path / "texts.parquet"
    pq.write_table(pa.table({"text": rows}), path)
    found = distill.unjudged([path], [known])
    assert [example.text for example in found] == kept
    assert {example.sentiment for example in found} == {IGNORED}
    assert {example.text for example in found if example.language == "zh"} == set(kept) & set(chinese)
    assert found[0].intent == 1 and found[0].spans, "rules speak for intent and spans"


def test_texts_of_other_languages_are_left_to_others(tmp_path: Path) -> None:
    path = tmp_path / "texts.parquet"
    pq.write_table(pa.table({"text": ["la lampe est belle"], "language": ["other"]}), path)
    with pytest.raises(InputError, match="none is new, in Chinese or English"):
        distill.unjudged([path])
    with pytest.raises(InputError, match="name a teacher"):
        pipeline.train_model(_config(), register=False, out=None, threads=1, texts=[path])
