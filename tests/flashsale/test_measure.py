"""Airflow's share of the demo's time is what no task's interval covers."""

from __future__ import annotations

from flashsale.local.measure import Timings, union_seconds


def test_overlaps_count_once() -> None:
    assert union_seconds([(0, 10), (5, 12), (20, 21), (20.5, 20.7)]) == 13
    assert union_seconds([]) == 0


def test_reviews_are_not_work() -> None:
    timings = Timings()
    timings.add_tasks(
        [
            {
                "dag_id": "d",
                "task_id": "train",
                "start_date": "2026-01-01T00:00:00Z",
                "end_date": "2026-01-01T00:01:00Z",
            },
            {
                "dag_id": "d",
                "task_id": "answer.approval",
                "start_date": "2026-01-01T00:01:00Z",
                "end_date": "2026-01-01T09:00:00Z",
            },
            {"dag_id": "d", "task_id": "skipped", "start_date": None, "end_date": None},
        ]
    )
    found = timings.summary(100.0)
    assert (found["tasks_s"], found["orchestration_s"], found["orchestration_share"]) == (60.0, 40.0, 0.4)
    assert found["tasks"] == {"d.train": 60.0}
