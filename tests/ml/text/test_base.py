"""Base models are looked at before anything is trained: what they are, whose weights they hold, that nothing is random."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from flashsale.errors import InputError
from ml.__main__ import main
from ml.text import model
from ml.text.base import check_base, ensure_base_model, load_bert, weights_digest
from ml.text.data import Example, encode
from ml.text.scorer import Scorer
from ml.text.train import Trainer, seed_everything
from tests.ml.text.test_training import _config


@pytest.fixture
def base(tiny_base: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    shutil.copytree(tiny_base, folder)
    return folder


def _configured(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def _pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_configured(model_type="xlm-roberta"), "model_type.*xlm-roberta.*only 'bert'"),
        (_configured(hidden_act="relu"), "hidden_act.*relu"),
        (_configured(position_embedding_type="relative_key"), "position_embedding_type"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read"),
        (lambda folder: (folder / "config.json").unlink(), "no config.json"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer.json.*AutoTokenizer"),
        (_pickled, "no safetensors.*can run code"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_it_is(
    base: Path, change: Callable[[Path], None], message: str
) -> None:
    check_base(base)
    change(base)
    with pytest.raises(InputError, match=f"base model.*{message}"):
        ensure_base_model(str(base))


def test_weights_that_would_be_random_are_named(base: Path) -> None:
    weights = load_file(base / "model.safetensors")
    lost = "encoder.layer.1.output.dense.weight"
    save_file({name: value for name, value in weights.items() if name != lost}, base / "model.safetensors")
    with pytest.raises(InputError, match=f"1 of its weights .*{lost}"):
        load_bert(base)
    with pytest.raises(InputError, match="would be random"):
        model.build(base)
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    _configured(vocab_size=len(weights["embeddings.word_embeddings.weight"]) + 10)(base)
    with pytest.raises(InputError, match="1 of its weights .*another shape .*word_embeddings"):
        load_bert(base)


def test_a_pin_holds_the_weights(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["text", "base", "--name", str(base)]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["sha256"] == weights_digest(base)
    assert ensure_base_model(f"{base}@sha256:{told['sha256'].upper()}") == base
    weights = load_file(base / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][3, 3] += 1e-3
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="not the pinned"):
        ensure_base_model(f"{base}@sha256:{told['sha256']}")
    ensure_base_model(str(base))


def test_a_word_piece_base_like_the_public_ones_is_trained_and_served(tiny_base: Path, tmp_path: Path) -> None:
    """`bert-base-chinese` and `bert-base-cased` cut words into pieces that go on with ##."""
    from transformers import BertConfig, BertModel

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "bat", "##tery", "phone", "good", "bad", "life"]
    pieces = {word: at for at, word in enumerate([*words, *"性价比很好电池差"])}
    tokenizer = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    base = tmp_path / "wordpiece"
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(pieces), max_position_embeddings=64, pad_token_id=0, **sizes)
    BertModel(config).save_pretrained(base)  # with a pooler, as the public ones have
    tokenizer.save(str(base / "tokenizer.json"))
    examples = [
        Example("the battery life good", "en", 2, 1, ((4, 11),)),
        Example("the phone bad", "en", 0, 0, ((4, 9),)),
        Example("性价比很好", "zh", 2, 1, ((0, 3),)),
        Example("电池很差", "zh", 0, 0, ((0, 2),)),
    ] * 12
    rows = encode(examples, Tokenizer.from_file(str(base / "tokenizer.json")), 32)
    seed_everything(1)
    network = model.build(ensure_base_model(str(base)))
    Trainer(network, _config(epochs=20), pad=model.pad_of(base), seed=1).fit(rows, rows[:8])
    model.save(network, base, tmp_path / "model", max_tokens=32)
    found = Scorer(tmp_path / "model").score([example.text for example in examples[:4]])
    assert found["sentiment"].tolist() == ["positive", "negative", "positive", "negative"]
    spans = [[(s["start"], s["end"]) for s in json.loads(row)] for row in found["spans"]]
    assert spans == [[(4, 11)], [(4, 9)], [(0, 3)], [(0, 2)]]
