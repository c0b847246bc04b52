"""A running sale in a real Airflow: watched from a folder, re-planned because its alerts ask, watched to its end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from flashsale.lake import Lake
from flashsale.live_tables import ALERTS_SET, ASKS_SET, MINUTES_SET, WATCHES_SET, partition_of
from flashsale.local.airflow_api import AirflowApi
from flashsale.local.runs import SETTLE_S
from flashsale.local.service import Stack

DAGS = ("watch_live_sale", "replan_live_sale", "review_replan")
HOURS = 5
#: Times the plan's median that its first region sells, and the others, by which units lie in the wrong place.
PACE = (3.0, 0.2)


def published_plan(stack: Stack, lake: Lake) -> pd.DataFrame:
    """Rows of a published plan for the stack's request: the one without text, for the other may have been decided."""
    request = lake.read("raw/sale_requests")["request_id"][0].as_py()
    name = _command(stack, "plan", "--request-id", request, "--without-text")["plan_id"]
    _command(stack, "decide", "--plan-id", name, "--decision", "approved", "--by", "planner", "--reason", "fits")
    _command(stack, "publish", "--plan-id", name)
    return lake.read("decisions/allocation_recommendations", [f"plan_id={name}"]).to_pandas()


def _command(stack: Stack, *words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "ml", "allocation", *words]
    done = subprocess.run(command, env=stack.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def begun(rows: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Orders of the sale's first hours, spread evenly, and a reading of each cell's stock at its start."""
    fast = min(rows["region_id"])
    orders, readings = [], []
    for at, row in enumerate(rows.to_dict("records")):
        cell = {"sku_id": row["sku_id"], "region_id": row["region_id"]}
        begins, sent = row["starts_at"], int(row["allocate_units"])
        readings.append(cell | {"event_id": f"i{at}", "event_at": begins.isoformat(), "on_hand": sent})
        sold = min(round(row["demand_p50"] * HOURS / 24 * PACE[row["region_id"] != fast]), sent)
        for unit, minute in enumerate((np.arange(sold) + 0.5) / max(sold, 1) * HOURS * 60):
            orders.append(order(cell, f"o{at}-{unit}", begins + pd.Timedelta(minutes=float(minute))))
    return {"orders": orders, "inventory": readings}


def order(cell: dict[str, str], name: str, at: pd.Timestamp) -> dict[str, Any]:
    """One unit, ordered."""
    return cell | {
        "event_id": name, "event_at": at.isoformat(), "order_id": name, "line_no": 1, "user_id": "u", "quantity": 1,
        "unit_price": "9.90", "paid_amount": "9.90", "status": "placed",
    }  # fmt: skip


def drop(source: Path, name: str, events: dict[str, list[dict[str, Any]]]) -> None:
    """Files of a stream each, whole by a rename."""
    for stream, rows in events.items():
        (source / stream).mkdir(parents=True, exist_ok=True)
        staged = source / f"{stream}-{name}.staged"
        staged.write_text("".join(json.dumps(row) + "\n" for row in rows))
        staged.rename(source / stream / f"{name}.jsonl")


def until(ready: Callable[[], Any], api: AirflowApi, limit_s: float = 180) -> Any:
    """What `ready` gives first; the states of all runs where it gives nothing in time, or one has failed."""
    ends = time.monotonic() + limit_s
    while time.monotonic() < ends:
        found = ready()
        if found:
            return found
        runs = [(dag, run) for dag in DAGS for run in api.runs(dag)]
        if any(run["state"] == "failed" for _, run in runs):
            break
        time.sleep(2)
    raise AssertionError([(d, t["task_id"], t["state"]) for d, r in runs for t in api.tasks(d, r["dag_run_id"])])


def has_ended(api: AirflowApi, dag_id: str) -> bool:
    """The DAG has run, and its newest run is a success."""
    runs = api.runs(dag_id)
    return bool(runs) and runs[0]["state"] == "success"


def answered(api: AirflowApi, stack: Stack) -> bool:
    """The re-plan's review has ended; what it asks is approved."""
    for review in api.waiting_reviews():
        if review["task_instance"]["dag_id"] == "review_replan":
            time.sleep(SETTLE_S)
            stack.api("reviewer").answer_review(review, "Approve", "worth it")
    return has_ended(api, "review_replan")


def watch_and_replan(stack: Stack, lake: Lake, place: Path) -> None:
    """Play a sale to the watch by files in `place`, and hold what the three DAGs leave in the lake to it."""
    api, plan = stack.api(), published_plan(stack, lake)
    name = str(plan["plan_id"].iloc[0])
    command = stack._command("airflow", "triggerer")  # it looks for the alerts that ask
    stack.processes.start("triggerer", command, stack.environment)
    for dag in DAGS:
        api.unpause(dag)
    first = begun(plan)
    drop(place, "0", first)
    api.trigger("watch_live_sale", f"sale-{datetime.now(UTC):%H%M%S}", {"plan_id": name, "source": str(place)})

    asked = until(lambda: lake.manifest(ASKS_SET, partition_of(name)), api)
    alerts = {row["alert_id"]: row for row in lake.read(ALERTS_SET, [partition_of(name)]).to_pylist()}
    assert alerts[lake.read_one(asked)["alert_id"][0].as_py()]["kind"] in ("demand_above_band", "demand_below_band",
                                                                           "stock_out", "stock_out_hazard")  # fmt: skip
    fast = min(plan["region_id"])
    assert {a["region_id"] for a in alerts.values() if a["kind"] == "stock_out"} == {fast}
    until(lambda: has_ended(api, "replan_live_sale"), api)
    api.pause("replan_live_sale")
    until(lambda: answered(api, stack), api)
    changes = [row for row in lake.read("decisions/replans").to_pylist() if row["change"] != "none"]
    assert changes and {row["plan_id"] for row in changes} == {name}
    assert {(row["within_limits"], row["status"]) for row in changes} <= {(True, "applied"), (False, "approved")}
    assert any(row["within_limits"] for row in changes)

    assert not lake.read(WATCHES_SET, [partition_of(name)])["is_over"][0].as_py()
    cell = {column: str(plan[column].iloc[0]) for column in ("sku_id", "region_id")}
    last = order(cell, "last", plan["ends_at"].max() + pd.Timedelta(minutes=3))
    drop(place, "1", {"orders": [last]})
    until(lambda: has_ended(api, "watch_live_sale"), api)
    assert lake.read(WATCHES_SET, [partition_of(name)])["is_over"][0].as_py()
    sold = Counter((row["sku_id"], row["region_id"]) for row in (*first["orders"], last))
    counted: Counter[tuple[str, str]] = Counter()
    for row in lake.read(MINUTES_SET, [partition_of(name)]).to_pylist():
        counted[row["sku_id"], row["region_id"]] += row["units"]
    assert +counted == sold
