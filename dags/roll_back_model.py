"""### Roll a model back

Gives the alias `champion` back to the version that the champion replaced. By form only: name the model and say why; who
started the run is stored with the decision. A version that was itself rolled back is not gone back to: promote the
candidate you want instead. The last task shows the versions and their tags as they are then.

**champion** reads which version is to give way, so that **roll_back** may be tried again and moves the alias once.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param

from flashsale.registered import EXPERIMENTS
from flashsale_plugins.dag_parts import START, Tag, default_args
from flashsale_plugins.operators import CommandOperator

SHOW = ["python", "-m", "ml", "registry", "show", "{{ params.model }}"]

with DAG(
    dag_id="roll_back_model",
    doc_md=__doc__,
    schedule=None,
    start_date=START,
    catchup=False,
    max_active_runs=1,
    default_args=default_args(),
    tags=[Tag.MODELS],
    params={
        "model": Param(
            type="string",
            enum=list(EXPERIMENTS),
            title="Model",
            description="Its champion gives way to the version that it replaced",
        ),
        "reason": Param(
            type="string",
            minLength=3,
            title="Reason",
            description="Why; it is stored with the version that gives way",
        ),
    },
):
    champion = CommandOperator(task_id="champion", command=SHOW)
    roll_back = CommandOperator(
        task_id="roll_back",
        command=[
            *["python", "-m", "ml", "registry", "rollback", "{{ params.model }}"],
            "--champion={{ ti.xcom_pull(task_ids='champion')['champion'] or '' }}",
            # in one word each: a reason may begin with a dash, and a run that nobody started has no name
            "--by={{ dag_run.triggering_user_name or '' }}",
            "--reason={{ params.reason }}",
        ],
    )
    shown = CommandOperator(task_id="show", command=SHOW)
    champion >> roll_back >> shown
