"""### Watch a running sale

Started by form when a sale begins. **watch** reads orders, traffic, stock and posts as they come (a folder, or Kafka
topics) and keeps `live/minutes`, `live/standing` and `live/alerts` of the sale in the lake; killed, it goes on from its
checkpoint. **deliver** hands new alerts to the webhook `flashsale_alert_webhook` and by mail while it runs.
Alerts have a reason and a severity: stock-out hazard, demand off its band, negative surge, silent source, bot flood.
The first two ask `replan_live_sale` for a re-plan.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import DAG, Param, task

from flashsale.settings import settings
from flashsale_plugins.alert_delivery import DeliverAlertsSensor
from flashsale_plugins.dag_parts import START, Pool, Tag, default_args
from flashsale_plugins.operators import CommandOperator
from flashsale_plugins.spark import spark_job

CAMPAIGN = "{{ params.campaign_id or params.plan_id }}"


def _flag(name: str, value: str) -> str:
    """`--name=value` where the form gives a value; an empty word otherwise, which the job leaves out."""
    return f"{{{{ '--{name}=' ~ {value} if {value} else '' }}}}"


with DAG(
    dag_id="watch_live_sale",
    doc_md=__doc__,
    schedule=None,
    start_date=START,
    catchup=False,
    max_active_runs=1,
    default_args=default_args(execution_timeout=timedelta(hours=80)),
    tags=[Tag.DECISIONS],
    params={
        "plan_id": Param(
            None,
            type=["null", "string"],
            title="Plan",
            description="The published plan that the sale carries out: its hours and its demand bands",
        ),
        "campaign_id": Param(None, type=["null", "string"], title="Sale", description="Empty: the plan's identifier"),
        "starts_at": Param(None, type=["null", "string"], format="date-time", description="Empty: the plan's"),
        "ends_at": Param(None, type=["null", "string"], format="date-time", description="Empty: the plan's"),
        "source": Param(
            "live",
            type="string",
            minLength=1,
            title="Source",
            description="A folder with a sub-folder a stream that files are moved into, or `kafka://host:port`",
        ),
        "topics": Param(
            None,
            type=["null", "string"],
            title="Topics",
            description="YAML file of words to watch posts for, `{topic: [word, …]}`: a brand, a rival, a fund",
        ),
        "mail_to": Param("", type="string", title="Mail to", description="Empty: no mail"),
        "once": Param(False, type="boolean", title="Read what is there and end"),
    },
):
    fetch_champion = CommandOperator(
        task_id="fetch_champion",
        command=["python", "-m", "ml", "registry", "fetch", "flashsale-text"],
        skip_exit_code=2,
    )
    watch = SparkSubmitOperator(
        task_id="watch",
        pool=Pool.HEAVY,
        trigger_rule="none_failed",
        **spark_job(
            "watch_live_sale.py",
            "--source={{ params.source }}",
            f"--checkpoint={settings().home}/checkpoints/{CAMPAIGN}",
            _flag("plan-id", "params.plan_id"),
            _flag("campaign-id", "params.campaign_id"),
            _flag("starts-at", "params.starts_at"),
            _flag("ends-at", "params.ends_at"),
            _flag("watch", "params.topics"),
            _flag("model", "(ti.xcom_pull(task_ids='fetch_champion') or {}).get('path')"),
            "{{ '--once' if params.once else '' }}",
        ),
    )
    deliver = DeliverAlertsSensor(
        task_id="deliver", campaign_id=CAMPAIGN, mail_to="{{ params.mail_to }}", poke_interval=5, mode="poke"
    )

    @task(trigger_rule="all_done")
    def close(campaign_id: str) -> None:
        """Say that the watch is over, however it ended, so that deliver ends too."""
        from flashsale.lake import Lake
        from flashsale.live_tables import mark_watch
        from flashsale.settings import settings

        mark_watch(Lake(settings().lake_uri), campaign_id, over=True)

    fetch_champion >> watch >> close(CAMPAIGN)
