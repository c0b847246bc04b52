"""The registered models of the platform, and as whom a training writes to MLflow: who trains cannot promote."""

from __future__ import annotations

from collections.abc import Mapping

from flashsale.errors import InputError

#: Every model that has a champion, and the MLflow experiment of its trainings.
EXPERIMENTS = {"flashsale-text": "flashsale-text", "flashsale-demand": "demand"}

#: Role of a task that trains, and MLflow's login of that role where the stack makes one.
TRAINER = "trainer"
USERNAME = "FLASHSALE_MLFLOW_TRAINER_USERNAME"
PASSWORD = "FLASHSALE_MLFLOW_TRAINER_PASSWORD"


def trainer_login(environment: Mapping[str, str]) -> tuple[str, str] | None:
    """The trainer's user and password in MLflow; None where none is set, as on a registry without a server.

    Raises InputError where one of the two is missing: a training would then run with more rights than it should.
    """
    user, password = environment.get(USERNAME, ""), environment.get(PASSWORD, "")
    if not user and not password:
        return None
    if not user or not password:
        missing = PASSWORD if user else USERNAME
        raise InputError("MLflow login of trainings", f"{missing} is not set", "set both, or neither", field=missing)
    return user, password


def as_trainer(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that trains: MLflow's login is the trainer's; as it was where there is none."""
    login = trainer_login(environment)
    if login is None:
        return dict(environment)
    return {**environment, "MLFLOW_TRACKING_USERNAME": login[0], "MLFLOW_TRACKING_PASSWORD": login[1]}
