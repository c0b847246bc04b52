"""Who may write what on an MLflow server with logins: a training its candidates, a reviewer the champions.

Whoever makes a registered model or an experiment in MLflow owns it, and anybody with a login may make one of a name
that is free. So the platform's own are made here, by the administrator, before the trainer has a login: it may then
write candidates and runs, and reads the champions.
"""

from __future__ import annotations

import os
from typing import Any

from flashsale.errors import InputError
from flashsale.registered import EXPERIMENTS, PASSWORD, USERNAME, trainer_login
from flashsale.settings import settings
from ml.registry import CANDIDATE
from ml.tracking import asked, client, experiment_id

#: Write runs, files and versions; neither delete them nor give rights away.
WRITES = "EDIT"
READS = "READ"


def give_rights() -> dict[str, Any]:
    """Make models, experiments and the trainer's login where they are missing, and set its rights and password.

    Runs as MLflow's administrator (`MLFLOW_TRACKING_USERNAME`). Again changes nothing. Raises InputError where there is
    no server, no trainer's login is set, or it is the administrator's.
    """
    user, password = _login()
    for model in EXPERIMENTS:
        for name in (model, f"{model}{CANDIDATE}"):
            if asked(lambda name=name: client().get_registered_model(name)) is None:  # type: ignore[misc]
                client().create_registered_model(name)
    experiments = {name: experiment_id(name) for name in sorted(set(EXPERIMENTS.values()))}

    from mlflow.server import get_app_client

    users = get_app_client("basic-auth", settings().tracking_uri)
    if asked(lambda: users.get_user(user)) is None:
        users.create_user(user, password)
    else:
        users.update_user_password(user, password)
    for model in EXPERIMENTS:
        _set(users, user, "registered_model", model, READS)
        _set(users, user, "registered_model", f"{model}{CANDIDATE}", WRITES)
    for identifier in experiments.values():
        _set(users, user, "experiment", identifier, WRITES)
    return {
        "user": user,
        "writes": [f"{model}{CANDIDATE}" for model in EXPERIMENTS],
        "reads": list(EXPERIMENTS),
        "experiments": sorted(experiments),
    }


def _set(users: Any, user: str, kind: str, identifier: str, right: str) -> None:
    """Make `right` what the user may do. A grant is never replaced by another, so one that differs is taken back."""
    held = users.get_user_permission(user, kind, identifier).permission
    if held == right:
        return
    asked(lambda: users.revoke_user_permission(user, kind, identifier))  # none there: the default was what it had
    if users.get_user_permission(user, kind, identifier).permission != right:
        users.grant_user_permission(user, kind, identifier, right)


def _login() -> tuple[str, str]:
    if not settings().tracking_uri.startswith("http"):
        remedy = "set FLASHSALE_MLFLOW_TRACKING_URI to an MLflow server that runs with basic-auth"
        raise InputError("MLflow rights", "a registry without a server has no logins", remedy)
    login = trainer_login(os.environ)
    if login is None:
        raise InputError("MLflow rights", "there is no login to give them to", f"set {USERNAME} and {PASSWORD}")
    if login[0] == os.environ.get("MLFLOW_TRACKING_USERNAME"):
        raise InputError("MLflow rights", "the trainer is the administrator", "give trainings a login of their own",
                         field=USERNAME)  # fmt: skip
    return login
