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
    decision_arguments,
    default_args,
    every,
)
from flashsale_plugins.operators import CommandOperator
from flashsale_plugins.review import ReviewOperator

decision = decision_arguments("review")

with DAG(
    dag_id="train_text_model",
    doc_md=__doc__,
    schedule=every("train_text_model", "0 4 * * 1"),
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
    review = ReviewOperator(
        task_id="review",
        subject="Text model candidate {{ ti.xcom_pull(task_ids='train')['version'] }}: make it champion?",
        body="{% set t = ti.xcom_pull(task_ids='train') %}"
        "Gate passed: **{{ t['gate']['passed'] }}** {{ t['gate'].get('reasons', '') }}\n\n"
        "{% for name, value in t['metrics'].items() %}- {{ name }}: {{ value }}\n{% endfor %}",
    )
    record = CommandOperator(
        task_id="record",
        command=[
            "python",
            "-m",
            "ml",
            "registry",
            "{{ 'promote' if " + decision["approved"] + " else 'reject' }}",
            "flashsale-text-candidate",
            "{{ ti.xcom_pull(task_ids='train')['version'] }}",
            "--by",
            decision["by"],
            "--reason",
            decision["reason"],
        ],
    )
    train >> review >> record
