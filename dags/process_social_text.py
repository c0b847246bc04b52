"""### Clean and score social text

Spark cleans, masks and deduplicates the new days of reviews, posts and support messages, then scores them with the
champion of `flashsale-text`. Days that were scored by the same model version are left alone; a new champion scores
everything again. Without a champion the texts are cleaned and kept until `train_text_model` has one approved.

Beside that, terms that a day's texts say unusually often are found, by category (`text/trends`).

A sample of the newest day's scores is explained word by word and kept beside them (`FLASHSALE_EXPLAIN_TEXTS`,
`FLASHSALE_EXPLAIN_DAYS`); nothing waits for it. The catalog's titles are embedded by the same model, each once: they
tell the demand model which sold SKUs a new one is like.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import DAG, task

from flashsale_plugins.dag_parts import RAW_TEXT, START, TEXT_SIGNALS, Pool, Tag, default_args
from flashsale_plugins.operators import CommandOperator
from flashsale_plugins.spark import spark_job

with DAG(
    dag_id="process_social_text",
    doc_md=__doc__,
    schedule=[RAW_TEXT],
    start_date=START,
    catchup=False,
    max_active_runs=1,
    default_args=default_args(pool=Pool.HEAVY),
    tags=[Tag.TEXT],
):
    clean = SparkSubmitOperator(task_id="clean", **spark_job("clean_social_text.py"))
    detect_trends = SparkSubmitOperator(task_id="detect_trends", **spark_job("detect_trends.py"))
    fetch_champion = CommandOperator(
        task_id="fetch_champion",
        command=["python", "-m", "ml", "registry", "fetch", "flashsale-text"],
        skip_exit_code=2,
    )
    score = SparkSubmitOperator(
        task_id="score",
        **spark_job("score_social_text.py", "--model", "{{ ti.xcom_pull(task_ids='fetch_champion')['path'] }}"),
    )
    serve = CommandOperator(
        task_id="serve",
        command=[
            "python",
            "-m",
            "flashsale",
            "serve-text",
            "--model",
            "{{ ti.xcom_pull(task_ids='fetch_champion')['path'] }}",
        ],
    )

    explain = CommandOperator(
        task_id="explain",
        pool=Pool.HEAVY,
        command=[
            "python",
            "-m",
            "ml",
            "text",
            "explain-scored",
            "--model",
            "{{ ti.xcom_pull(task_ids='fetch_champion')['path'] }}",
        ],
    )

    embed_titles = CommandOperator(
        task_id="embed_titles",
        command=[
            "python",
            "-m",
            "ml",
            "text",
            "embed-titles",
            "--model",
            "{{ ti.xcom_pull(task_ids='fetch_champion')['path'] }}",
        ],
    )

    @task(outlets=[TEXT_SIGNALS], trigger_rule="none_failed")
    def announce(served: Any) -> Any:
        """Tell the features that text is in, scored or, before the first champion, only cleaned."""
        return served

    [clean, fetch_champion] >> score >> [serve, explain]
    fetch_champion >> embed_titles >> serve
    clean >> detect_trends
    announced = announce(serve.output)
    detect_trends >> announced
