"""Runs in MLflow: where they are kept, opened, watched and described."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from flashsale.errors import InputError
from flashsale.settings import settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")
#: MLflow's words for "there is none": a missing alias and a version that is no number are the second. A page that a
#: proxy answers with (404, 400, 403) has other codes.
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


def git_commit() -> str:
    """The commit that this code runs from, `unknown` outside a repository."""
    folder = Path(__file__).parent
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def requirements_of(*packages: str) -> list[str]:
    """Return `name==version` for installed packages, without local version parts such as `+cpu`."""
    from importlib.metadata import version

    return [f"{package}=={version(package).split('+')[0]}" for package in packages]


def client() -> MlflowClient:
    """An MLflow client on the platform's tracking address, which becomes the process's own too."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # task logs are no terminals
    import mlflow

    uri = settings().tracking_uri
    settings().home.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    return mlflow.MlflowClient(uri)


def asked(question: Callable[[], T]) -> T | None:
    """What MLflow answers, or None where it has no such thing.

    Raises InputError where it did not answer or refused: that says nothing about what it has.
    """
    from mlflow.exceptions import MlflowException

    try:
        return question()
    except MlflowException as error:
        if error.error_code in _ABSENT:
            return None
        words = re.sub(r"//[^/@\s]*@", "//", str(error))[:400]  # an address may hold a password
        remedy = "see that MLflow runs where FLASHSALE_MLFLOW_TRACKING_URI says and that its login is right"
        raise InputError("registry", f"it gave no answer ({error.error_code}): {words}", remedy) from error


def experiment_id(name: str) -> str:
    """The experiment of that name, made where it is missing.

    Without a server MLflow would put artifacts under the working folder, which differs from task to task;
    ours lie under the platform's home. A server keeps its own artifact root.
    """
    api = client()
    found = api.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    served = settings().tracking_uri.startswith("http")
    location = None if served else (settings().home / "mlartifacts" / name).as_uri()
    return str(api.create_experiment(name, artifact_location=location))


@contextmanager
def open_run(experiment: str, params: Mapping[str, Any]) -> Iterator[str]:
    """Open a run before its training begins, so that it can be watched; yields its id.

    A run that ends by an error is marked as failed; one that was killed stays as running, and registers nothing.
    """
    api = client()
    run_id = str(api.create_run(experiment_id(experiment), tags={"git_commit": git_commit()}).info.run_id)
    for name, value in params.items():
        api.log_param(run_id, name, value)
    try:
        yield run_id
    except BaseException:
        api.set_terminated(run_id, "FAILED")
        raise
    api.set_terminated(run_id, "FINISHED")


def live_metrics(run_id: str) -> Callable[[Mapping[str, float], int], None]:
    """A function that adds figures to a run's curves at a step."""
    from mlflow.entities import Metric

    api = client()

    def log(figures: Mapping[str, float], step: int) -> None:
        now = int(datetime.now(UTC).timestamp() * 1000)
        api.log_batch(run_id, metrics=[Metric(f"live.{k}", float(v), now, step) for k, v in figures.items()])

    return log


@contextmanager
def run_of(run_id: str | None, experiment: str, tags: Mapping[str, str]) -> Iterator[Any]:
    """The open run of that id with tags added, or a new one that ends with the block."""
    import mlflow

    if run_id is None:
        with mlflow.start_run(experiment_id=experiment, tags=dict(tags)) as run:
            yield run
        return
    api = client()
    for name, value in tags.items():
        api.set_tag(run_id, name, value)
    with mlflow.start_run(run_id=run_id) as run:
        yield run
    api.update_run(run_id, "RUNNING")  # whoever opened it ends it
