"""A replay from files as a stranger delivers them, without regions, traffic and texts, down to the bytes of its plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from flashsale.errors import InputError
from flashsale.lake import Lake
from flashsale.plan_limits import plan_limits
from flashsale.plans import explain_cell, what_if
from flashsale.replay.run import replay
from flashsale.request import load_request
from ml.text import model
from ml.text.train import seed_everything
from tests.ml.text.conftest import tiny_base  # noqa: F401  a fixture of another room: a BERT made on the spot

FILES = ("allocation_recommendations.parquet", "campaign_scores.parquet", "plan.json")


@pytest.fixture(scope="module")
def bare(small_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The four streams that must be there, in three formats, one in parts."""
    folder = tmp_path_factory.mktemp("bare")
    for stream in ("catalog", "campaigns"):
        pacsv.write_csv(pq.read_table(small_shop / f"{stream}.parquet"), folder / f"{stream}.csv")
    orders = pq.read_table(small_shop / "orders.parquet")
    (folder / "orders" / "2026").mkdir(parents=True)
    half = orders.num_rows // 2
    pq.write_table(orders.slice(0, half), folder / "orders" / "2026" / "a.parquet")
    pq.write_table(orders.slice(half), folder / "orders" / "b.parquet")
    stock = pq.read_table(small_shop / "inventory.parquet").to_pylist()
    (folder / "inventory.jsonl").write_text("\n".join(json.dumps(r, default=str) for r in stock))
    return folder


@pytest.fixture(scope="module")
def replayed(bare: Path, small_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("replayed") / "out"
    replay(bare, small_shop / "sale_request.yaml", out, with_text=False, seed=5)
    return out


def test_it_plans_scores_and_says_what_is_lost(replayed: Path, small_shop: Path) -> None:
    request = load_request(small_shop / "sale_request.yaml")
    plan = pq.read_table(replayed / FILES[0])
    scores = pq.read_table(replayed / FILES[1]).to_pylist()
    said = json.loads((replayed / FILES[2]).read_text())
    assert plan.num_rows == len(request.skus) * len(request.regions)
    listed = {r["sku_id"]: float(r["list_price"]) for r in pq.read_table(small_shop / "catalog.parquet").to_pylist()}
    limits = plan_limits(plan, request, {sku: (price, float("inf")) for sku, price in listed.items()}).to_pylist()
    assert all(row["used"] <= row["most"] for row in limits)
    assert len({r["campaign_id"] for r in scores}) == said["past_sales"]["scored"] == 10
    assert set(said["missing_streams"]) == {"regions", "traffic"}
    assert said["text"]["used"] is False
    assert said["plan"]["units"] == sum(plan["allocate_units"].to_pylist())
    assert said["plan"]["bound"] >= said["plan"]["expected_profit"] - 0.01
    assert said["demand_model"]["gate"].keys() == {"passed", "reasons"}
    assert (replayed / "timings.json").is_file()


def test_the_same_input_gives_the_same_bytes(replayed: Path, bare: Path, small_shop: Path, tmp_path: Path) -> None:
    replay(bare, small_shop / "sale_request.yaml", tmp_path / "again", with_text=False, seed=5)
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (replayed / name).read_bytes(), name


def test_its_plan_answers_questions(replayed: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in replayed.rglob("*") if path.is_file()}
    row = pq.read_table(replayed / FILES[0]).to_pylist()[0]
    told = explain_cell(str(replayed), row["sku_id"], row["region_id"])
    assert row["explanation"] in told["words"] and told["allocate_units"] == row["allocate_units"]
    with pytest.raises(InputError, match="what-if"):
        what_if(str(replayed), ["skus.*.supply_units=1"])
    assert "min_service" in capfd.readouterr().err  # one unit cannot serve a fifth of what the first region wants
    found = what_if(str(replayed), ["skus.*.supply_units=1", "regions.*.min_service=0"])
    assert found["before"]["units"] == json.loads((replayed / FILES[2]).read_text())["plan"]["units"]
    assert found["after"]["units"] <= len({r["sku_id"] for r in found["rows"]})
    assert "In total" in capfd.readouterr().err
    with pytest.raises(InputError, match="not in it"):
        explain_cell(str(replayed), "no-such-sku", row["region_id"])
    assert before == {path: path.read_bytes() for path in replayed.rglob("*") if path.is_file()}


def test_a_missing_required_stream_is_named(bare: Path, small_shop: Path, tmp_path: Path) -> None:
    events = tmp_path / "events"
    events.mkdir()
    for path in bare.iterdir():
        if path.stem != "inventory":
            (events / path.name).symlink_to(path)
    with pytest.raises(InputError, match="stream inventory"):
        replay(events, small_shop / "sale_request.yaml", tmp_path / "out", with_text=False, seed=5)


def test_texts_are_scored_once_and_counted_in(small_shop: Path, tiny_base: Path, tmp_path: Path) -> None:  # noqa: F811
    """Every stream of the shop, its texts cleaned by Spark and scored by an untrained model made on the spot."""
    folder = tmp_path / "model"
    seed_everything(3)
    model.save(model.build(tiny_base), tiny_base, folder, max_tokens=48)
    out = tmp_path / "out"
    asked, work = small_shop / "sale_request.yaml", tmp_path / "work"
    replay(small_shop, asked, out, with_text=True, text_model=folder, seed=5, work=work)
    said = json.loads((out / FILES[2]).read_text())
    assert said["missing_streams"] == {}
    assert said["text"]["used"] is True and 0 < said["text"]["different"] <= said["text"]["texts"]
    assert said["demand_model"]["with_text"] is True
    assert said["plan"]["text_worth_low"] <= said["plan"]["text_worth"] <= said["plan"]["text_worth_high"]
    rows = pq.read_table(out / FILES[0])
    titles = Lake(str(work / "lake")).read("text/titles")["title"].to_pylist()
    assert len(titles) == len(set(titles)) > 0
    kept = pq.read_table(out / "plan_inputs" / "rows.parquet")
    assert kept["title_vector"].null_count == 0 and set(kept["title"].to_pylist()) <= set(titles)
    assert rows["text_model_version"].null_count == 0 and sum(rows["allocate_units"].to_pylist()) > 0


@pytest.mark.parametrize(
    ("stream", "change", "words"),
    [
        ("inventory", {"on_hand": -3}, "on_hand"),
        ("campaigns", {"sku_id": "ghost"}, "ghost was offered"),
        ("catalog", {"currency": "EUR"}, "money of two currencies"),
    ],
)
def test_records_no_plan_can_rest_on_leave_nothing_behind(
    bare: Path, small_shop: Path, tmp_path: Path, stream: str, change: dict[str, Any], words: str
) -> None:
    events = tmp_path / "events"
    events.mkdir()
    for path in bare.iterdir():
        if path.stem != stream:
            (events / path.name).symlink_to(path)
    rows = pq.read_table(small_shop / f"{stream}.parquet").to_pylist()
    rows[0] |= change
    (events / f"{stream}.jsonl").write_text("\n".join(json.dumps(row, default=str) for row in rows))
    with pytest.raises(InputError, match=words):
        replay(events, small_shop / "sale_request.yaml", tmp_path / "out", with_text=False, seed=5)
    assert not (tmp_path / "out").exists()


def test_schema_of_the_plan_is_the_lakes(replayed: Path) -> None:
    from flashsale.decision_tables import ALLOCATION_RECOMMENDATIONS, CAMPAIGN_SCORES

    found: list[pa.Schema] = [pq.read_schema(replayed / name) for name in FILES[:2]]
    assert found == [ALLOCATION_RECOMMENDATIONS, CAMPAIGN_SCORES]
