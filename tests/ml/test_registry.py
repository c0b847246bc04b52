"""The registry's promises on a real MLflow store: candidate, review, champion, roll-back, fetch."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from flashsale.errors import InputError
from flashsale.settings import settings
from ml import registry
from ml.__main__ import main

SCRIPT = """
import mlflow, pathlib

class Twice(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        self.factor = float(pathlib.Path(context.artifacts["model"], "factor.txt").read_text())

    def predict(self, context, model_input, params=None):
        return model_input * self.factor

mlflow.models.set_model(Twice())
"""


def candidate_of(folder: Path, factor: float) -> registry.Candidate:
    model = folder / f"model-{factor}"
    model.mkdir(parents=True)
    (model / "factor.txt").write_text(str(factor))
    (folder / "script.py").write_text(SCRIPT)
    frame = pd.DataFrame({"x": [1.0, 2.0]})
    return registry.Candidate(
        name="toy-candidate",
        experiment="toy",
        script=folder / "script.py",
        folder=model,
        card="# Toy\nMultiplies.",
        input_example=frame,
        output_example=frame,
        requirements=["pandas"],
        params={"seed": 7},
        metrics={"loss": 0.25},
        digests={"train": "abc"},
    )


def test_life_of_a_model(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import mlflow

    first = registry.register_candidate(candidate_of(tmp_path / "a", 2.0))
    second = registry.register_candidate(candidate_of(tmp_path / "b", 3.0))
    third = registry.register_candidate(candidate_of(tmp_path / "c", 4.0))
    assert (first.version, second.version, registry.champion("toy")) == ("1", "2", None)
    tags = registry.show("toy-candidate")["versions"][0]["tags"]
    assert tags["data.train"] == "abc" and tags["git_commit"]

    one = registry.promote("toy-candidate", "1", by="Reviewer", reason="first")
    assert registry.champion("toy") == one and one.label == "toy-v1"
    again = registry.promote("toy-candidate", "1", by="Reviewer", reason="first")
    assert again == one and len(registry.show("toy")["versions"]) == 1
    two = registry.promote("toy-candidate", "2", by="Reviewer", reason="better")
    assert registry.champion("toy") == two

    folder = registry.fetch_champion("toy")
    monkeypatch.setenv("FLASHSALE_CACHE", str(settings().cache or settings().home))
    monkeypatch.setenv("FLASHSALE_HOME", str(tmp_path / "a shell without a registry"))
    settings.cache_clear()
    assert registry.fetch_champion("toy") == folder and "toy-v2" in capsys.readouterr().err
    assert not (tmp_path / "a shell without a registry").exists()
    monkeypatch.setenv("FLASHSALE_HOME", str(home))
    settings.cache_clear()
    assert folder == registry.fetch("toy") == registry.fetch("models:/toy@champion") == registry.fetch("models:/toy/2")
    assert json.loads((folder / "version.json").read_text())["label"] == "toy-v2"
    loaded = mlflow.pyfunc.load_model(str(folder))
    assert loaded.predict(pd.DataFrame({"x": [5.0]}))["x"].tolist() == [15.0]
    assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".pickle")]

    assert registry.rollback("toy", by="Reviewer", reason="worse live") == one
    assert registry.champion("toy") == one
    with pytest.raises(InputError, match="replaced no earlier"):
        registry.rollback("toy", by="Reviewer", reason="again")

    registry.reject("toy-candidate", third.version, by="Reviewer", reason="no gain")
    with pytest.raises(InputError, match="rejected"):
        registry.promote("toy-candidate", third.version, by="Reviewer", reason="anyway")
    with pytest.raises(InputError, match="person and a reason"):
        registry.promote("toy-candidate", "1", by=" ", reason="x")
    with pytest.raises(InputError, match="no such version"):
        registry.fetch("models:/toy/99")
    with pytest.raises(InputError, match="candidate's name"):
        registry.register_candidate(replace(candidate_of(tmp_path / "d", 1.0), name="toy"))
    assert (home / "mlartifacts" / "toy").is_dir()


def test_files_that_change_after_a_promotion_are_not_served(home: Path, tmp_path: Path) -> None:
    """A trainer may write to the files of its own runs, and a promoted version's are those of its run."""
    import mlflow

    first = registry.register_candidate(candidate_of(tmp_path / "a", 2.0))
    done = registry.promote("toy-candidate", first.version, by="ann", reason="better")
    served = registry.fetch(done.uri)
    assert float(next(served.rglob("factor.txt")).read_text()) == 2.0
    (kept,) = (home / "mlartifacts").rglob("factor.txt")
    kept.write_text("200.0")
    shutil.rmtree(served)
    with pytest.raises(InputError, match="toy-v1: its files are no longer those that were promoted"):
        registry.fetch_champion("toy")
    assert not list((home / "models" / "registry").glob("toy-v*")), "nothing half-checked is left to be served"
    assert (
        registry.champion("toy") == done and mlflow.MlflowClient().get_model_version("toy", "1").tags["content_sha256"]
    )
    kept.write_text("2.0")
    assert registry.fetch_champion("toy") == served


def test_a_gate_that_did_not_pass_needs_an_override(home: Path, tmp_path: Path) -> None:
    failed = {"gate_passed": "False", "gate_reasons": "shift by name: 0.03, NOT PASSED"}
    registry.register_candidate(replace(candidate_of(tmp_path / "a", 2.0), tags=failed))
    registry.register_candidate(replace(candidate_of(tmp_path / "b", 3.0), tags={"gate_passed": "true"}))
    with pytest.raises(InputError, match=r"did not pass: shift by name.*--override"):
        registry.promote("toy-candidate", "1", by="Reviewer", reason="looks fine")
    assert registry.champion("toy") is None
    assert main(["registry", "promote", "toy-candidate", "1", "--by", "R", "--reason", "read it", "--override"]) == 0
    tags = registry.show("toy")["versions"][0]["tags"]
    assert tags["gate_overridden"] == "by R: read it" and tags["gate_passed"] == "False"
    registry.promote("toy-candidate", "2", by="R", reason="better", override=True)
    assert "gate_overridden" not in registry.show("toy")["versions"][0]["tags"]  # it passed: nothing was overridden
    assert registry.run_address("abc") is None  # no server, no page


def test_a_tag_that_promoted_nothing_stops_no_rejection(home: Path, tmp_path: Path) -> None:
    from ml.tracking import client

    first = registry.register_candidate(candidate_of(tmp_path / "a", 2.0))
    client().set_model_version_tag(first.name, first.version, "review", "approved")
    registry.reject(first.name, first.version, by="ann", reason="worse")
    assert client().get_model_version(first.name, first.version).tags["review"] == "rejected"
    client().set_model_version_tag(first.name, first.version, "review", " Rejected")
    with pytest.raises(InputError, match="it was rejected"):
        registry.promote(first.name, first.version, by="ann", reason="better")


def test_a_long_card_is_shown_in_part_and_kept_whole() -> None:
    card = "\n\n".join(f"paragraph {i} " + "word " * 60 for i in range(40))
    shown = registry._shown(card)
    assert len(shown) <= 5000 and "model_card.md" in shown and card.startswith(shown.split("\n\n**The whole")[0])
    assert registry._shown("short") == "short"
