"""### Train the demand model

Corrects past sales for stock-outs, fits the demand model with calibrated intervals, backtests it in time order
beside the seed article's linear model and naive rules, and registers it as `flashsale-demand-candidate`. A reviewer
approves or rejects with a reason; an approved version becomes the champion of `flashsale-demand`.
"""

from __future__ import annotations

from airflow.sdk import DAG

from flashsale.registered import TRAINER
from flashsale_plugins.audit import AuditOperator
from flashsale_plugins.dag_parts import (
    START,
    Pool,
    Tag,
    at,
    default_args,
)
from flashsale_plugins.operators import CommandOperator
from flashsale_plugins.review import review_of_candidate

with DAG(
    dag_id="train_demand_model",
    doc_md=__doc__,
    schedule=at("train_demand_model", "0 6 * * 1"),
    start_date=START,
    catchup=False,
    max_active_runs=1,
    default_args=default_args(),
    tags=[Tag.DECISIONS, Tag.MODELS],
):
    audit = AuditOperator(task_id="audit", suite="features", published=True)
    unconstrain = CommandOperator(
        task_id="unconstrain", pool=Pool.HEAVY, command=["python", "-m", "ml", "demand", "unconstrain"]
    )
    train = CommandOperator(
        task_id="train",
        pool=Pool.HEAVY,
        role=TRAINER,
        command=["python", "-m", "ml", "demand", "train", "--register"],
    )
    review, record = review_of_candidate("flashsale-demand", train_task="train", noun="Demand model")
    audit >> unconstrain >> train >> review >> record
