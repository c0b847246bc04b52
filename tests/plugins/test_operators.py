"""A command's login: a training's is the trainer's, and no password shows anywhere."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from flashsale.errors import InputError
from flashsale.registered import PASSWORD, TRAINER, USERNAME

WORDS = (
    "import json, os; print(json.dumps({n: os.environ.get('MLFLOW_TRACKING_' + n) for n in ('USERNAME', 'PASSWORD')}))"
)
COMMAND = ["python", "-c", WORDS]
ADMINS, TRAINERS = "the admin's secret", "the trainer's secret"


@pytest.fixture()
def logins(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": ADMINS,
                        USERNAME: TRAINER, PASSWORD: TRAINERS}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    return monkeypatch


def ran(**settings: Any) -> tuple[Any, Any]:
    from flashsale_plugins.operators import CommandOperator

    task = CommandOperator(task_id="t", command=COMMAND, **settings)
    return task, task.execute({})


def test_a_training_has_the_trainers_login_and_others_keep_theirs(logins: pytest.MonkeyPatch) -> None:
    assert ran(role=TRAINER)[1] == {"USERNAME": TRAINER, "PASSWORD": TRAINERS}
    assert ran()[1] == {"USERNAME": "admin", "PASSWORD": ADMINS}


def test_without_a_trainers_login_nothing_changes(logins: pytest.MonkeyPatch) -> None:
    logins.delenv(USERNAME), logins.delenv(PASSWORD)
    assert ran(role=TRAINER)[1] == {"USERNAME": "admin", "PASSWORD": ADMINS}
    logins.setenv(USERNAME, TRAINER)
    with pytest.raises(InputError, match=f"{PASSWORD} is not set"):
        ran(role=TRAINER)
    with pytest.raises(ValueError, match="no such role"):
        ran(role="admin")


def test_no_password_is_in_the_dag_the_tasks_page_or_its_log(
    logins: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from airflow.sdk import DAG
    from airflow.serialization.serialized_objects import DagSerialization

    from flashsale_plugins.operators import CommandOperator

    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        task = CommandOperator(task_id="t", command=["python", "-c", "print('{}')"], role=TRAINER)
        CommandOperator.partial(task_id="m", role=TRAINER).expand(command=[COMMAND])
    with caplog.at_level(logging.INFO):
        task.execute({})
    stored = json.dumps(DagSerialization.to_dict(dag), default=str)
    page = json.dumps({name: getattr(task, name) for name in task.template_fields})
    assert TRAINER in stored, "the role is kept"
    for secret in (ADMINS, TRAINERS):
        assert secret not in stored + page + caplog.text
