"""A tiny BERT made on the spot: random weights, a vocabulary of single characters and a few words."""

from __future__ import annotations

from pathlib import Path

import pytest

WORDS = ["▁the", "▁battery", "▁phone", "▁good", "▁bad", "▁life", "性价比", "电池", "很好", "很差", "ies", "▁batter"]
CHARS = "abcdefghijklmnopqrstuvwxyz0123456789,.!?'▁性价比电池很好差手机的屏幕书买推荐不错"


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder: BertModel 2 x 32 with random weights, Unigram tokenizer as multilingual-e5 has."""
    import torch
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny-bert")
    pieces = [(name, 0.0) for name in ("<s>", "<pad>", "</s>", "<unk>")]
    pieces += [(word, -3.0) for word in WORDS] + [(char, -6.0) for char in dict.fromkeys(CHARS)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64, pad_token_id=1,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder
