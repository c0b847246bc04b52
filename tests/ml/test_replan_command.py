"""The re-plan's commands on a lake of their own: from a published plan and the watch's minutes to a decision."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flashsale.decision_tables import REPLANS
from flashsale.errors import InputError
from flashsale.lake import Lake
from flashsale.live_tables import ALERTS, ALERTS_SET, MINUTES, MINUTES_SET, partition_of
from flashsale.settings import settings
from flashsale_plugins.audits import audit_replan
from ml.__main__ import main
from ml.allocation import store
from tests.ml.conftest import ShopFrames, run_command

ALLOCATION = ("allocation",)


def _lake() -> Lake:
    return Lake(settings().lake_uri)


def _published(capsys: pytest.CaptureFixture[str], shop: ShopFrames) -> pd.DataFrame:
    """The plan's rows, published."""
    name = run_command(capsys, *ALLOCATION, "plan", "--request-id", shop.request.request_id)["plan_id"]
    words = ["--decision", "approved", "--by", "planner", "--reason", "fits"]
    run_command(capsys, *ALLOCATION, "decide", "--plan-id", name, *words)
    run_command(capsys, *ALLOCATION, "publish", "--plan-id", name)
    return store.read_plan(name)


def _watch(rows: pd.DataFrame, hours: float, pace: dict[str, float]) -> pa.Table:
    """Minutes of a sale in which each region sells so many times what the plan's median had until then."""
    start = rows["starts_at"].max()
    records = []
    for row in rows.to_dict("records"):
        sold = min(round(row["demand_p50"] * hours / 24 * pace[row["region_id"]]), row["allocate_units"])
        at = np.floor((np.arange(sold) + 0.5) / max(sold, 1) * hours * 60)
        cell = {"sku_id": row["sku_id"], "region_id": row["region_id"], "topic": ""}
        records += [
            {**cell, "minute": start + pd.Timedelta(minutes=m), "units": int((at == m).sum())} for m in np.unique(at)
        ]
    records.append(
        {"sku_id": "", "region_id": "", "topic": "us", "minute": start + pd.Timedelta(hours=hours), "units": 0}
    )
    name = str(rows["plan_id"].iloc[0])
    fixed = {field.name: 0 for field in MINUTES if pa.types.is_integer(field.type)}
    table = [{**fixed, **r, "campaign_id": name, "on_hand": None, "rows_orders": int(r["units"] > 0)} for r in records]
    return pa.Table.from_pylist(table, schema=MINUTES)


def _write_minutes(rows: pd.DataFrame, hours: float, pace: dict[str, float]) -> None:
    name = str(rows["plan_id"].iloc[0])
    _lake().write(MINUTES_SET, partition_of(name), _watch(rows, hours, pace))


def _refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command says that ends with code 2, and that it wrote nothing."""
    before = dict(_lake().partitions("decisions/replans"))
    assert main([*ALLOCATION, *arguments]) == 2
    assert _lake().partitions("decisions/replans") == before
    return capsys.readouterr().err


def test_from_a_published_plan_to_a_decision(
    platform: ShopFrames,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    rows = _published(capsys, platform)
    name = str(rows["plan_id"].iloc[0])
    regions = [region.region_id for region in platform.request.regions]
    pace = dict(zip(regions, [3.0, 0.2, 1.0], strict=True))
    _write_minutes(rows, 5, pace)
    answer = run_command(capsys, *ALLOCATION, "replan", "--plan-id", name)
    assert answer["written"] and answer["gain"] > 0
    assert answer["units_moved"] + answer["price_changes"] > 0 and answer["price_changes"] <= 2
    table = _lake().read("decisions/replans", [f"replan_id={answer['replan_id']}"])
    assert table.schema.equals(REPLANS) and table["as_of"][0].as_py() == (
        rows["starts_at"].max() + pd.Timedelta(hours=5)
    )
    assert set(table["status"].to_pylist()) <= {"proposed", "unchanged"}
    assert run_command(capsys, *ALLOCATION, "replan", "--plan-id", name) == answer  # the same minute, the same re-plan
    assert _lake().read("decisions/replans").equals(table)
    audited = audit_replan(answer["replan_id"])
    assert audited["suite"] == "replan_limits"

    # its folder twin gives the same rows, and does not touch the lake
    folder = tmp_path / "sale"
    folder.mkdir()
    (folder / "inputs").symlink_to(store.kept_folder(name))
    pq.write_table(_lake().read(store.DATASET, [f"plan_id={name}"]), folder / "plan.parquet")
    pq.write_table(_lake().read(MINUTES_SET, [partition_of(name)]), folder / "minutes.parquet")
    alone = run_command(capsys, *ALLOCATION, "replan", "--in", str(folder))
    assert alone["gain"] == answer["gain"] and pq.read_table(folder / "replan.parquet").equals(table)

    applied = run_command(capsys, *ALLOCATION, "replan-apply", "--replan-id", answer["replan_id"])
    changed = sum(
        c != "none" and w for c, w in zip(table["change"].to_pylist(), table["within_limits"].to_pylist(), strict=True)
    )
    assert applied["applied"] == changed > 0
    assert run_command(capsys, *ALLOCATION, "replan-apply", "--replan-id", answer["replan_id"])["applied"] == changed
    assert not run_command(capsys, *ALLOCATION, "replan", "--plan-id", name)["written"]  # what was applied stands

    _write_minutes(rows, 8, pace)
    later = run_command(capsys, *ALLOCATION, "replan", "--plan-id", name)
    assert later["price_changes_before"] == answer["price_changes"]
    assert later["price_changes"] + later["price_changes_before"] <= 2
    audit_replan(later["replan_id"])
    decided = ["--decision", "approved", "--by", "planner", "--reason", "worth it"]
    assert "re-planned at" in _refused(capsys, "replan-decide", "--replan-id", answer["replan_id"], *decided)
    waiting = run_command(capsys, *ALLOCATION, "replan-open")["replans"]
    assert waiting == ([later["replan_id"]] if later["waits_for_a_person"] else [])
    if later["waits_for_a_person"]:
        assert "needs a person" in _refused(
            capsys,
            "replan-decide",
            "--replan-id",
            later["replan_id"],
            "--decision",
            "rejected",
            "--by",
            " ",
            "--reason",
            "x",
        )
        run_command(capsys, *ALLOCATION, "replan-decide", "--replan-id", later["replan_id"], *decided)
        own = _lake().read("decisions/replans", [f"replan_id={later['replan_id']}"]).to_pandas()
        assert set(own.loc[~own["within_limits"], "status"]) == {"approved"}
        assert run_command(capsys, *ALLOCATION, "replan-open")["replans"] == []


def test_what_cannot_be_re_planned_is_named_and_nothing_is_written(
    platform: ShopFrames,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    assert "'plan_id'" in _refused(capsys, "replan", "--plan-id", "nobody")
    name = run_command(capsys, *ALLOCATION, "plan", "--request-id", platform.request.request_id)["plan_id"]
    pace = {region.region_id: 1.0 for region in platform.request.regions}
    rows = store.read_plan(name)
    assert "the watch has written none" in _refused(capsys, "replan", "--plan-id", name)
    _write_minutes(rows, 3, pace)
    assert "it is proposed, not published" in _refused(capsys, "replan", "--plan-id", name)
    rows = _published(capsys, platform)
    length = 24 + (rows["starts_at"].max() - rows["starts_at"].min()) / pd.Timedelta(hours=1)
    for hours, words in ((-14.0, "no minute of it is closed"), (length, "it ended at")):
        _write_minutes(rows, hours, pace)
        assert words in _refused(capsys, "replan", "--plan-id", name)
    assert "the watch has written none" in _refused(capsys, "replan", "--plan-id", name, "--campaign-id", "other")
    assert "'least_gain'" in _refused(capsys, "replan", "--plan-id", name, "--least-gain", "-1")

    _write_minutes(rows, 3, pace)
    silent = {field.name: None for field in ALERTS} | {
        "campaign_id": name, "kind": "silent_source", "topic": "orders", "raised_at": rows["starts_at"].max() + pd.Timedelta(hours=6),
    }  # fmt: skip
    _lake().write(ALERTS_SET, partition_of(name), pa.Table.from_pylist([silent], schema=ALERTS))
    assert "no order has come since" in _refused(capsys, "replan", "--plan-id", name)

    inputs = tmp_path / "inputs"
    shutil.copytree(store.kept_folder(name), inputs)
    (inputs / "curves.parquet").unlink()
    _lake().write(ALERTS_SET, partition_of(name), ALERTS.empty_table())
    assert "'curves'" in _refused(capsys, "replan", "--plan-id", name, "--inputs", str(inputs))

    empty = tmp_path / "empty"
    empty.mkdir()
    assert "'plan.parquet'" in _refused(capsys, "replan", "--in", str(empty))
    other = rows.assign(demand_p50=rows["demand_p50"] * 2 + 1)
    store.write_plan(name, other)
    assert "its demand is not what these inputs" in _refused(capsys, "replan", "--plan-id", name)


def test_the_gate_stops_a_re_plan_that_breaks_a_limit(platform: ShopFrames, capsys: pytest.CaptureFixture[str]) -> None:
    rows = _published(capsys, platform)
    name = str(rows["plan_id"].iloc[0])
    _write_minutes(rows, 5, {region.region_id: 1.0 for region in platform.request.regions})
    answer = run_command(capsys, *ALLOCATION, "replan", "--plan-id", name)
    table = _lake().read("decisions/replans", [f"replan_id={answer['replan_id']}"])
    more = pa.array([units + 1 for units in table["units_after"].to_pylist()], pa.int64())
    at = REPLANS.get_field_index("units_after")
    _lake().write(
        "decisions/replans", f"replan_id={answer['replan_id']}", table.set_column(at, REPLANS.field(at), more)
    )
    with pytest.raises(InputError, match="replan_limits audit"):
        audit_replan(answer["replan_id"])
    assert "do not add up" in _refused(capsys, "replan-apply", "--replan-id", answer["replan_id"])
    assert json.loads(json.dumps(answer)) == answer
