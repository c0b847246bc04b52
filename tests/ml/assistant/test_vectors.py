"""Vectors are the scorer's pooled states, and the copied encoder is the model's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flashsale.errors import InputError
from ml.assistant.vectors import CENTRE, base_folder, copy_encoder, open_encoder, set_centre, vectors
from ml.text.pooled import pool

TEXTS = ["the battery good", "很差", "the battery good", "手机的屏幕很好, phone bad " * 6, "x"]


def pooled_one_by_one(scorer: Any, text: str) -> np.ndarray:
    """The mean over pieces of one text's states, without any batch."""
    ids = torch.tensor([scorer.tokenizer.encode(text).ids])
    with torch.inference_mode():
        states = scorer.encoder(ids, torch.ones_like(ids))
    return np.asarray(states[0].mean(0).numpy())


def test_vectors_are_the_scorers_pooled_states(scorer: Any) -> None:
    found = vectors(scorer, TEXTS)
    centre = scorer.heads["sentence_centre"].numpy()
    for row, text in zip(found, TEXTS, strict=True):
        wanted = pooled_one_by_one(scorer, text) - centre
        assert row == pytest.approx(wanted / np.linalg.norm(wanted), abs=2e-5)
    assert found.dtype == np.float32 and (found[0] == found[2]).all()
    assert vectors(scorer, TEXTS).tobytes() == found.tobytes()
    heads, pooled = scorer.heads, torch.from_numpy(pool(scorer, TEXTS[:1]))
    given = (pooled - heads["sentence_centre"]) / heads["sentence_scale"]
    ids = torch.tensor([scorer.tokenizer.encode(TEXTS[0]).ids])
    logits = torch.nn.functional.linear(given, heads["sentiment.weight"], heads["sentiment.bias"])
    assert logits[0].tolist() == pytest.approx(scorer.logits(ids, torch.ones_like(ids))[0][0].tolist(), abs=1e-4)


def test_a_copy_has_the_lower_layers_and_its_own_centre(
    folders: tuple[Path, Path], scorer: Any, tmp_path: Path
) -> None:
    whole = copy_encoder(folders[0], tmp_path / "whole", 2)
    assert pool(whole, TEXTS) == pytest.approx(pool(scorer, TEXTS), abs=1e-6)
    half = copy_encoder(folders[0], tmp_path / "half", 1)
    rows = pool(half, TEXTS)
    assert np.abs(rows - pool(scorer, TEXTS)).max() > 1e-2
    set_centre(half, tmp_path / "half", rows)
    again = open_encoder(tmp_path / "half")
    assert again.heads[CENTRE].numpy() == pytest.approx(rows.mean(0), abs=1e-6)
    assert vectors(again, TEXTS).tobytes() == vectors(half, TEXTS).tobytes()


def test_a_copy_reads_texts_as_its_model_does(tiny_base: Path, tmp_path: Path) -> None:
    from ml.text import model, reading

    network = model.build(tiny_base)
    for name in ("canonical", "none"):
        model.save(network, tiny_base, tmp_path / name, max_tokens=48, reading=name)
    text, read = "這間店嘅電池很好👍", reading.tokenizer_of(tiny_base, "canonical").read("這間店嘅電池很好👍")[0]
    ours, plain = (copy_encoder(tmp_path / name, tmp_path / f"{name}-copy", 1) for name in ("canonical", "none"))
    assert read != text and pool(ours, [text]) == pytest.approx(pool(plain, [read]), abs=1e-6)


def test_a_base_model_is_taken_as_it_is(tiny_base: Path, folders: tuple[Path, Path], tmp_path: Path) -> None:
    folder, label = base_folder(str(tiny_base), tmp_path / "base")
    assert label == base_folder(str(tiny_base), tmp_path / "again")[1] and label.startswith("base-")
    base = copy_encoder(folder, tmp_path / "copy", None)
    from transformers import BertModel

    ids = torch.tensor([base.tokenizer.encode(TEXTS[0]).ids])
    with torch.inference_mode():
        states = BertModel.from_pretrained(tiny_base, add_pooling_layer=False).eval()(ids).last_hidden_state
    assert pool(base, TEXTS[:1])[0] == pytest.approx(states[0].mean(0).numpy(), abs=1e-5)


def test_too_many_layers_and_altered_files_are_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no 3 layers.*choose 1 to 2"):
        copy_encoder(folders[0], tmp_path / "a", 3)
    copy_encoder(folders[0], tmp_path / "b", 1)
    weights = tmp_path / "b" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(InputError, match="not what was saved"):
        open_encoder(tmp_path / "b")
