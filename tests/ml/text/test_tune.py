"""Folds are fixed by the sentence, cross-validation covers each once, and a search writes a configuration that loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from flashsale.errors import InputError
from flashsale.settings import settings
from ml import tracking
from ml.__main__ import main
from ml.text import pipeline, tune
from ml.text.config import load_config
from ml.text.data import Example


@pytest.fixture
def small(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty sentences a split, and the tiny base as the setting."""
    good, bad = ("good phone", "性价比很好", "the battery good"), ("bad phone", "电池很差", "the life bad")
    examples = [
        Example(f"{words} {i}", "zh" if ord(words[0]) > 999 else "en", label, 0, ())
        for i in range(12)
        for label, group in ((2, good), (0, bad))
        for words in group
    ]
    monkeypatch.setattr(tune, "load_examples", lambda split: list(examples))
    monkeypatch.setenv("FLASHSALE_TEXT_BASE_MODEL", str(tiny_base))
    settings.cache_clear()
    yield
    settings.cache_clear()


def config() -> object:
    return load_config(
        "demo",
        keep_layers=None,
        frozen_layers=0,
        rows=None,
        batch_tokens=512,
        epochs=1,
        evaluate_every=1,
        valid_rows=20,
    )


def test_folds_part_the_sentences_by_their_meaning() -> None:
    assert tune.fold_of("很好!!", 5) == tune.fold_of("很好。", 5)
    counts = [0] * 5
    for i in range(500):
        counts[tune.fold_of(f"sentence {i}", 5)] += 1
    assert min(counts) > 60 and sum(counts) == 500


def test_every_sentence_is_judged_once(small: None) -> None:
    found = tune.cross_validate(config(), 3, tune.Lab(threads=1))
    assert found["folds"] == 3 and found["sentences"] == 72
    assert 0 <= found["metrics"][tune.WHAT] <= 1 and f"{tune.WHAT}.spread" in found["metrics"]
    with pytest.raises(InputError, match="fold 3 of 3"):
        tune.run_fold(config(), 3, 3)
    for folds in (0, 1):
        with pytest.raises(InputError, match="nothing to judge"):
            tune.cross_validate(config(), folds)


def test_a_search_writes_a_configuration_and_repeats(small: None, home: Path, tmp_path: Path) -> None:
    lab = tune.Lab(threads=1, track=True)
    first = tune.search(config(), 8, tmp_path / "a.yaml", lab=lab)
    second = tune.search(config(), 8, tmp_path / "b.yaml", lab=lab)
    assert first["best"] == second["best"] and first["trials"] == 8 and first["pruned"] > 0
    api = tracking.client()
    runs = api.search_runs([api.get_experiment_by_name("flashsale-text").experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}, "a trial that was given up has not failed"
    assert sum(run.data.tags.get("pruned") == "true" for run in runs) == 2 * first["pruned"]
    best = load_config(str(tmp_path / "a.yaml"))
    assert best.name == "demo-tuned" and best.head_rate == first["best"]["head_rate"]
    assert best.rows is None and best.schedule in ("linear", "cosine")


def test_folds_and_trials_are_runs_in_mlflow_and_learn_from_own_labels(
    small: None, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, config_file = tmp_path / "labels.jsonl", tmp_path / "tiny.yaml"
    rows = [{"text": f"the lamp number {at} is good", "language": "en", "sentiment": s, "source": "x", "licence": "own"}
            for at, s in enumerate(["positive", "negative"] * 30)]  # fmt: skip
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    few = config().model_dump(mode="json") | {"rows": {"zh": 2, "en": 2}}
    config_file.write_text(yaml.safe_dump(few))
    seen = []
    judged = tune._judged
    monkeypatch.setattr(tune, "_judged", lambda *a, **k: (seen.append(k["own"]), judged(*a, **k))[1])
    taken = []
    real = pipeline.encoded
    monkeypatch.setattr(pipeline, "encoded", lambda *a: (taken.append(real(*a)), taken[-1])[1])
    common = ["--config", str(config_file), "--labels", str(labels), "--track", "--threads", "1"]
    assert main(["text", "validate", "--folds", "2", "--fold", "1", *common]) == 0
    assert main(["text", "tune", "--trials", "1", "--out", str(tmp_path / "best.yaml"), *common]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["trials"] == 1
    assert all("lamp" in e.text for e in seen[0]) and {tune.fold_of(e.text, 2) for e in seen[0]} == {0}
    assert len(seen[1]) > len(seen[0]) > 5
    assert [len(rows) for rows, _ in taken] == [4 + len(seen[0]), 4 + len(seen[1])], "all of them beside four of ours"
    api = tracking.client()
    runs = api.search_runs([api.get_experiment_by_name("flashsale-text").experiment_id])
    assert {run.data.params["kind"] for run in runs} == {"fold", "trial"}
    assert all(run.data.params["labels"] == "labels.jsonl" and run.data.params["seed"] for run in runs)
    assert all(run.info.status == "FINISHED" and tune.WHAT in run.data.metrics for run in runs)
    assert all(api.get_metric_history(run.info.run_id, "live.valid_loss") for run in runs)


def test_what_cannot_be_written_or_tried_is_said_before_the_work(
    small: None, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    below = str(tmp_path / "file" / "best.yaml")
    assert main(["text", "tune", "--config", "demo", "--trials", "1", "--out", below]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert main(["text", "tune", "--config", "demo", "--trials", "0", "--out", str(tmp_path / "x.yaml")]) == 2
    assert main(["text", "train", "--config", "demo", "--out", str(tmp_path / "file")]) == 2
    assert "a folder is to be written there" in capsys.readouterr().err
    odd = tmp_path / "odd.yaml"
    odd.write_text(yaml.safe_dump(config().model_dump(mode="json") | {"rows": {"ch": 40, "en": 40}}))
    assert main(["text", "train", "--config", str(odd)]) == 2
    assert "rows names the language 'ch'" in capsys.readouterr().err
