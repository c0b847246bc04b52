"""Serving: the scorer's promises, the file command, the MLflow model without this repository."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flashsale.errors import InputError
from ml import registry
from ml.__main__ import main
from ml.text import model, scorer
from ml.text.score import ADDED, read_texts, score_file
from ml.text.scorer import Scorer

TEXTS = ["the battery good", "性价比很好", None, "", "the battery good", "很差, the phone bad " * 9, "ＡＢ 书"]


@pytest.fixture(scope="module")
def folder(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with random heads, so that every class and tag occurs."""
    import torch

    torch.manual_seed(2)
    network = model.build(tiny_base)
    for head in (network.sentiment, network.intent, network.tags):
        torch.nn.init.normal_(head.weight, std=1.0)
    path = tmp_path_factory.mktemp("model")
    model.save(network, tiny_base, path, max_tokens=48)
    return path


def test_order_copies_and_blanks(folder: Path) -> None:
    frame = Scorer(folder, precision="fp32").score(TEXTS)
    assert list(frame.columns) == list(scorer.COLUMNS) and len(frame) == len(TEXTS)
    assert frame.iloc[0].equals(frame.iloc[4])
    for blank in (2, 3):
        assert frame.iloc[blank][:5].isna().all() and frame.iloc[blank]["spans"] == "[]"
    shares = frame[["p_negative", "p_neutral", "p_positive"]].dropna()
    assert shares.sum(axis=1).between(0.999, 1.001).all()
    likeliest = shares.idxmax(axis=1).str.removeprefix("p_")
    assert (frame["sentiment"].dropna() == likeliest).all()
    for text, spans in zip(TEXTS, frame["spans"], strict=True):
        assert all((text or "")[s["start"] : s["end"]] == s["text"] != "" for s in json.loads(spans))
    alone = pd.concat([Scorer(folder, precision="fp32").score([text]) for text in TEXTS], ignore_index=True)
    numbers = [name for name in scorer.COLUMNS if name.startswith("p_")]
    pd.testing.assert_frame_equal(frame[numbers], alone[numbers], atol=2e-4)  # batching changes nothing
    assert len(Scorer(folder).score([])) == 0


def test_a_batch_goes_to_a_core(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several batches on several cores say what one core says, and leave PyTorch's threads as they were."""
    import torch

    monkeypatch.setattr(scorer, "_BUDGETS", {"cpu": 64, "cuda": 64})
    texts, before, threads = [f"the phone {'good ' * (n % 9)}{n}" for n in range(80)], torch.get_num_threads(), set()
    served, logits = Scorer(folder, precision="fp32"), Scorer.logits

    def watched(self: Scorer, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        threads.add(torch.get_num_threads())
        return logits(self, ids, mask)

    monkeypatch.setattr(Scorer, "logits", watched)
    try:
        found = {}
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found[count] = served.score(texts)
            assert torch.get_num_threads() == count and threads == {1}
        torch.set_num_threads(2)
        served.score(texts[:2])
        assert threads == {1, 2}  # too few batches to share out: all cores work on one
    finally:
        torch.set_num_threads(before)
    pd.testing.assert_frame_equal(found[1], found[2])
    pd.testing.assert_frame_equal(found[1], found[3])


def test_served_encoder_is_the_trained_network(folder: Path) -> None:
    """The serving encoder against transformers' own, with and without padding, in both precisions."""
    import torch
    from safetensors.torch import load_file
    from transformers import BertConfig

    from ml.text.network import TextNetwork

    served = Scorer(folder, precision="fp32")
    network = TextNetwork(BertConfig.from_json_file(str(folder / scorer.CONFIG))).eval()
    network.load_state_dict(load_file(str(folder / scorer.WEIGHTS)))
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, len(served.encoder.words), (5, 17), generator=generator)
    ragged = (torch.arange(17) < torch.tensor([17, 9, 1, 16, 4])[:, None]).long()
    for mask in (ragged, torch.ones_like(ids)):
        with torch.inference_mode():
            wanted, found = network(ids, mask), served.logits(ids, mask)
            rough = Scorer(folder, precision="bf16").logits(ids, mask)
        for index, (want, have, near) in enumerate(zip(wanted, found, rough, strict=True)):
            real = mask.bool() if index == 2 else slice(None)
            torch.testing.assert_close(have[real], want[real], atol=2e-4, rtol=1e-4)
            assert (near[real] - want[real]).abs().mean() < 0.05 * want[real].abs().mean()


def test_other_architectures_are_refused(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / scorer.CONFIG).read_text()) | {"hidden_act": "relu"}
    with pytest.raises(ValueError, match="GELU"):
        scorer.Encoder({}, config, __import__("torch").float32, __import__("torch").device("cpu"))


def test_altered_files_are_refused(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "labels.json").write_text('{"sentiment": [], "tags": [], "max_tokens": 1}')
    with pytest.raises(ValueError, match="labels.json"):
        Scorer(tmp_path)


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_file_in_file_out(folder: Path, tmp_path: Path, ending: str) -> None:
    table = pa.table({"n": list(range(len(TEXTS))), "text": TEXTS, "sentiment": ["old"] * len(TEXTS)})
    source, target = tmp_path / f"in.{ending}", tmp_path / f"out.{ending}"
    if ending == "parquet":
        pq.write_table(table, source)
    else:
        source.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist()))
    answer = score_file(source, target, model=str(folder), threads=1)
    rows = read_texts(target).to_pylist()
    assert answer["rows"] == len(rows) == len(TEXTS) and answer["model_version"].startswith("local-")
    assert [row["n"] for row in rows] == list(range(len(TEXTS))) and [row["text"] for row in rows] == TEXTS
    assert set(rows[0]) == {"n", "text", *scorer.COLUMNS, "model_version"} and rows[0]["sentiment"] != "old"
    first = target.read_bytes()
    score_file(source, target, model=str(folder), threads=1)
    assert target.read_bytes() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"in.{ending}", f"out.{ending}"]


def test_objects_of_a_file_are_kept_as_they_came(folder: Path, tmp_path: Path) -> None:
    rows = [
        {"text": "good", "id": 1234567890123456789, "at": "2024-01-01T08:00:00Z", "nested": {"a": [1, "b"]}},
        {"text": None, "id": "none", "pad": "x" * 3_000_000},
        {"id": 3},
    ]
    source, target = tmp_path / "in.jsonl", tmp_path / "new" / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    score_file(source, target, model=str(folder), threads=1)
    found = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [{k: v for k, v in row.items() if k not in ADDED.names} for row in found] == rows
    assert found[0]["sentiment"] and found[1]["sentiment"] is None and found[2]["spans"] == "[]"


def test_columns_that_scores_replace_are_named_and_never_lost_for_good(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in.parquet"
    frame = pd.DataFrame({"text": ["good", "bad"], "p_intent": pd.array([0, 1], "Int64")})
    frame["text"] = frame["text"].astype("category")
    frame.to_parquet(source)
    with pytest.raises(InputError, match="p_intent, for good"):
        score_file(source, source, model=str(folder), threads=1)
    score_file(source, tmp_path / "out.parquet", model=str(folder), threads=1)
    assert "p_intent" in capsys.readouterr().err
    again = pd.read_parquet(tmp_path / "out.parquet")
    assert again["text"].tolist() == ["good", "bad"] and again["p_intent"].between(0, 1).all()


def test_a_bad_place_or_model_is_found_before_the_work(folder: Path, home: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table({"text": ["good"], "raw": [b"x"]}), source)
    (tmp_path / "file").write_text("x")
    for target, message in (
        (tmp_path, "it is a folder|unknown"),
        (tmp_path / "file" / "out.parquet", "cannot be written"),
        (tmp_path / "out.jsonl", "field 'raw': bytes have no JSON"),
        (tmp_path / "out.csv", "unknown"),
    ):
        with pytest.raises(InputError, match=message):
            score_file(source, target, model=str(folder), threads=1)
    with pytest.raises(InputError, match="no such folder, and no registry is set"):
        score_file(source, tmp_path / "o.parquet", model="out/modle", threads=1)
    assert not (home / "mlflow.db").exists(), "to ask made no registry"
    changed = tmp_path / "changed"
    shutil.copytree(folder, changed)
    (changed / "labels.json").write_text("{}")
    with pytest.raises(InputError, match="labels.json"):
        score_file(source, tmp_path / "o.parquet", model=str(changed), threads=1)


def test_many_texts_are_cut_in_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"good battery {at}" for at in range(40)]
    whole = Scorer(folder, threads=1, precision="fp32").score(texts)
    monkeypatch.setattr(scorer, "_AT_ONCE", 7)
    parts = Scorer(folder, threads=1, precision="fp32").score(texts)
    pd.testing.assert_frame_equal(whole, parts, atol=2e-4)


def test_bad_files_say_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "no_text.parquet")
    pq.write_table(pa.table({"text": [1]}), tmp_path / "numbers.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "numbers.parquet").read_bytes()[:40])
    (tmp_path / "broken.jsonl").write_text('{"text": "a"}\n{"text": \n')
    (tmp_path / "x.csv").write_text("text\n")
    for name, message in (
        ("no_text.parquet", "field 'text': the column is missing"),
        ("numbers.parquet", "int64, not string"),
        ("cut.parquet", "cannot be read"),
        ("broken.jsonl", "cannot be read"),
        ("x.csv", "unknown"),
        ("absent.parquet", "not there"),
    ):
        with pytest.raises(InputError, match=message):
            read_texts(tmp_path / name)
    (tmp_path / "empty.jsonl").write_text("")
    assert read_texts(tmp_path / "empty.jsonl").num_rows == 0
    status = main(["text", "score", "--in", str(tmp_path / "no_text.parquet"), "--out", str(tmp_path / "o.parquet")])
    assert status == 2 and "Remedy" in capsys.readouterr().err


def test_served_model_needs_none_of_this_repository(home: Path, folder: Path, tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["the battery good"]})
    scored = Scorer(folder).score(frame["text"].tolist())
    registry.register_candidate(
        registry.Candidate(
            name="flashsale-text-candidate", experiment="t", script=Path(scorer.__file__), folder=folder, card="# c",
            input_example=frame, output_example=scored, requirements=["torch"], inference_params={"threads": 0},
        )
    )  # fmt: skip
    registry.promote("flashsale-text-candidate", "1", by="Reviewer", reason="test")
    local = registry.fetch("flashsale-text")
    program = (
        "import sys, mlflow, pandas as pd\n"
        "texts = pd.DataFrame({'text': ['the battery good', None]})\n"
        f"found = mlflow.pyfunc.load_model({str(local)!r}).predict(texts, params={{'threads': 1}})\n"
        "assert not any(name == 'ml' or name.startswith(('ml.', 'flashsale')) for name in sys.modules)\n"
        "import torch; assert torch.get_num_threads() == 1\n"
        "print(found.to_json(orient='records'))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout.splitlines()[-1])
    assert rows[0]["sentiment"] == scored["sentiment"][0] and rows[1]["sentiment"] is None
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "the battery good"}\n')
    answer = score_file(source, tmp_path / "out.jsonl", model=None, threads=None)
    assert re.fullmatch(r"flashsale-text-v1-[0-9a-f]{8}", answer["model_version"])
