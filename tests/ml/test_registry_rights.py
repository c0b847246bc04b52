"""Who may write what on a real MLflow server with logins: the trainer hands in and cannot promote."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flashsale.errors import InputError
from flashsale.local.environment import Ports, environment
from flashsale.local.service import Stack, free_port
from flashsale.registered import EXPERIMENTS, PASSWORD, TRAINER, USERNAME, as_trainer
from flashsale.settings import settings
from ml import registry, tracking
from ml.__main__ import main
from ml.registry_review import apply_tags
from ml.registry_rights import give_rights
from tests.ml.test_registry import candidate_of

pytestmark = [pytest.mark.server, pytest.mark.timeout(300)]
NAME = "flashsale-text"
TASTE = f"{NAME}-candidate"
As = Callable[[str], None]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack's own MLflow, on SQLite, with its two logins."""
    home = tmp_path_factory.mktemp("server")
    ports = Ports(free_port(), free_port(), free_port())
    one = Stack(home, ports)
    one.environment = environment(home, {"airflow": "postgresql://nobody@127.0.0.1/airflow"}, ports)
    try:
        one._start_mlflow(f"sqlite:///{home / 'mlflow.db'}")
        one._ready_mlflow()
        yield one
    finally:
        one.processes.stop()


@pytest.fixture()
def become(stack: Stack, home: Path, monkeypatch: pytest.MonkeyPatch) -> As:
    """Makes this process one that `admin` or `trainer` started."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")

    def to(who: str) -> None:
        mine = as_trainer(stack.environment) if who == TRAINER else stack.environment
        for name in ("FLASHSALE_MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD",
                     USERNAME, PASSWORD):  # fmt: skip
            monkeypatch.setenv(name, mine[name])
        settings.cache_clear()
        assert os.environ["MLFLOW_TRACKING_USERNAME"] == who

    return to


def state() -> list[Any]:
    """What the registry holds of the model, to compare."""
    return [registry.show(name) for name in (NAME, TASTE)]


def test_the_models_named_are_those_that_are_trained() -> None:
    from ml.demand import cli as demand
    from ml.text import handin

    assert EXPERIMENTS == {handin.MODEL: handin.EXPERIMENT, demand.NAME: demand.EXPERIMENT}
    assert {handin.CANDIDATE, demand.CANDIDATE} == {f"{name}{registry.CANDIDATE}" for name in EXPERIMENTS}


def test_a_trainer_hands_in_and_cannot_promote(become: As, tmp_path: Path) -> None:
    from mlflow.exceptions import MlflowException

    handed_in = replace(candidate_of(tmp_path / "a", 2.0), name=TASTE, experiment=EXPERIMENTS[NAME])
    become(TRAINER)
    with tracking.open_run(
        handed_in.experiment, {"batch": 8}
    ) as run_id:  # as a training does: open, watched, handed in
        tracking.live_metrics(run_id)({"loss": 0.5}, 1)
        card = tmp_path / "table.csv"
        card.write_text("a\n1\n")
        first = registry.register_candidate(
            replace(handed_in, files=[card], run_id=run_id, tags={"gate_passed": "true"})
        )
    second = registry.register_candidate(replace(handed_in, params={}, metrics={"loss": 0.2}))
    assert (first.version, second.version) == ("1", "2") and registry.champion(NAME) is None
    assert registry.show(TASTE)["versions"][1]["tags"]["gate_passed"] == "true"

    become("admin")
    assert registry.promote(TASTE, "1", by="Ann", reason="first").label == f"{NAME}-v1"
    before = state()
    become(TRAINER)
    assert registry.champion(NAME).run_id == first.run_id  # type: ignore[union-attr]
    assert (registry.fetch(NAME) / registry.VERSION_FILE).is_file(), "it compares itself with the champion"
    api = tracking.client()
    for refused in (
        lambda: api.copy_model_version(f"models:/{TASTE}/2", NAME),
        lambda: api.create_model_version(NAME, source=f"models:/{TASTE}/2"),
        lambda: api.set_registered_model_alias(NAME, registry.CHAMPION, "1"),
        lambda: api.delete_registered_model_alias(NAME, registry.CHAMPION),
        lambda: api.set_model_version_tag(NAME, "1", "replaced", "1"),
        lambda: api.rename_registered_model(NAME, "mine"),
        lambda: api.delete_registered_model(NAME),
        lambda: api.delete_model_version(TASTE, "2"),
        lambda: registry.promote(TASTE, "2", by="Eve", reason="mine"),
    ):
        with pytest.raises(MlflowException, match="403|PERMISSION_DENIED|Permission denied"):
            refused()  # type: ignore[no-untyped-call]
    with pytest.raises(MlflowException, match="already exists"):
        api.create_registered_model(NAME)
    with pytest.raises(MlflowException, match="403|PERMISSION_DENIED|Permission denied"):
        api.set_registered_model_alias(NAME, registry.CHAMPION, "1")  # that failure gave no right either
    become("admin")
    assert state() == before

    become(TRAINER)  # why tags decide nothing by themselves: it may tag what it handed in
    for tag, value in {"review": "approved", "reviewed_by": "Ann", "review_reason": "r"}.items():
        api.set_model_version_tag(TASTE, "2", tag, value)
    with pytest.raises(MlflowException, match="403|PERMISSION_DENIED|Permission denied"):
        apply_tags(carry_out=True)
    become("admin")
    assert registry.show(NAME) == before[0], "no version, no alias, no tag of the champion's"
    assert [d["version"] for d in apply_tags()["decisions"]] == ["2"] and registry.show(NAME) == before[0]


def test_rights_are_given_again_without_a_change_but_the_password(
    become: As, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.server import get_app_client

    become("admin")
    first = give_rights()
    assert first == give_rights() and first["user"] == TRAINER and first["reads"] == list(EXPERIMENTS)
    users = get_app_client("basic-auth", settings().tracking_uri)
    for kind, name, right in (("registered_model", NAME, "READ"), ("registered_model", TASTE, "EDIT")):
        with contextlib.suppress(MlflowException):  # of what it only reads it holds nothing that could be taken back
            users.revoke_user_permission(TRAINER, kind, name)
        users.grant_user_permission(TRAINER, kind, name, "MANAGE")  # as if it had made the model itself
        give_rights()
        assert users.get_user_permission(TRAINER, kind, name).permission == right
    old = os.environ[PASSWORD]
    monkeypatch.setenv(PASSWORD, "another password of its own")
    assert main(["registry", "rights"]) == 0
    said = capsys.readouterr()
    assert "another password" not in said.out + said.err and old not in said.out + said.err
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", TRAINER)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "another password of its own")
        assert registry.show(NAME)["name"] == NAME
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", old)
        with pytest.raises(InputError, match=r"gave no answer \((UNAUTHENTICATED|CUSTOMER_UNAUTHORIZED)\)"):
            registry.champion(NAME)  # a wrong password is no missing champion
    finally:
        become("admin")
        give_rights()


def test_a_wrong_setting_of_the_logins_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="without a server has no logins"):
        give_rights()
    monkeypatch.setenv("FLASHSALE_MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    settings.cache_clear()
    with pytest.raises(InputError, match=f"set {USERNAME} and {PASSWORD}"):
        give_rights()
    monkeypatch.setenv(USERNAME, "admin")
    with pytest.raises(InputError, match=rf"{PASSWORD} is not set"):
        give_rights()
    monkeypatch.setenv(PASSWORD, "secret of the trainer")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    with pytest.raises(InputError, match="the trainer is the administrator"):
        give_rights()
