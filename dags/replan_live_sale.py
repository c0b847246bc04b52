"""### Re-plan a running sale

Asked for by alerts of `watch_live_sale` (stock-out, its hazard, demand off the plan's band), at most every half hour
of the sale's time, or by form. **replan** reads what is left and what the sale so far says of its demand, moves units
between regions and changes at most `max_price_changes` prices along the lawful ladder, where that earns enough. The
result is audited against the plan's limits and applied: the approved plan allowed it. What goes beyond it waits in
`review_replan`, so that this DAG never waits for anybody.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param, task, task_group

from flashsale_plugins.audit import AuditOperator
from flashsale_plugins.dag_parts import REPLANS, START, Tag, default_args
from flashsale_plugins.operators import CommandOperator, refresh_marts
from flashsale_plugins.replan_asks import REPLAN_ASKED, replan_commands

REPLAN = "{{ ti.xcom_pull(task_ids='carry_out.replan', map_indexes=ti.map_index)['replan_id'] }}"

with DAG(
    dag_id="replan_live_sale",
    doc_md=__doc__,
    schedule=[REPLAN_ASKED],
    start_date=START,
    catchup=False,
    max_active_runs=1,
    default_args=default_args(execution_timeout=timedelta(minutes=30)),
    tags=[Tag.DECISIONS],
    params={
        "plan_id": Param(
            None,
            type=["null", "string"],
            title="Plan",
            description="The published plan of the running sale; empty: the sales whose alerts asked",
        ),
        "campaign_id": Param(
            None,
            type=["null", "string"],
            title="Sale",
            description="As which it is watched; empty: the plan's identifier",
        ),
    },
):

    @task
    def asked(params: Any = None, triggering_asset_events: Any = None) -> list[list[str]]:
        """One command a sale."""
        return replan_commands(params or {}, (triggering_asset_events or {}).values())

    @task_group
    def carry_out(command: list[str]) -> None:
        """Re-plan → audit → apply what the approved plan allowed, for one sale."""
        # not in the pool of heavy steps: the watch that asked holds its slot to the end of the sale
        replan = CommandOperator(task_id="replan", command=command)
        audit = AuditOperator(task_id="audit", suite="replans", plan_id=REPLAN)
        apply = CommandOperator(
            task_id="apply",
            outlets=[REPLANS],
            command=["python", "-m", "ml", "allocation", "replan-apply", "--replan-id", REPLAN],
        )
        replan >> audit >> apply

    carry_out.expand(command=asked()) >> refresh_marts()
