"""What is done once after an installation: failures are told, and Java is given the archive of classes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from flashsale import java
from tests.conftest import ROOT


@pytest.fixture()
def prepare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prepare", ROOT / "scripts" / "prepare.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_step_that_fails_is_told_and_named(prepare: ModuleType) -> None:
    told = prepare._step(prepare.modules, "flashsale.times", "no_such_module_of_ours")
    assert told.startswith("modules: ") and "no_such_module_of_ours" in told
    assert prepare._step(prepare.modules, "flashsale.times") == ""


def test_every_process_of_the_platform_begins_where_modules_are_compiled(prepare: ModuleType) -> None:
    for name in " ".join(prepare.ENTRIES).split():
        assert importlib.util.find_spec(name.split(".")[0]) is not None, name


def test_java_maps_the_archive_of_classes_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "spark-classes.jsa"
    monkeypatch.setattr(java, "class_archive", lambda: archive)
    assert "SharedArchiveFile" not in java.java_options({})["JDK_JAVA_OPTIONS"]
    archive.touch()
    given = java.java_options({})["JDK_JAVA_OPTIONS"].split()
    # a word of warning on stdout would stand where spark-submit's first process answers its second
    assert f"-XX:SharedArchiveFile={archive}" in given and {"-Xshare:auto", "-Xlog:disable"} < set(given)
    assert java.java_options({"JDK_JAVA_OPTIONS": "-Xmx1g"}) == {"JDK_JAVA_OPTIONS": "-Xmx1g"}
