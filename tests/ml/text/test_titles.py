"""Titles as vectors: each once for a model version, the same alone as among others, near where words are shared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from flashsale.errors import InputError
from flashsale.lake import Lake
from flashsale.settings import settings
from flashsale.tables import TITLES
from ml.__main__ import main
from ml.text import model, titles
from ml.text.scorer import Scorer
from ml.text.titles import embed, embed_titles

GOODS = ["the phone good", "the phone bad", "性价比很好"]


@pytest.fixture(scope="module")
def folder(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    model.save(model.build(tiny_base), tiny_base, path, max_tokens=48)
    return path


def catalog(*names: str) -> pa.Table:
    return pa.table({"sku_id": [f"s{i}" for i in range(len(names))], "title": list(names)})


def test_a_title_has_the_same_unit_vector_always(folder: Path) -> None:
    scorer = Scorer(folder, precision="fp32")
    found = embed(scorer, GOODS)
    assert found.dtype == np.dtype("<f2") and found.shape == (3, scorer.encoder.size)
    assert np.linalg.norm(found.astype(float), axis=1) == pytest.approx(1.0, abs=2e-3)
    assert embed(scorer, GOODS[:1]).tobytes() == found[0].tobytes()
    near = found.astype(float) @ found.astype(float).T
    assert near[0, 1] > near[0, 2]


@pytest.mark.usefixtures("home")
def test_each_title_is_embedded_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(settings().lake_uri)
    assert embed_titles(lake, str(folder), 1)["titles"] == 0  # no catalog yet
    lake.write("raw/catalog", "date=2026-03-01", catalog("the phone good", "the phone good", " "))
    first = embed_titles(lake, str(folder), 1)
    assert (first["titles"], first["embedded"]) == (1, 1)
    asked: list[str] = []
    plain = titles.embed
    monkeypatch.setattr(titles, "embed", lambda scorer, names: asked.extend(names) or plain(scorer, names))
    lake.write("raw/catalog", "date=2026-03-02", catalog("the phone bad", "the phone good"))
    second = embed_titles(lake, str(folder), 1)
    assert (second["titles"], second["embedded"], asked) == (2, 1, ["the phone bad"])
    rows = lake.read(TITLES, [f"model_version={second['model_version']}"]).to_pylist()
    assert [row["title"] for row in rows] == ["the phone bad", "the phone good"]
    assert rows[1]["vector"] == embed(Scorer(folder, precision="fp32"), ["the phone good"])[0].tobytes()
    assert embed_titles(lake, str(folder), 1)["embedded"] == 0


@pytest.mark.usefixtures("home")
def test_the_command_prints_what_it_did(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Lake(settings().lake_uri).write("raw/catalog", "date=2026-03-01", catalog(*GOODS))
    assert main(["text", "embed-titles", "--model", str(folder), "--threads", "1"]) == 0
    assert json.loads(capfd.readouterr().out)["embedded"] == 3
    with pytest.raises(InputError, match="no such folder"):
        embed_titles(Lake(settings().lake_uri), "nowhere", 1)
