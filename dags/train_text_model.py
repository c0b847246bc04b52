"""### Fine-tune BERT on shop text

Fine-tunes the encoder's sentence head (sentiment, purchase intent) and token head (demand spans), evaluates on the
frozen test sets beside a TF-IDF baseline and the champion, and registers the version as
`flashsale-text-candidate`. A reviewer reads the figures, approves or rejects with a reason; an approved version
becomes the champion of `flashsale-text`.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param

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
    dag_id="train_text_model",
    doc_md=__doc__,
    schedule=at("train_text_model", "0 4 * * 1"),
    start_date=START,
    catchup=False,
    max_active_runs=1,
    default_args=default_args(),
    tags=[Tag.TEXT, Tag.MODELS],
    params={
        "config": Param(
            "full",
            type="string",
            title="Configuration",
            description="`full`, `demo` (two minutes on two cores) or the path of a YAML file",
            examples=["full", "demo"],
        ),
    },
):
    train = CommandOperator(
        task_id="train",
        pool=Pool.GPU,
        command=["python", "-m", "ml", "text", "train", "--config", "{{ params.config }}", "--register"],
    )
    review, record = review_of_candidate("flashsale-text", train_task="train", noun="Text model")
    train >> review >> record
