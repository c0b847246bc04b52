"""### Review a re-plan

What a re-plan of a running sale would do beyond the approved plan (more price changes than the request allows, units of
the supply that the plan kept back) waits here for a person, with its reasons and its expected gain. Only the newest
re-plan of a sale is asked about: an answer that comes after the next one is recorded nowhere, and asked again.
"""

from __future__ import annotations

from airflow.sdk import DAG, task, task_group

from flashsale_plugins.dag_parts import REPLANS, START, Tag, decision_words, default_args
from flashsale_plugins.operators import CommandOperator, refresh_marts
from flashsale_plugins.review import ReviewOperator

SHOWN = "ti.xcom_pull(task_ids='answer.show', map_indexes=ti.map_index)"

with DAG(
    dag_id="review_replan",
    doc_md=__doc__,
    schedule=[REPLANS],
    start_date=START,
    catchup=False,
    max_active_runs=1,
    default_args=default_args(),
    tags=[Tag.DECISIONS],
):
    open_work = CommandOperator(task_id="open_work", command=["python", "-m", "ml", "allocation", "replan-open"])

    @task
    def waiting(work: dict[str, list[str]]) -> list[str]:
        """The re-plans to ask about."""
        return work["replans"]

    @task_group
    def answer(replan_id: str) -> None:
        """Show → ask → record, for one re-plan."""
        show = CommandOperator(
            task_id="show", command=["python", "-m", "ml", "allocation", "replan-show", "--replan-id", replan_id]
        )
        approval = ReviewOperator(
            task_id="approval",
            subject="Re-plan {{ " + SHOWN + "['replan_id'] }}: do this beyond the approved plan?",
            body="{% set s = " + SHOWN + " %}Expected gain: {{ s.get('replan_gain') }} "
            "({{ s.get('replan_gain_low') }} to {{ s.get('replan_gain_high') }})\n\n"
            "{% for line in s['lines'] %}- {{ line }}\n{% endfor %}",
        )
        record = CommandOperator(
            task_id="record",
            skip_exit_code=2,  # re-planned since: its successor is asked about
            command=[
                "python",
                "-m",
                "ml",
                "allocation",
                "replan-decide",
                "--replan-id",
                replan_id,
                *decision_words("answer.approval"),
            ],
        )
        show >> approval >> record

    answer.expand(replan_id=waiting(open_work.output)) >> refresh_marts()
