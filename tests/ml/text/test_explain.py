"""Integrated gradients: complete, true to what a trained model looks at, stored once; on a tiny trained BERT."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer

from flashsale.errors import InputError
from flashsale.lake import Lake
from flashsale.tables import EXPLAINED_TEXTS
from ml.__main__ import main
from ml.text import model
from ml.text.config import load_config
from ml.text.data import Example, encode
from ml.text.explain import Explainer, examples_for_review, marked
from ml.text.explain_files import explain_file, explain_scored
from ml.text.train import Trainer, seed_everything
from tests.conftest import ROOT

THINGS = ["battery", "phone", "电池", "手机", "书"]


def said(at: int, good: bool) -> str:
    """A sentence whose label hangs on one word alone, in a changing place."""
    dice = np.random.default_rng(at)
    words = [THINGS[i] for i in dice.integers(0, len(THINGS), 4)]
    words.insert(int(dice.integers(0, 5)), ("很好" if at % 2 else "good") if good else ("很差" if at % 2 else "bad"))
    return "the " + " ".join(words)


@pytest.fixture(scope="module")
def folder(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT that has learned the word."""
    examples = [Example(said(i, i % 3 == 0), "en", 2 if i % 3 == 0 else 0, int(i % 3 == 0), ()) for i in range(240)]
    seed_everything(3)
    small = {"epochs": 8, "batch_tokens": 512, "frozen_layers": 0, "encoder_rate": 2e-3, "head_rate": 1e-2,
             "evaluate_every": 50, "patience": 99, "precision": "fp32", "max_tokens": 48, "adversarial": 0.0}  # fmt: skip
    rows = encode(examples, Tokenizer.from_file(str(tiny_base / "tokenizer.json")), 48)
    trainer = Trainer(model.build(tiny_base), load_config("full").model_copy(update=small), pad=1, seed=3)
    trainer.fit(rows, rows[:20])
    path = tmp_path_factory.mktemp("explained")
    model.save(trainer.network, tiny_base, path, max_tokens=48)
    return path


@pytest.fixture(scope="module")
def explainer(folder: Path) -> Explainer:
    return Explainer(folder)


def test_attributions_add_up_and_more_steps_close_the_gap(folder: Path) -> None:
    texts = [said(at, at % 2 == 0) for at in range(300, 312)]
    rough, fine = Explainer(folder, steps=4), Explainer(folder, steps=64)
    for answer in ("sentiment", "intent"):
        wide = np.mean([abs(rough.explain(text).gap[answer]) for text in texts])
        assert np.mean([abs(fine.explain(text).gap[answer]) for text in texts]) < 0.2 * wide + 1e-3
    with torch.no_grad():
        found = fine.explain(texts[0])
        ids = torch.tensor([fine.tokenizer.encode(texts[0]).ids])
        shares = torch.softmax(fine.network(ids, torch.ones_like(ids))[0], -1)[0]
    assert list(found.shares.values()) == pytest.approx(shares.tolist(), abs=1e-5)
    assert "".join(texts[0][w.start : w.end] for w in found.words) == texts[0].replace(" ", "")


def test_the_gradient_of_a_straight_line_is_its_weights(explainer: Explainer) -> None:
    """An oracle by hand: for an answer that is linear in the embeddings, an attribution is weight times difference."""
    generator = torch.Generator().manual_seed(5)
    weights = torch.randn(explainer.table.shape[1], generator=generator)

    def linear(embedded: torch.Tensor, named: int, head: int) -> dict[str, torch.Tensor]:
        return {"sentiment": (embedded @ weights).sum(-1), "intent": 2 * (embedded @ weights).sum(-1)}

    ids, kept = torch.tensor([[0, 7, 9, 2]]), torch.tensor([True, False, False, True])
    held, explainer._answers = explainer._answers, linear  # type: ignore[method-assign]
    try:
        pieces, gap = explainer._attributions(ids, kept, 0)
    finally:
        explainer._answers = held  # type: ignore[method-assign]
    wanted = ((explainer.table[ids[0]] - explainer.table[explainer.pad]) @ weights).double().numpy() * [0, 1, 1, 0]
    np.testing.assert_allclose(pieces["sentiment"], wanted, atol=1e-4)
    np.testing.assert_allclose(pieces["intent"], 2 * wanted, atol=2e-4)
    assert abs(gap["sentiment"]) < 1e-3


def test_the_word_that_decides_is_found_and_its_loss_is_felt(explainer: Explainer) -> None:
    texts = [said(at, at % 2 == 0) for at in range(400, 430)]
    found = [explainer.explain(text) for text in texts]
    strongest = [max(one.words, key=lambda w: w.sentiment).text for one in found]
    assert np.mean([word in ("很好", "很差", "good", "bad") for word in strongest]) > 0.8
    areas = np.array([explainer.deletion_area(one) for one in found])
    assert areas[:, 0].mean() < areas[:, 1].mean() - 0.05  # deletion by attribution falls faster than at random
    line = marked(found[0])
    assert f"+{strongest[0]}+" in line and found[0].sentiment in line
    assert "\x1b[32m" in marked(found[0], colour=True)


def test_review_lines_name_both_labels(folder: Path) -> None:
    examples = [Example(said(at, at % 2 == 0), "en", 2 if at % 2 == 0 else 0, 0, ()) for at in range(500, 510)]
    examples += [Example(said(at, True), "en", 0, 0, ()) for at in range(510, 520)]  # people say what it cannot know
    lines = examples_for_review(folder, examples)
    assert len(lines) == 2  # there is no Chinese example
    agree = [line.split("  [")[1].split(" ")[0] == line.rsplit(" ", 1)[1] for line in lines]
    assert agree == [True, False] and all("people: " in line for line in lines)


def test_a_file_is_explained_by_sample(folder: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [said(at, True) for at in range(30)] + [None, ""]}), tmp_path / "in.parquet")
    answer = explain_file(tmp_path / "in.parquet", tmp_path / "out.jsonl", sample=6, model=str(folder), threads=1)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert answer["rows"] == len(rows) == 6 and answer["deletion"]["texts"] == 6
    assert json.loads(rows[0]["words"])[0]["text"] == "the"
    with pytest.raises(InputError, match="no place"):
        explain_file(tmp_path / "in.parquet", None, sample=6, model=str(folder), threads=1)


def test_scored_texts_are_explained_once(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "fetched"
    (root / "artifacts").mkdir(parents=True)
    (root / "artifacts" / "model").symlink_to(folder)
    (root / "version.json").write_text(json.dumps({"label": "flashsale-text-v1", "run_id": "abcdef0123"}))
    lake, version = Lake(str(tmp_path / "lake")), "flashsale-text-v1-abcdef01"
    for day in (1, 2):
        keys = [f"h{day}{at}" for at in range(9)]
        when = [datetime(2026, 11, day, 5, at, tzinfo=UTC) for at in range(9)]
        base = {"event_id": keys, "event_at": when, "stream": ["reviews"] * 9, "sku_id": ["s"] * 9,
                "language": ["en"] * 9, "text_hash": keys}  # fmt: skip
        clean = pa.table({**base, "clean_text": [said(at, True) for at in range(9)]})
        lake.write("text/clean", f"date=2026-11-0{day}", clean)
        scores = pa.table(
            {**base, "sentiment": ["positive"] * 9, "p_intent": [0.5] * 9, "model_version": [version] * 9}
        )
        lake.write(f"text/scored/model_version={version}", f"date=2026-11-0{day}", scores)
    first = explain_scored(lake, str(root), texts=4, days=1, threads=1)
    assert (first["days"], first["rows"], first["changed"]) == (1, 4, 1)
    kept = lake.read(f"text/explained/model_version={version}")
    assert kept.schema.equals(EXPLAINED_TEXTS) and set(kept["event_at"].to_pylist()) <= set(when)
    assert explain_scored(lake, str(root), texts=4, days=1, threads=1)["days"] == 0
    more = explain_scored(lake, str(root), texts=4, days=2, threads=1)
    assert more["days"] == 1 and len(lake.partitions(f"text/explained/model_version={version}")) == 2
    assert explain_scored(lake, str(root), texts=0, days=2, threads=1)["days"] == 0


def test_the_platforms_command_prints_the_words(folder: Path) -> None:
    command = [sys.executable, "-m", "flashsale", "explain", "--text", "the battery good", "--model", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert [w["text"] for w in found["words"]] == ["the", "battery", "good"] and found["model_version"].startswith(
        "local-"
    )
    assert f"[{found['sentiment']}" in done.stderr


def test_a_blank_text_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["text", "explain", "--text", " ", "--model", str(folder)]) == 2
    assert "it is blank" in capsys.readouterr().err
