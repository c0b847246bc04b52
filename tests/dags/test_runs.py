"""Every DAG runs on small data in a real Airflow, from raw files to a published plan; then a backfill, twice."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from flashsale.errors import InputError
from flashsale.lake import Lake
from flashsale.local.demo import ALL_DAYS
from flashsale.local.runs import SETTLE_S, Driver
from flashsale.local.service import Stack
from tests.dags.watched import watch_and_replan

DEMAND = "flashsale-demand"

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def lake(stack: Stack) -> Lake:
    return Lake(str(stack.home / "lake"))


def states(stack: Stack, dag_id: str) -> dict[tuple[str, int], str]:
    newest = stack.api().runs(dag_id)[0]
    return {(t["task_id"], t["map_index"]): t["state"] for t in stack.api().tasks(dag_id, newest["dag_run_id"])}


def test_1_a_backfill_of_three_days_twice_gives_identical_hashes(stack: Stack, small_shop: Path, lake: Lake) -> None:
    api = stack.api()
    api.unpause("ingest_raw_events")
    first = pq.read_table(small_shop / "orders.parquet")["event_at"][0].as_py().date() + timedelta(days=5)
    hashes: list[dict[str, str]] = []
    for behaviour in ("none", "completed"):
        body = {
            "dag_id": "ingest_raw_events",
            "from_date": f"{first}T02:00:00Z",
            "to_date": f"{first + timedelta(days=2)}T02:00:00Z",
            "reprocess_behavior": behaviour,
            "max_active_runs": 1,
            "run_backwards": False,
            "dag_run_conf": {"late_days": 0},
        }
        backfill = api.call("POST", "/backfills", json=body)["id"]
        until = time.monotonic() + 900
        while api.call("GET", f"/backfills/{backfill}")["completed_at"] is None:
            assert time.monotonic() < until, api.runs("ingest_raw_events")
            time.sleep(2)
        runs = [r for r in api.runs("ingest_raw_events") if r["run_type"] == "backfill"]
        assert {r["state"] for r in runs} == {"success"} and len(runs) == 3
        hashes.append({f"{s}/{p}": m.content_hash for s in ("orders", "traffic", "inventory", "social_posts")
                       for p, m in lake.partitions(f"raw/{s}").items()})  # fmt: skip
    assert hashes[0] == hashes[1]
    days = {name.split("date=")[1] for name in hashes[0] if name.startswith("orders")}
    assert len(days) >= 3
    logs = (stack.home / "airflow" / "logs" / "dag_id=ingest_raw_events").rglob("task_id=load_stream/**/*.log")
    words = [path.read_text() for path in logs]
    # Importing Great Expectations writes such lines: the scheduler did it, before it forked these tasks.
    assert words and not any("Skipping registering function" in text for text in words)


def test_2_the_text_model_is_trained_reviewed_and_promoted(stack: Stack, driver: Driver, tiny_config: Path) -> None:
    stack.api().unpause("train_text_model")
    driver.run("text model", "train_text_model", {"config": str(tiny_config)})
    found = states(stack, "train_text_model")
    assert found.pop(("fold", -1)) == "skipped", "no folds were asked for"
    assert set(found.values()) == {"success"}


def test_3_events_flow_to_published_features(stack: Stack, driver: Driver, lake: Lake) -> None:
    api = stack.api()
    for dag in ("process_social_text", "build_features"):
        api.unpause(dag)
    since = driver.run("ingest", "ingest_raw_events", ALL_DAYS)
    driver.follow("text", "process_social_text", since)
    driver.follow("features", "build_features", since)
    assert states(stack, "process_social_text")[("serve", -1)] == "success"
    served = lake.read("text/served")["model_version"][0].as_py()
    clean, scored = lake.read("text/clean"), lake.read(f"text/scored/model_version={served}")
    assert scored.num_rows == clean.num_rows - clean["clean_text"].null_count > 0
    assert (stack.home / "warehouse" / "published.duckdb").exists()
    assert (stack.home / "data_docs" / "features" / "index.html").exists()


def test_4_the_demand_model_is_trained_reviewed_and_promoted(stack: Stack, driver: Driver) -> None:
    stack.api().unpause("train_demand_model")
    driver.run("demand model", "train_demand_model", {})
    assert set(states(stack, "train_demand_model").values()) == {"success"}


def test_4a_the_champion_is_rolled_back_by_form(stack: Stack) -> None:
    again = (
        "from ml.tracking import client\n"
        f"client().copy_model_version('models:/{DEMAND}-candidate/1', '{DEMAND}-candidate')"
    )
    command(stack, "-c", again)
    command(stack, "-m", "ml", "registry", "promote", f"{DEMAND}-candidate", "2", "--by=x", "--reason=y", "--override")
    assert champion_of(stack)["champion"] == "2"
    stack.api().unpause("roll_back_model")
    form = {"model": DEMAND, "reason": "-3% live"}
    run = stack.api("reviewer").trigger("roll_back_model", f"back-{datetime.now(UTC):%H%M%S}", form)
    wait_for_end(stack, "roll_back_model", run)
    found = champion_of(stack)
    assert found["champion"] == "1"
    tags = found["versions"][0]["tags"]
    assert (tags["rolled_back_by"], tags["rolled_back_reason"]) == ("reviewer", "-3% live")
    with pytest.raises(InputError, match="400|422"):  # a form without a reason starts nothing
        stack.api("reviewer").trigger("roll_back_model", "no-reason", {"model": DEMAND, "reason": ""})


def test_5_a_rejected_plan_is_kept_and_not_published(stack: Stack, lake: Lake) -> None:
    api = stack.api()
    api.unpause("post_sale")
    run = api.trigger("post_sale", f"rejected-{datetime.now(UTC):%H%M%S}", {})
    reviews = wait_for_review(stack, "post_sale")
    stack.api("reviewer").answer_review(reviews[0], "Reject", "too many units for the north")
    wait_for_end(stack, "post_sale", run)
    plan = newest_plan(lake)
    assert {r["status"] for r in plan} == {"rejected"}
    assert plan[0]["decided_by"] == "reviewer" and plan[0]["reason"] == "too many units for the north"
    assert lake.read("decisions/campaign_scores").num_rows > 0


def test_6_running_twice_scores_nothing_again(stack: Stack, lake: Lake) -> None:
    before = {p: m.content_hash for p, m in lake.partitions("decisions/campaign_scores").items()}
    run = stack.api().trigger("post_sale", f"again-{datetime.now(UTC):%H%M%S}", {})
    wait_for_end(stack, "post_sale", run)
    assert {p: m.content_hash for p, m in lake.partitions("decisions/campaign_scores").items()} == before
    assert states(stack, "post_sale")[("score", -1)] == "skipped"


def test_7_a_running_sale_is_watched_and_replanned_to_its_end(stack: Stack, lake: Lake, tmp_path: Path) -> None:
    watch_and_replan(stack, lake, tmp_path)


def command(stack: Stack, *words: str) -> str:
    """What a Python command prints, with the stack's own environment."""
    done = subprocess.run([sys.executable, *words], env=stack.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def champion_of(stack: Stack) -> dict[str, Any]:
    """What `registry show` says of the demand model."""
    said = command(stack, "-m", "ml", "registry", "show", DEMAND)
    return dict(json.loads(said.strip().splitlines()[-1]))


def wait_for_review(stack: Stack, dag_id: str) -> list[dict[str, Any]]:
    until = time.monotonic() + 300
    while time.monotonic() < until:
        found = [r for r in stack.api().waiting_reviews() if r["task_instance"]["dag_id"] == dag_id]
        if found:
            time.sleep(SETTLE_S)
            return found
        time.sleep(1)
    raise AssertionError([(t, s) for t, s in states(stack, dag_id).items()])


def wait_for_end(stack: Stack, dag_id: str, run_id: str) -> None:
    until = time.monotonic() + 300
    while time.monotonic() < until:
        state = stack.api().call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"]
        if state == "success":
            return
        assert state != "failed", states(stack, dag_id)
        time.sleep(1)
    raise AssertionError(states(stack, dag_id))


def newest_plan(lake: Lake) -> list[dict[str, Any]]:
    rows = lake.read("decisions/allocation_recommendations").to_pylist()
    assert rows
    return list(rows)
