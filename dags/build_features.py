"""### Feature tables

Brings committed partitions into the warehouse, runs `dbt build` (models, unit tests, data tests), audits the
features with Great Expectations and publishes the result in one step: readers never see a half-built table.
"""

from __future__ import annotations

from airflow.sdk import DAG

from flashsale_plugins.audit import AuditOperator
from flashsale_plugins.dag_parts import FEATURES, RAW_EVENTS, START, TEXT_SIGNALS, Pool, Tag, default_args
from flashsale_plugins.operators import CommandOperator

with DAG(
    dag_id="build_features",
    doc_md=__doc__,
    schedule=(RAW_EVENTS & TEXT_SIGNALS),
    start_date=START,
    catchup=False,
    max_active_runs=1,
    default_args=default_args(pool=Pool.WAREHOUSE),
    tags=[Tag.FEATURES],
):
    load = CommandOperator(task_id="load", command=["python", "-m", "flashsale", "warehouse", "load"])
    build = CommandOperator(task_id="build", command=["python", "-m", "flashsale", "warehouse", "build"])
    audit = AuditOperator(task_id="audit", suite="features")
    publish = CommandOperator(
        task_id="publish", command=["python", "-m", "flashsale", "warehouse", "publish"], outlets=[FEATURES]
    )
    load >> build >> audit >> publish
