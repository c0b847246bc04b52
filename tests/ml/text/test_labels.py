"""Label files: what is refused and in which words, what is kept from training, which texts are asked about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from flashsale.corpora.normal import split_of
from flashsale.errors import InputError
from ml.__main__ import main
from ml.text import model
from ml.text.data import Example
from ml.text.labels import read_labels, suggest

GOOD = {"text": "想买这个手机,很好", "language": "zh", "sentiment": "positive", "intent": True,
        "spans": [{"start": 4, "end": 6}], "source": "shop", "licence": "own"}  # fmt: skip
BAD = {"text": "the battery is bad", "language": "en", "sentiment": "negative", "source": "shop", "licence": "own"}


def written(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "labels.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def read(path: Path) -> list[Example]:
    return [example for split in ("train", "valid", "test") for example in read_labels(path, split)]


def test_labels_are_read_and_rules_stand_in_for_what_is_missing(tmp_path: Path) -> None:
    found = {e.text: e for e in read(written(tmp_path, [GOOD, BAD]))}
    assert found[str(GOOD["text"])].spans == ((4, 6),) and found[str(GOOD["text"])].intent == 1
    assert found[str(BAD["text"])].sentiment == 0 and found[str(BAD["text"])].intent in (0, 1)


def test_a_copy_of_a_test_sentence_never_trains(tmp_path: Path) -> None:
    rows = [{**BAD, "text": f"the battery of phone {i} is bad"} for i in range(60)] + [GOOD]
    path = written(tmp_path, rows)
    train = {e.text for e in read_labels(path, "train")}
    held = [r["text"] for r in rows if split_of(str(r["text"])) != "train"]
    assert held and not train & set(held)
    assert len(read(path)) == len(rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sentiment": "great"}, "field 'sentiment', row 1: 'great' is unknown"),
        ({"language": "fr"}, "field 'language', row 1: 'fr' is unknown"),
        ({"text": "  "}, "field 'text', row 1: it is empty"),
        ({"licence": None}, "field 'licence', row 1: it is empty"),
        ({"intent": "yes"}, "field 'intent', row 1"),
        ({"spans": [{"start": 4, "end": 99}]}, r"row 1: \(4, 99\) lies outside the 18 characters"),
        ({"spans": [{"start": 0, "end": 5}, {"start": 3, "end": 8}]}, "overlaps the span before it"),
        ({"spans": [{"from": 4}]}, "field 'spans', row 1: they cannot be read"),
        ({"spans": [{"start": 0, "end": float("inf")}]}, "field 'spans', row 1: they cannot be read"),
        ({"spans": [{"start": 1.9, "end": 3.2}]}, "field 'spans', row 1: they cannot be read"),
        ({"text": GOOD["text"] + "!"}, "row 0 is the same sentence with another sentiment"),
        ({"sentiment": "positive"}, "every row is positive"),
    ],
)
def test_wrong_labels_name_field_row_and_remedy(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    rows: list[dict[str, Any]] = [{**GOOD, "spans": json.dumps(GOOD["spans"])}, {**BAD, **change}]
    if "spans" in change:
        rows[1]["spans"] = json.dumps(change["spans"])
    if isinstance(change.get("intent"), str):
        rows[0]["intent"] = "true"
        message = "field 'intent', row 0"
    with pytest.raises(InputError, match=message) as raised:
        read(written(tmp_path, rows))
    assert "Remedy" in str(raised.value)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="field 'source': the column is missing"):
        read(written(tmp_path, [{"text": "a", "language": "en", "sentiment": "neutral"}]))


def test_punctuation_alone_is_what_it_is(tmp_path: Path) -> None:
    rows = [{**GOOD, "text": text, "spans": [], "sentiment": said}
            for text, said in ((":)", "positive"), (":(", "negative"), ("！！！", "positive"), ("？？？", "negative"))]  # fmt: skip
    path, splits = written(tmp_path, rows), ("train", "valid", "test")
    assert sum(len(read_labels(path, split)) for split in splits) == 4


def test_the_least_certain_texts_are_suggested_once_and_languages_in_turn() -> None:
    def row(text: str, sure: float) -> dict[str, Any]:
        rest = (1 - sure) / 2
        return {"text": text, "sentiment": "positive", "p_negative": rest, "p_neutral": rest, "p_positive": sure,
                "p_intent": 0.5, "spans": "[]", "model_version": "m"}  # fmt: skip

    rows = [
        row("sure", 0.99),
        row("unsure", 0.4),
        row("Unsure!", 0.4),
        row("half", 0.7),
        row("不好说", 0.8),
        row("很好", 0.98),
    ]
    rows.append({**row("", 0.5), "sentiment": None})
    found = suggest(pa.Table.from_pylist(rows), 4)
    assert found["text"].to_pylist() == ["unsure", "不好说", "half", "很好"]
    assert found.num_rows == 4 and {"p_intent", "suggested_sentiment", "suggested_spans"} <= set(found.column_names)
    assert not {"sentiment", "spans"} & set(found.column_names), "a guess is nobody's label"
    again = found.rename_columns([{"suggested_sentiment": "sentiment"}.get(n, n) for n in found.column_names])
    assert suggest(again, 2).column_names.count("doubt") == 1, "what was suggested can be scored and suggested again"


def test_the_command_suggests_texts_of_a_file(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, texts, out = tmp_path / "model", tmp_path / "texts.jsonl", tmp_path / "to_label.jsonl"
    torch.manual_seed(1)
    network = model.build(tiny_base)
    torch.nn.init.normal_(network.sentiment.weight)
    model.save(network, tiny_base, folder, max_tokens=32)
    texts.write_text(
        "".join(json.dumps({"text": f"the battery {at} is {w}"}) + "\n" for at, w in enumerate("abcdefgh"))
    )
    asked = ["text", "suggest", "--in", str(texts), "--model", str(folder), "--count", "3"]
    assert main([*asked, "--out", str(out)]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["rows"] == 3
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["doubt"] for row in rows] == sorted((row["doubt"] for row in rows), reverse=True)
    assert all({"suggested_sentiment", "suggested_spans"} <= set(row) and "sentiment" not in row for row in rows)
    assert main([*asked, "--out", str(tmp_path / "texts.jsonl" / "x.jsonl")]) == 2
    assert "cannot be written" in capsys.readouterr().err
