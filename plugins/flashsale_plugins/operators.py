"""Operators: load one stream, run a command. Thin on purpose: what they run is tested without Airflow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from flashsale.pools import Pool
from flashsale.registered import TRAINER, as_trainer

if TYPE_CHECKING:
    from airflow.sdk import Context

ROOT = Path(__file__).parents[2]


def last_json_line(lines: Sequence[str]) -> dict[str, Any]:
    """The JSON object in the last non-empty line; an empty mapping where that line is something else."""
    for line in reversed(lines):
        if line.strip():
            try:
                found = json.loads(line)
            except ValueError:
                return {}
            return found if isinstance(found, dict) else {}
    return {}


class CommandOperator(BaseOperator):
    """Run a command of another room and hand its last line, a JSON object of counts and addresses, to XCom.

    Args:
        command: argument list (templated); `python` stands for this interpreter, no shell is involved.
        env: variables added to the task's own (templated).
        skip_exit_code: exit status that means "nothing to do here": the task is skipped.
        role: `trainer` runs the command with the trainer's login of MLflow, which cannot promote. It is read where the
            command starts, so that no password is in the DAG, the task's page, its log or XCom.
    """

    template_fields: Sequence[str] = ("command", "env")
    ui_color = "#e8f4fd"

    def __init__(
        self,
        *,
        command: list[str],
        env: dict[str, str] | None = None,
        skip_exit_code: int = 99,
        role: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if role not in (None, TRAINER):
            raise ValueError(f"no such role: {role!r}; there is {TRAINER!r}")
        self.command, self.env, self.skip_exit_code, self.role = command, env or {}, skip_exit_code, role

    def argv(self) -> list[str]:
        """The command as it is started: templated parts that came out empty are left out."""
        words = [str(w) for w in self.command if str(w) != ""]
        return [sys.executable if w == "python" else w for w in words]

    def execute(self, context: Context) -> dict[str, Any]:
        from airflow.sdk.exceptions import AirflowException, AirflowSkipException

        argv = self.argv()
        self.log.info("Running %s", " ".join(argv))
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        login = as_trainer(os.environ) if self.role == TRAINER else dict(os.environ)
        environment = {**login, "PATH": path, "PYTHONPATH": str(ROOT), **self.env}
        lines: list[str] = []
        with subprocess.Popen(
            argv, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=1
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                self.log.info("%s", line.rstrip())
        if process.returncode == self.skip_exit_code:
            raise AirflowSkipException(lines[-1].strip() if lines else "nothing to do")
        if process.returncode:
            raise AirflowException(f"exit status {process.returncode}: {''.join(lines[-3:]).strip()[-800:]}")
        return last_json_line(lines)


class IngestStreamOperator(BaseOperator):
    """Load one stream of the run's interval: pull → gate → commit or quarantine.

    Args:
        stream: name of the contract.
        start, end: bounds of the load (templated ISO 8601, end exclusive).
        late_days: days before `start` that are read again for late records (templated).
    """

    template_fields: Sequence[str] = ("stream", "start", "end", "late_days")
    ui_color = "#e6f7ea"

    def __init__(self, *, stream: str, start: str, end: str, late_days: str = "0", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stream, self.start, self.end, self.late_days = stream, start, end, late_days

    def execute(self, context: Context) -> dict[str, Any]:
        from datetime import UTC, datetime, timedelta

        from flashsale.lake import Lake
        from flashsale.settings import pseudonym_key, settings
        from flashsale.times import parse_utc
        from flashsale_plugins.ingest import Gatekeeper, ingest_stream, window_of

        found = settings()
        latest = datetime.now(UTC) + timedelta(minutes=found.max_future_minutes)
        keeper = Gatekeeper(Lake(found.lake_uri), pseudonym_key(), latest, found.docs_dir)
        window = window_of(parse_utc(self.start), parse_utc(self.end), int(self.late_days))
        outcome = ingest_stream(configured_source(), self.stream, window, keeper)
        days = outcome.pop("changed_days")
        outcome |= {
            "changed": len(days),
            "first_changed": min(days, default=None),
            "last_changed": max(days, default=None),
        }
        self.log.info("%s", outcome)
        return outcome


def configured_source() -> Any:
    """The source that `FLASHSALE_SOURCE` or the Airflow connection `flashsale_source` names."""
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    from flashsale.errors import InputError
    from flashsale.settings import settings
    from flashsale_plugins.sources import open_source

    if settings().source:
        return open_source(str(settings().source))
    try:
        connection = Connection.get("flashsale_source")
    except AirflowNotFoundException as error:
        raise InputError(
            "source", "no source is configured", "set FLASHSALE_SOURCE or the connection flashsale_source"
        ) from error
    return open_source(connection.get_uri(), token=connection.password)


def refresh_marts() -> CommandOperator:
    """The last task of a DAG that writes decisions: their marts are built and published again."""
    return CommandOperator(
        task_id="refresh_marts",
        pool=Pool.WAREHOUSE,
        trigger_rule="none_failed",
        command=["python", "-m", "flashsale", "warehouse", "refresh-decisions"],
    )
