"""Start and stop the local stack: PostgreSQL, Airflow's four parts, MLflow, and the simulated shop."""

from __future__ import annotations

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import requests

from flashsale.errors import InputError
from flashsale.local import database
from flashsale.local.airflow_api import AirflowApi
from flashsale.local.environment import ADMIN, Ports, environment
from flashsale.local.processes import Processes
from flashsale.local.secret import secret
from flashsale.settings import settings

AIRFLOW_PARTS = ("scheduler", "dag-processor", "triggerer")
#: What a loop without deferred tasks needs: since Airflow 3.3 a review waits without a triggerer.
LOOP_PARTS = ("scheduler", "dag-processor")


def port_is_free(port: int) -> bool:
    """Nothing listens on the loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).status_code < 500
    except requests.RequestException:
        return False


class Stack:
    """The processes of one home folder.

    Args:
        home: folder that holds everything the stack writes.
        ports: loopback ports.
        users: logins of Airflow; each gets a password of its own.
        extra: variables over the environment of every process.
        parts: Airflow's parts beside the api-server.
    """

    def __init__(
        self,
        home: Path,
        ports: Ports,
        *,
        users: tuple[str, ...] = (ADMIN,),
        extra: dict[str, str] | None = None,
        parts: tuple[str, ...] = AIRFLOW_PARTS,
    ) -> None:
        self.home, self.ports, self.users, self.extra, self.parts = home, ports, users, extra or {}, parts
        self.processes = Processes(home)
        self.environment: dict[str, str] = {}

    def start(self) -> None:
        """Start PostgreSQL, migrate, start Airflow and MLflow side by side, give the trainer its rights, wait."""
        for name, port in asdict(self.ports).items():
            if not port_is_free(port):
                raise InputError("port", f"{port} is taken", f"set FLASHSALE_{name.upper()}_PORT to a free one")
        databases = database.start(self.home)
        self.environment = environment(self.home, databases, self.ports, self.users) | self.extra
        self._start_mlflow(databases["mlflow"])
        self._migrate()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda step: step(), [self._start_airflow, self._ready_mlflow]))

    def _command(self, program: str, *arguments: str) -> list[str]:
        return [str(Path(sys.executable).parent / program), *arguments]

    def _migrate(self) -> None:
        done = subprocess.run(
            self._command("airflow", "db", "migrate"), env=self.environment, capture_output=True, text=True
        )
        if done.returncode:
            raise InputError("airflow db migrate", done.stderr.strip()[-800:], "check the metadata database")

    def _start_airflow(self) -> None:
        port = str(self.ports.airflow)
        api = self._command("airflow", "api-server", "--host", "127.0.0.1", "--port", port, "--workers", "1")
        self.processes.start("api-server", api, self.environment)
        for part in self.parts:
            self.processes.start(part, self._command("airflow", part), self.environment)
        url = f"http://127.0.0.1:{port}/api/v2/monitor/health"
        self.processes.wait("api-server", lambda: _answers(url), 120)
        self.processes.wait("scheduler", lambda: self.api().healthy(), 120)
        self.api().create_pools()

    def _start_mlflow(self, uri: str) -> None:
        port, folder = self.ports.mlflow, self.home / "mlflow"
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "basic_auth.ini"
        config.write_text(
            "[mlflow]\ndefault_permission = READ\n"
            f"database_uri = sqlite:///{folder / 'users.db'}\nadmin_username = {ADMIN}\n"
            "auth_cache_ttl_seconds = 600\n"  # a password check costs a third of a second, by design; not a call each
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        )
        env = self.environment | {
            "MLFLOW_AUTH_CONFIG_PATH": str(config),
            "MLFLOW_AUTH_ADMIN_PASSWORD": secret(self.home, "mlflow-admin.password"),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # background jobs are for features we do not use
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secret(self.home, "mlflow-server.key"),
        }
        command = self._command(
            "mlflow",
            "server",
            "--app-name",
            "basic-auth",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            "1",
            "--allowed-hosts",
            f"127.0.0.1:{port},localhost:{port}",
            "--backend-store-uri",
            uri.replace("postgresql://", "postgresql+psycopg2://", 1),
            "--artifacts-destination",
            str(folder / "artifacts"),
        )
        self.processes.start("mlflow", command, env)

    def _ready_mlflow(self) -> None:
        self.processes.wait("mlflow", lambda: _answers(f"http://127.0.0.1:{self.ports.mlflow}/health"), 120)
        command = [sys.executable, "-m", "ml", "registry", "rights"]  # this room cannot import mlflow
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            raise InputError("ml registry rights", done.stderr.strip()[-800:], "read mlflow.log in the logs folder")

    def start_marketplace(self, folder: Path) -> None:
        """Serve the simulated shop's folder over HTTP, behind a token."""
        token = secret(self.home, "marketplace.token")
        command = [
            sys.executable,
            "-m",
            "marketplace",
            "serve",
            "--dir",
            str(folder),
            "--port",
            str(self.ports.marketplace),
        ]
        self.processes.start("marketplace", command, self.environment | {"MARKETPLACE_TOKEN": token})
        url = f"http://127.0.0.1:{self.ports.marketplace}/healthz"
        self.processes.wait("marketplace", lambda: _answers(url), 60)

    def api(self, user: str = ADMIN) -> AirflowApi:
        """Airflow's REST API as one of the users."""
        return AirflowApi(f"http://127.0.0.1:{self.ports.airflow}", user, secret(self.home, f"airflow-{user}.password"))

    def stop(self) -> list[str]:
        """End everything this home's stack started, PostgreSQL last."""
        ended = self.processes.stop()
        database.stop(self.home)
        return ended


def up() -> dict[str, Any]:
    """Start the stack of the configured home with the simulated shop as its source; prints where to look."""
    home, ports = settings().home, Ports.configured()
    stack = Stack(home, ports)
    if stack.processes.running():
        return status()
    stack.stop()  # what a crash left behind
    shop = home / "shop"
    source = settings().source or f"http://127.0.0.1:{ports.marketplace}"
    stack.extra = {"FLASHSALE_SOURCE": source, "FLASHSALE_SOURCE_TOKEN": secret(home, "marketplace.token")}
    try:
        stack.start()
        if settings().source is None:
            if not (shop / "orders.parquet").exists():
                subprocess.run(
                    [sys.executable, "-m", "marketplace", "write", "--out", str(shop)],
                    check=True,
                    stdout=subprocess.DEVNULL,
                    env=stack.environment,
                )
            stack.start_marketplace(shop)
        stack.api().unpause_all()
    except BaseException:
        stack.stop()
        raise
    return status() | {
        "login": {
            "user": ADMIN,
            "airflow_password": secret(home, f"airflow-{ADMIN}.password"),
            "mlflow_password": secret(home, "mlflow-admin.password"),
        }
    }


def down() -> dict[str, Any]:
    """Stop everything `up` started and what a crashed demo left behind."""
    homes = [settings().home, *sorted((settings().home / "worlds").glob("*"))]
    return {"stopped": [name for home in homes for name in Stack(home, Ports.configured()).stop()]}


def status() -> dict[str, Any]:
    """What runs, and where to open it."""
    ports = Ports.configured()
    running = [s.name for s in Processes(settings().home).running()]
    return {
        "running": running,
        "airflow": f"http://127.0.0.1:{ports.airflow}",
        "mlflow": f"http://127.0.0.1:{ports.mlflow}",
        "marketplace": f"http://127.0.0.1:{ports.marketplace}",
    }
