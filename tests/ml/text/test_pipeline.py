"""From sentences to a candidate: what a run leaves in MLflow, and what a killed one does not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import mlflow
import opencc
import pytest

from flashsale.corpora.normal import split_of
from flashsale.errors import InputError
from flashsale.settings import settings
from ml import registry, tracking
from ml.text import pipeline
from ml.text.config import Exits, TrainConfig, load_config
from ml.text.data import load_examples
from ml.text.given import gather
from ml.text.poison import LEDGER_FILE
from ml.text.scorer import EVEN_ODDS


def tiny() -> TrainConfig:
    return load_config(
        "demo", keep_layers=None, frozen_layers=0, rows={"zh": 60, "en": 60}, max_tokens=32, serve_max_tokens=32, batch_tokens=512,
        evaluate_every=2, valid_rows=30, attack_rows=5,
    )  # fmt: skip


@pytest.fixture
def lab(home: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The tiny base as the setting, and the first sentences of each split."""
    monkeypatch.setenv("FLASHSALE_TEXT_BASE_MODEL", str(tiny_base))
    real = {split: load_examples(split)[:200] for split in ("train", "valid", "test")}
    monkeypatch.setattr(pipeline, "load_examples", real.__getitem__)
    settings.cache_clear()
    yield home
    settings.cache_clear()


def test_float32_reads_fewer_sentences_where_a_configuration_says_so(tiny_base: Path) -> None:
    sets = {split: load_examples(split)[:300] for split in ("train", "valid")}
    config = tiny().model_copy(update={"rows_in_float32": {"zh": 7, "en": 90}})
    read = {
        kind: len(pipeline.encoded(config.model_copy(update={"precision": kind}), tiny_base, sets, [])[0])
        for kind in ("bf16", "fp32")
    }
    languages = [e.language for e in sets["train"]]
    known = {name: min(languages.count(name), 60) for name in ("zh", "en")}
    assert read == {"bf16": known["zh"] + known["en"], "fp32": 7 + known["en"]}


def test_a_run_is_open_while_it_trains_and_ends_with_a_version(lab: Path, tmp_path: Path) -> None:
    config = tiny().model_copy(update={"exits": Exits(after=(1,), apart=0.1)})
    found = pipeline.train_model(config, register=True, out=None, threads=1)
    api = tracking.client()
    card = mlflow.artifacts.load_text(f"runs:/{found['run_id']}/model_card.md")
    assert "**Exits.**" in card and "after 1 layers" in card and "at most 10.0% were answered otherwise" in card
    run = api.get_run(found["run_id"])
    assert run.info.status == "FINISHED" and found["version"] == "1"
    curve = api.get_metric_history(found["run_id"], "live.valid_loss")
    assert [point.step for point in curve] == sorted({point.step for point in curve}) and len(curve) >= 2
    assert run.data.params["adapt.method"] == "full" and run.data.params["weights.sentiment"] == "1.0"
    assert run.data.metrics["cost.pieces"] > 0 and "attack.typos" in run.data.metrics
    assert run.data.metrics["speed.texts_per_second"] > 0
    assert any(reason.startswith("zh: F1 of intent") for reason in found["gate"]["reasons"])
    assert {"git_commit", "env.packages", "data.train", "gate_passed"} <= set(run.data.tags)
    kept = {Path(item.path).name for item in api.list_artifacts(found["run_id"], "evaluation")}
    assert {"slices.csv", "reliability.png", "confusion.png", "robustness.png", "checks.json", LEDGER_FILE} <= kept
    assert len(found["explained"]) <= 4 and all(isinstance(line, str) for line in found["explained"])
    assert json.loads(json.dumps(found)) == found, "the summary is plain JSON, for XCom"


def test_a_student_of_a_registered_model_is_a_candidate_too(lab: Path, tmp_path: Path) -> None:
    folder = tmp_path / "teacher"
    alone = pipeline.train_model(tiny(), register=False, out=folder, threads=1)["training"]["sentences"]
    config = tiny().model_copy(update={"keep_layers": (1,), "teacher_share": 0.8, "name": "small"})
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": f"lamp number {n} is bright"}) + "\n" for n in range(30)))
    asked = {"register": True, "threads": 1, "teacher": str(folder)}
    found = pipeline.train_model(config, out=tmp_path / "small", texts=[texts], **asked)
    assert alone + 20 < found["training"]["sentences"] <= alone + 30, "what the teacher says of them is learnt as well"
    assert json.loads((tmp_path / "small" / "config.json").read_text())["num_hidden_layers"] == 1
    card = tracking.client().get_model_version("flashsale-text-candidate", found["version"]).description
    assert "taught by" in card and "layers [1]" in card
    run = tracking.client().get_run(found["run_id"])
    assert "times its teacher as served" in mlflow.artifacts.load_text(f"runs:/{found['run_id']}/model_card.md")
    assert {"speed.texts_per_second", "speed.times_teacher", "speed.lost_to_teacher"} <= set(run.data.metrics)
    assert any(reason.startswith("macro-F1 lost to the teacher") for reason in found["gate"]["reasons"])
    threshold = json.loads((tmp_path / "small" / "labels.json").read_text())["intent_threshold"]
    logged = tracking.client().get_run(found["run_id"]).data.tags["intent_threshold"]
    assert threshold != EVEN_ODDS and float(logged) == pytest.approx(threshold, abs=0.001)


def test_a_failed_training_is_marked_and_registers_nothing(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(pipeline, "_finish", fail)
    with pytest.raises(RuntimeError, match="disk"):
        pipeline.train_model(tiny(), register=True, out=None, threads=1)
    api = tracking.client()
    experiment = api.get_experiment_by_name("flashsale-text").experiment_id
    assert [run.info.status for run in api.search_runs([experiment])] == ["FAILED"]
    with pytest.raises(InputError):
        registry.show("flashsale-text-candidate")


def test_changed_labels_stop_the_training_before_it_begins(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = {split: load_examples(split)[:50] for split in ("train", "valid", "test")}
    real["train"][7] = replace(real["train"][7], sentiment=2 - real["train"][7].sentiment)
    monkeypatch.setattr(pipeline, "load_examples", real.__getitem__)
    monkeypatch.setattr(pipeline, "_fit", lambda *_: pytest.fail("it began"))
    with pytest.raises(InputError, match="contradict"):
        pipeline.train_model(tiny(), register=False, out=None, threads=1)


KILLED = """
import os, shutil, signal, sys
sys.path.insert(0, {root!r})
import mlflow.store.artifact.local_artifact_repo as repo
from ml import tracking
from ml.registry import Candidate, register_candidate
from pathlib import Path
import pandas as pd

def half(source, target, **kwargs):
    os.makedirs(target, exist_ok=True)
    first = sorted(p for p in Path(source).rglob("*") if p.is_file())[0]
    shutil.copyfile(first, Path(target) / first.name)
    os.kill(os.getpid(), signal.SIGKILL)

repo.shutil.copytree = half
repo.shutil_copytree_without_file_permissions = half
folder = Path({folder!r})
with tracking.open_run("flashsale-text", {{}}) as run_id:
    register_candidate(Candidate(
        name="flashsale-text-candidate", experiment="flashsale-text", script=Path({script!r}), folder=folder, card="card",
        input_example=pd.DataFrame({{"text": ["a"]}}), output_example=pd.DataFrame({{"p_intent": [0.5]}}),
        requirements=["numpy"], run_id=run_id,
    ))
"""


def test_a_kill_in_the_middle_of_an_upload_leaves_no_version(lab: Path, tmp_path: Path) -> None:
    from ml.text import scorer

    folder = tmp_path / "model"
    pipeline.train_model(tiny(), register=False, out=folder, threads=1)
    script = tmp_path / "killed.py"
    root = Path(__file__).parents[3]
    script.write_text(KILLED.format(root=str(root), folder=str(folder), script=scorer.__file__))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == -signal.SIGKILL, done.stderr[-1500:]
    api = tracking.client()
    experiment = api.get_experiment_by_name("flashsale-text").experiment_id
    assert len(api.search_runs([experiment])) == 1, "the run is there"
    with pytest.raises(InputError, match="does not know it"):
        registry.show("flashsale-text-candidate")
    again = pipeline.train_model(tiny(), register=True, out=None, threads=1)
    assert again["version"] == "1"


def test_what_is_nearly_a_test_sentence_is_left_out_and_a_label_file_has_its_card(
    tiny_base: Path, home: Path, tmp_path: Path
) -> None:
    sets = {split: load_examples(split)[:300] for split in ("train", "valid", "test")}
    zh = next(e for e in sets["test"] if e.language == "zh" and len(e.text) > 30 and "国" not in e.text)
    other = opencc.OpenCC("s2t").convert(zh.text)
    close = f"{zh.text}谢谢" if split_of(f"{zh.text}谢谢") == "train" else f"{zh.text}再见啊"
    plain = [f"the lamp number {at} is good and stands on my desk" for at in range(40)]
    rows = [{"text": text, "language": "zh", "sentiment": "negative", "checked_by": "r"} for text in (other, close)]
    rows += [{"text": text, "language": "en", "sentiment": "positive"} for text in plain]
    rows = [{**row, "source": "shop", "licence": "own"} for row in rows]
    path = tmp_path / "labels.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    found = gather(sets, path, [])
    kept = {example.text for example in found.own}
    assert kept == {text for text in plain if split_of(text) == "train"}, "no copy of a test sentence is trained on"
    assert found.sets["test"] == sets["test"]
    (note,) = [line for line in found.notes if line.startswith("`labels.jsonl`")]
    assert f"42 rows, {len(kept)} trained on, 0 of them read" in note
    assert f"By language, source and licence: en, shop (own): {len(kept)}." in note
    assert found.params["labels"] == "labels.jsonl" and len(found.params["labels_sha256"]) == 64
    again = gather(sets | {"train": [*sets["train"], replace(zh, text=other)]}, None, [])
    assert len(again.sets["train"]) <= len(sets["train"]) and replace(zh, text=other) not in again.sets["train"]
    assert "nearly held-out" in again.notes[0]


def test_a_teacher_is_pinned_before_the_work_and_a_registry_that_cannot_be_asked_is_found_then(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = registry.Version("flashsale-text", "7", "r", "models:/flashsale-text/7")
    monkeypatch.setattr(registry, "is_set", lambda: True)
    monkeypatch.setattr(registry, "resolve", {"flashsale-text": held}.__getitem__)
    assert pipeline._pinned("flashsale-text") == held.uri
    assert pipeline._pinned(str(tmp_path)) == str(tmp_path) and pipeline._pinned(None) is None

    def gone(name: str) -> None:
        raise InputError("registry", "it gave no answer", "start it")

    monkeypatch.setattr(registry, "champion", gone)
    monkeypatch.setattr(pipeline, "_fit", lambda *_: pytest.fail("it began"))
    with pytest.raises(InputError, match="no answer"):
        pipeline.train_model(tiny(), register=False, out=None, threads=1)
