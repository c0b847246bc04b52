"""### After a sale: score it, plan the next one

Scores every sale that has ended and has no score for the current data: what it brought against what would have
happened without it, and reads what prices drawn by lot say about demand. Then answers each open sale request with a
plan (units of each SKU to each region, price, promotion, hour), audits the plan against its limits and asks a planner.
An approved plan is published; a rejected one is kept with the reason.

*By form*: name a request to plan it alone, or ask for all sales to be scored again.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param, task, task_group

from flashsale_plugins.audit import AuditOperator
from flashsale_plugins.dag_parts import (
    FEATURES,
    RECOMMENDATIONS,
    START,
    Pool,
    Tag,
    decision_words,
    default_args,
)
from flashsale_plugins.operators import CommandOperator, refresh_marts
from flashsale_plugins.review import ReviewOperator

PLAN = "{{ ti.xcom_pull(task_ids='answer.plan', map_indexes=ti.map_index)['plan_id'] }}"

with DAG(
    dag_id="post_sale",
    doc_md=__doc__,
    schedule=[FEATURES],
    start_date=START,
    catchup=False,
    max_active_runs=1,
    default_args=default_args(),
    tags=[Tag.DECISIONS],
    params={
        "request_id": Param(
            None,
            type=["null", "string"],
            title="Sale request",
            description="Plan this request alone, even if planned",
        ),
        "rescore": Param(False, type="boolean", title="Score every ended sale again"),
    },
):
    unconstrain = CommandOperator(
        task_id="unconstrain", pool=Pool.HEAVY, command=["python", "-m", "ml", "demand", "unconstrain"]
    )
    open_work = CommandOperator(
        task_id="open_work",
        command=[
            "python",
            "-m",
            "ml",
            "scoring",
            "pending",
            "{{ '--all' if params.rescore else '' }}",
            "{{ '--request-id=' ~ params.request_id if params.request_id else '' }}",
        ],
    )

    @task
    def score_commands(work: dict[str, list[str]]) -> list[list[str]]:
        """One command a batch of sales."""
        return [["python", "-m", "ml", "scoring", "score", "--campaigns", batch] for batch in work["batches"]]

    @task
    def plan_requests(work: dict[str, list[str]]) -> list[str]:
        """The requests to answer."""
        return work["requests"]

    score = CommandOperator.partial(task_id="score", pool=Pool.HEAVY).expand(command=score_commands(open_work.output))

    @task_group
    def answer(request_id: str) -> None:
        """Plan → audit → ask a planner → record → publish, for one request."""
        plan = CommandOperator(
            task_id="plan",
            pool=Pool.HEAVY,
            command=["python", "-m", "ml", "allocation", "plan", "--request-id", request_id],
        )
        audit = AuditOperator(task_id="audit", suite="recommendations", plan_id=PLAN)
        approval = ReviewOperator(
            task_id="approval",
            subject="Plan " + PLAN + ": send these units?",
            body="{% set p = ti.xcom_pull(task_ids='answer.plan', map_indexes=ti.map_index) %}"
            "{% for name, value in p.items() %}- {{ name }}: {{ value }}\n{% endfor %}",
        )
        record = CommandOperator(
            task_id="record",
            command=[
                "python",
                "-m",
                "ml",
                "allocation",
                "decide",
                "--plan-id",
                PLAN,
                *decision_words("answer.approval"),
            ],
        )
        publish = CommandOperator(
            task_id="publish",
            outlets=[RECOMMENDATIONS],
            command=["python", "-m", "ml", "allocation", "publish", "--plan-id", PLAN],
        )
        plan >> audit >> approval >> record >> publish

    answered = answer.expand(request_id=plan_requests(open_work.output))
    read_lots = CommandOperator(
        task_id="read_lots", trigger_rule="none_failed", command=["python", "-m", "ml", "scoring", "arms"]
    )

    unconstrain >> open_work
    score >> [answered, read_lots] >> refresh_marts()
