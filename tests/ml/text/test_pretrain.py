"""Reading before learning: masks are as stated, the loss falls, the test set stays sealed, the result is a base."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from flashsale.corpora.normal import split_of
from flashsale.errors import InputError
from ml.text import model
from ml.text.cli import add_parser
from ml.text.config import load_config
from ml.text.pretrain import Reader, Row, distinct, hide, masked, pretrain

WORDS = ["the battery life good", "性价比很好", "电池很差", "the phone bad", "good phone good life", "手机的屏幕很好"]
TEXTS = [f"{word} {i}" for i in range(40) for word in WORDS]


def test_masks_follow_their_shares() -> None:
    special, counts = frozenset({0, 2}), Counter[str]()
    dice = random.Random(3)
    for _ in range(400):
        ids = [0, *range(10, 50), 2]
        read, places = masked(ids, special, 4, 1000, dice)
        assert len(places) == 6 and 0 not in places and 41 not in places
        assert [r for at, r in enumerate(read) if at not in places] == [
            r for at, r in enumerate(ids) if at not in places
        ]
        for at in places:
            counts["mask" if read[at] == 4 else "same" if read[at] == ids[at] else "other"] += 1
    total = sum(counts.values())
    assert counts["mask"] / total == pytest.approx(0.8, abs=0.03)
    assert counts["other"] / total == pytest.approx(0.1, abs=0.03)
    assert masked([0, 2], special, 4, 1000, dice) == ([0, 2], [])


def test_words_that_judge_are_hidden_whole_and_half_of_them() -> None:
    """Two of four words go, every piece of them; the others stay readable whatever the dice say."""
    special, words = frozenset({0, 2}), (((1, 2), True), ((5,), False), ((8, 9), True), ((12,), False))
    row, dice, seen = Row([0, *range(10, 60), 2], [], 0, 0, words=words, silent=False), random.Random(4), Counter[int]()
    for _ in range(200):
        one = hide(row, special, 4, 1000, dice)
        gone = [word for word in words if all(one.read[at] == 4 for at in word[0])]
        assert len(gone) == 2 and one.places == sorted(one.places)
        assert {at for word, _ in gone for at in word} <= set(one.places)
        kept = {at for word in words if word not in gone for at in word[0]}
        assert not kept & set(one.places) and all(one.read[at] == row.ids[at] for at in kept)
        praise = sum(praises for _, praises in gone) / 2
        assert one.verdict == (1.0 - praise, 0.0, praise)
        seen[len(one.places)] += 1
    assert min(seen) >= 5, "other pieces are guessed too"


def test_a_verdict_is_neither_without_words_and_unknown_where_all_are_turned(tiny_base: Path, tmp_path: Path) -> None:
    _with_mask(tiny_base, tmp_path / "masked")
    reader = Reader(tmp_path / "masked", batch_tokens=64, rate=1e-3, seed=1)
    texts = ["the battery life", "not a good phone", "the phone bad", "性价比很好,电池很差", "good " + "phone " * 50]
    rows = reader.rows(texts, 16)
    assert [row.silent for row in rows] == [True, False, False, False, False]
    assert [[praises for _, praises in row.words] for row in rows] == [[], [], [False], [True, False], [True]]
    dice = random.Random(1)
    verdicts = [hide(row, reader.special, reader.mask, reader.pieces, dice).verdict for row in rows]
    assert verdicts[:3] == [(0.0, 1.0, 0.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0)]
    assert verdicts[4] == (0.0, 0.0, 1.0)
    shown = reader.tokenizer.encode(texts[3])
    assert ["".join(shown.tokens[at] for at in word) for word, _ in rows[3].words] == ["很好", "很差"], (
        "every piece it touches"
    )
    cut = reader.rows(["phone " * 50 + "good"], 16)[0]
    assert cut.words == () and not cut.silent, (
        "what is cut off is not hidden, and the text is not taken for a plain one"
    )


def test_texts_are_read_once_in_normal_form() -> None:
    assert distinct(["很好!!", "很好。", None, "  ", "A\u200bB"]) == ["很好!!", "AB"]


def test_reading_lowers_the_surprise_and_gives_a_base(tiny_base: Path, tmp_path: Path) -> None:
    _with_mask(tiny_base, tmp_path / "masked")
    sealed = [text for text in TEXTS if split_of(text) != "train"]
    assert sealed
    found = pretrain(
        TEXTS, tmp_path / "read", base=str(tmp_path / "masked"), epochs=24, batch_tokens=256, rate=3e-3, threads=1
    )
    assert found["loss_after"] < 0.8 * found["loss_before"]
    assert found["texts"] + found["held_out_texts"] == len(distinct(TEXTS)) - len(distinct(sealed))
    read, start = model.build(tmp_path / "read"), model.build(tmp_path / "masked")
    assert torch.equal(read.word_embeddings(), start.word_embeddings()), "words stay as they are"
    layers = [network.encoder.encoder.layer[1].output.dense.weight for network in (read, start)]
    assert not torch.equal(*layers)
    assert found["verdict_after"] < 0.8 * found["verdict_before"]
    assert 0 < found["texts_that_judge"] <= found["texts"]
    again = pretrain(
        TEXTS, tmp_path / "again", base=str(tmp_path / "masked"), epochs=24, batch_tokens=256, rate=3e-3, threads=1
    )
    assert again["loss_after"] == found["loss_after"], "one seed, one result"


def test_a_base_without_a_mask_or_too_few_texts_are_refused(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no mask"):
        Reader(tiny_base, batch_tokens=64, rate=1e-3, seed=1)
    _with_mask(tiny_base, tmp_path / "masked")
    with pytest.raises(InputError, match="different ones"):
        pretrain(["the phone bad"], tmp_path / "out", base=str(tmp_path / "masked"))
    assert not (tmp_path / "out").exists()


def test_a_configuration_says_which_layers_read_and_how(tiny_base: Path, tmp_path: Path) -> None:
    _with_mask(tiny_base, tmp_path / "masked")
    base, demo = str(tmp_path / "masked"), load_config("demo")
    pretrain(TEXTS, tmp_path / "low", base=base, config=demo.model_copy(update={"keep_layers": (0,)}), threads=1)
    assert len(model.build(tmp_path / "low", keep_layers=(0,)).encoder.encoder.layer) == 1
    with pytest.raises(InputError, match=r"keeps the layers \[1\]"):
        pretrain(TEXTS, tmp_path / "top", base=base, config=demo.model_copy(update={"keep_layers": (1,)}), threads=1)
    with pytest.raises(InputError, match="there is no layer 2"):
        pretrain(TEXTS, tmp_path / "top", base=base, config=demo, threads=1)
    assert not (tmp_path / "top").exists()


def test_the_command_reads_files(tiny_base: Path, tmp_path: Path) -> None:
    import argparse

    _with_mask(tiny_base, tmp_path / "masked")
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "texts.parquet")
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    given = parser.parse_args(
        ["text", "pretrain", "--in", str(tmp_path / "texts.parquet"), "--out", str(tmp_path / "new"), "--base",
         str(tmp_path / "masked"), "--threads", "1"]
    )  # fmt: skip
    answer = given.func(given)
    assert answer["steps"] >= 1 and (tmp_path / "new" / "model.safetensors").is_file()


def _with_mask(base: Path, out: Path) -> None:
    """The tiny base with a mask among its special pieces."""
    import json
    import shutil

    from transformers import BertModel

    shutil.copytree(base, out)
    tokenizer = json.loads((out / "tokenizer.json").read_text())
    pieces = tokenizer["model"]["vocab"]
    pieces.append(["<mask>", 0.0])
    (out / "tokenizer.json").write_text(json.dumps(tokenizer))
    bert = BertModel.from_pretrained(base, add_pooling_layer=False)
    bert.resize_token_embeddings(len(pieces), mean_resizing=False)
    bert.save_pretrained(out)
