"""What every DAG shares: owner, retries, tags, pools, assets, schedules, the review form."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from airflow.sdk import Asset, CronDataIntervalTimetable, CronTriggerTimetable

from flashsale.pools import Pool as Pool

OWNER = "flashsale"
START = datetime(2025, 1, 1, tzinfo=UTC)


class Tag(StrEnum):
    """Tags of the DAG list: what a DAG is about."""

    INGEST = "ingest"
    TEXT = "text"
    FEATURES = "features"
    MODELS = "models"
    DECISIONS = "decisions"


RAW_EVENTS = Asset("flashsale://lake/raw/events")
RAW_TEXT = Asset("flashsale://lake/raw/text")
TEXT_SIGNALS = Asset("flashsale://lake/text/scored")
FEATURES = Asset("flashsale://warehouse/features")
RECOMMENDATIONS = Asset("flashsale://lake/decisions/allocation_recommendations")
REPLANS = Asset("flashsale://lake/decisions/replans")


def default_args(**changes: Any) -> dict[str, Any]:
    """Arguments of every task: owner, two retries with growing pauses, an upper bound of time."""
    retries = int(os.environ.get("FLASHSALE_TASK_RETRIES", "2"))
    return {
        "owner": OWNER,
        "retries": retries,
        "retry_delay": timedelta(seconds=20),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=10),
        "execution_timeout": timedelta(hours=6),
        **changes,
    }


def scheduled(dag_id: str) -> bool:
    """Whether the DAG keeps its schedule.

    `FLASHSALE_SCHEDULES` is `on` (the default), `off` (runs by hand only), or the names of the DAGs that keep theirs.
    """
    chosen = os.environ.get("FLASHSALE_SCHEDULES", "on")
    return chosen == "on" or dag_id in chosen.split(",")


def every(dag_id: str, cron: str) -> CronDataIntervalTimetable | None:
    """Data intervals between the cron's ticks, in UTC: what was recorded between them is what a run is about."""
    return CronDataIntervalTimetable(cron, timezone="UTC") if scheduled(dag_id) else None


def at(dag_id: str, cron: str) -> CronTriggerTimetable | None:
    """Runs at the cron's ticks, in UTC, the first one after the DAG is switched on; for work on all data so far."""
    return CronTriggerTimetable(cron, timezone="UTC") if scheduled(dag_id) else None


APPROVE, REJECT = "Approve", "Reject"


def decision_words(review_task: str) -> list[str]:
    """Arguments of a command that records what a review task of the same run was answered (templated)."""
    answer = decision_arguments(review_task)
    choice = "{{ 'approved' if " + answer["approved"] + " else 'rejected' }}"
    return ["--decision", choice, *said_by(answer)]


def said_by(answer: dict[str, str]) -> list[str]:
    """Who decided and why, as a command takes them: in one word each, since a reason may begin with a dash."""
    return [f"--by={answer['by']}", f"--reason={answer['reason']}"]


def decision_arguments(review_task: str) -> dict[str, str]:
    """Templates for the choice, the reviewer, the reason and the override of a review task in the same run (and map
    index).
    """
    pull = f"ti.xcom_pull(task_ids='{review_task}', map_indexes=ti.map_index if ti.map_index >= 0 else None)"
    return {
        "approved": f"({pull})['chosen_options'][0] == '{APPROVE}'",
        "by": "{{ (" + pull + ")['responded_by_user']['name'] }}",
        "reason": "{{ (" + pull + ")['params_input']['reason'] }}",
        "override": "{{ '--override' if (" + pull + ")['params_input'].get('override') else '' }}",
    }
