"""What every DAG must be: found, documented, tagged, owned, retried, and light to parse."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
EXPECTED = {
    "ingest_raw_events",
    "process_social_text",
    "build_features",
    "train_text_model",
    "train_demand_model",
    "post_sale",
    "watch_live_sale",
    "replan_live_sale",
    "review_replan",
    "roll_back_model",
}


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Any:
    os.environ["AIRFLOW_HOME"] = str(tmp_path_factory.mktemp("airflow"))
    os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(ROOT / "dags")
    os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(ROOT / "plugins")
    from airflow.dag_processing.dagbag import BundleDagBag

    return BundleDagBag(dag_folder=str(ROOT / "dags"), bundle_path=ROOT / "dags", bundle_name="dags")


def test_the_bag_is_what_the_design_says(bag: Any) -> None:
    assert bag.import_errors == {}
    assert set(bag.dags) == EXPECTED
    assert {p.stem for p in (ROOT / "dags").glob("*.py")} == EXPECTED


@pytest.mark.parametrize("dag_id", sorted(EXPECTED))
def test_policy(bag: Any, dag_id: str) -> None:
    dag = bag.dags[dag_id]
    assert Path(dag.fileloc).stem == dag_id
    assert dag.doc_md and dag.doc_md.startswith("###")
    assert dag.tags and dag.max_active_runs == 1 and dag.catchup is False
    for task in dag.tasks:
        assert task.owner == "flashsale", task.task_id
        assert task.retries >= 1, task.task_id
        waits_for_a_person = task.task_type == "ReviewOperator"
        assert (task.execution_timeout is None) == waits_for_a_person, task.task_id


def test_ingestion_has_an_interval(bag: Any) -> None:
    assert type(bag.dags["ingest_raw_events"].timetable).__name__ == "CronDataIntervalTimetable"


@pytest.mark.parametrize("dag_id", ["train_text_model", "train_demand_model"])
def test_a_training_does_not_start_when_it_is_switched_on(bag: Any, dag_id: str) -> None:
    """It trains on all data so far, at the next tick; switching the DAG on is no reason to start one."""
    timetable = bag.dags[dag_id].timetable
    assert type(timetable).__name__ == "CronTriggerTimetable"
    assert timetable.run_immediately is False


@pytest.mark.parametrize(
    "dag_id", ["process_social_text", "build_features", "post_sale", "replan_live_sale", "review_replan"]
)
def test_the_others_are_started_by_assets(bag: Any, dag_id: str) -> None:
    assert "Asset" in type(bag.dags[dag_id].timetable).__name__


def test_a_roll_back_is_asked_for_by_a_form_that_must_be_filled_in(bag: Any) -> None:
    from flashsale.registered import EXPERIMENTS

    dag = bag.dags["roll_back_model"]
    assert type(dag.timetable).__name__ == "NullTimetable"
    form = {name: dag.params.get_param(name) for name in dag.params}
    assert set(form) == {"model", "reason"} and not any(param.has_value for param in form.values())
    assert form["model"].schema["enum"] == list(EXPERIMENTS) and form["reason"].schema["minLength"] == 3
    assert all(param.schema["title"] and param.description for param in form.values())
    assert [task.task_id for task in dag.topological_sort()] == ["champion", "roll_back", "show"]


def test_who_registers_has_the_trainers_login_and_who_decides_has_not(bag: Any) -> None:
    """`--register` writes a candidate; a fold of the text model reads the champion with the same login."""
    roles = {}
    for dag in bag.dags.values():
        for task in dag.tasks:
            mapped = getattr(task, "partial_kwargs", {})
            roles[dag.dag_id, task.task_id] = mapped.get("role") or getattr(task, "role", None)
    registers = {(d, t.task_id) for d, dag in bag.dags.items() for t in dag.tasks if "--register" in _words(t)}
    assert registers == {("train_text_model", "train"), ("train_demand_model", "train")}
    assert {who for who, role in roles.items() if role} == {*registers, ("train_text_model", "fold")}
    assert {role for role in roles.values() if role} == {"trainer"}


def _words(task: Any) -> list[str]:
    command = getattr(task, "command", None)
    return command if isinstance(command, list) else []


def test_no_review_is_approved_by_default(bag: Any) -> None:
    reviews = [t for d in bag.dags.values() for t in d.tasks if t.task_type == "ReviewOperator"]
    assert {t.task_id for t in reviews} == {"review", "answer.approval"}
    assert all(t.defaults is None for t in reviews)


def test_pools_of_the_dags_exist(bag: Any) -> None:
    from flashsale.pools import POOL_SLOTS, Pool

    assert set(POOL_SLOTS) == set(Pool)
    assert {t.pool for d in bag.dags.values() for t in d.tasks} <= {"default_pool", *POOL_SLOTS}


def test_a_re_plan_does_not_wait_for_the_watch_that_asked_for_it(bag: Any) -> None:
    """The watch holds the one slot of its pool as long as the sale runs."""
    held = bag.dags["watch_live_sale"].get_task("watch").pool
    assert held not in {task.pool for task in bag.dags["replan_live_sale"].tasks}


def test_parsing_a_dag_imports_nothing_heavy() -> None:
    heavy = ["torch", "transformers", "pyspark", "mlflow", "great_expectations", "pandas", "ml"]
    script = (
        "import sys, runpy\n"
        "sys.path[:0] = ['dags', 'plugins', '.']\n"
        "import airflow.sdk, airflow.providers.standard.operators.hitl\n"
        "before = set(sys.modules)\n"
        f"[runpy.run_path(f'dags/{{d}}.py') for d in {sorted(EXPECTED - {'process_social_text'})!r}]\n"
        f"print([m for m in {heavy!r} if m in sys.modules and m not in before])"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]", time.monotonic() - began


def test_importing_a_dag_twice_gives_the_same_dag(bag: Any) -> None:
    """No `now()`, no random value: the serialized form is the same, or every parse would be a new version."""
    from airflow.dag_processing.dagbag import BundleDagBag
    from airflow.serialization.serialized_objects import DagSerialization

    again = BundleDagBag(dag_folder=str(ROOT / "dags"), bundle_path=ROOT / "dags", bundle_name="dags")
    for dag_id in EXPECTED:
        assert DagSerialization.to_dict(again.dags[dag_id]) == DagSerialization.to_dict(bag.dags[dag_id])
