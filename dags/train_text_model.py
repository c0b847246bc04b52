"""### Fine-tune BERT on shop text

Fine-tunes the encoder's sentence head (sentiment, purchase intent) and token head (demand spans), evaluates on the
frozen test sets beside a TF-IDF baseline and the champion, and registers the version as
`flashsale-text-candidate`. A reviewer reads the figures, approves or rejects with a reason; an approved version
becomes the champion of `flashsale-text`.

With *folds* the configuration is cross-validated first, a task a fold. With *teacher* a smaller model is made of an
existing one (configuration `small`). The run in MLflow is open while it trains: its curves are live there.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param, task

from flashsale.registered import TRAINER
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
            description="`full`, `small` (with a teacher), `demo` (minutes on two cores) or the path of a YAML file",
            examples=["full", "small", "demo"],
        ),
        "folds": Param(
            0,
            type="integer",
            minimum=0,
            maximum=10,
            title="Folds",
            description="Cross-validate the configuration first, in so many folds; 0 or 1 leaves it out",
        ),
        "base": Param(
            None,
            type=["null", "string"],
            title="Base model",
            description="`embedded`, a folder (say, of `text pretrain`) or a Hugging Face name; empty: the setting",
        ),
        "teacher": Param(
            None,
            type=["null", "string"],
            title="Teacher",
            description="A model to make a smaller one of, for example `flashsale-text`",
        ),
        "texts": Param(
            None,
            type=["null", "string"],
            title="Texts for the teacher",
            description="Path of a Parquet or JSON Lines file of texts that nobody judged; a teacher answers them",
        ),
        "labels": Param(
            None,
            type=["null", "string"],
            title="Label file",
            description="Path of a Parquet or JSON Lines file of labelled sentences of your own (docs/text_model.md)",
        ),
    },
):

    @task
    def fold_commands(params: Any = None) -> list[list[str]]:
        """A command a fold; none without cross-validation."""
        count = int(params["folds"])
        common = ["python", "-m", "ml", "text", "validate", "--track", "--config", params["config"]]
        common += [f"--{name}={params[name]}" for name in ("base", "labels") if params[name]]
        common += ["--folds", str(count)]
        return [[*common, "--fold", str(fold)] for fold in range(count)] if count > 1 else []

    folds = CommandOperator.partial(task_id="fold", pool=Pool.GPU, role=TRAINER).expand(command=fold_commands())
    train = CommandOperator(
        task_id="train",
        pool=Pool.GPU,
        role=TRAINER,
        trigger_rule="none_failed",
        command=[
            *["python", "-m", "ml", "text", "train", "--config", "{{ params.config }}", "--register"],
            *[
                f"{{{{ '--{name}=' ~ params.{name} if params.{name} else '' }}}}"
                for name in ("base", "teacher", "texts", "labels")
            ],
        ],
    )
    folds >> train
    review, record = review_of_candidate("flashsale-text", train_task="train", noun="Text model")
    train >> review >> record
