"""The environment that makes Airflow, MLflow and the jobs one platform on this machine."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from flashsale.java import java_options
from flashsale.local.secret import secret
from flashsale.registered import PASSWORD, TRAINER, USERNAME

ROOT = Path(__file__).parents[2]
ADMIN = "admin"


@dataclass(frozen=True)
class Ports:
    """Loopback ports of the UIs."""

    airflow: int = 8080
    mlflow: int = 5000
    marketplace: int = 8085

    @classmethod
    def configured(cls) -> Ports:
        """Ports of `FLASHSALE_AIRFLOW_PORT`, `FLASHSALE_MLFLOW_PORT`, `FLASHSALE_MARKETPLACE_PORT`."""
        return cls(**{n: int(os.environ.get(f"FLASHSALE_{n.upper()}_PORT", d)) for n, d in vars(cls()).items()})


def _airflow(home: Path, database: str, port: int, users: tuple[str, ...]) -> dict[str, str]:
    passwords = home / "airflow" / "passwords.json"
    passwords.parent.mkdir(parents=True, exist_ok=True)
    passwords.touch(mode=0o600)
    passwords.write_text(json.dumps({user: secret(home, f"airflow-{user}.password") for user in users}))
    return {
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": os.environ.get("FLASHSALE_PARALLELISM", "3"),
        "AIRFLOW__CORE__FERNET_KEY": secret(home, "airflow.fernet", fernet=True),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:admin" for user in users),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database.replace("postgresql://", "postgresql+psycopg2://", 1),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__SECRET_KEY": secret(home, "airflow-api.key"),
        "AIRFLOW__API_AUTH__JWT_SECRET": secret(home, "airflow.jwt"),
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "1",
        # how long a worker may outlive a task that waits for a review, see `flashsale.local.runs.SETTLE_S`
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps(
            {"conn_type": "spark", "host": os.environ.get("FLASHSALE_SPARK_MASTER", "local[*]")}
        ),
    }


def environment(
    home: Path, databases: dict[str, str], ports: Ports, users: tuple[str, ...] = (ADMIN,)
) -> dict[str, str]:
    """Variables of every process of the stack, over the caller's own."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    mlflow = {
        "MLFLOW_TRACKING_USERNAME": ADMIN,
        "MLFLOW_TRACKING_PASSWORD": secret(home, "mlflow-admin.password"),
        USERNAME: TRAINER,
        PASSWORD: secret(home, "mlflow-trainer.password"),
        "FLASHSALE_MLFLOW_TRACKING_URI": f"http://127.0.0.1:{ports.mlflow}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    mine = {
        "FLASHSALE_HOME": str(home),
        "PATH": path,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "",  # every task is a process: without kept bytecode each compiles Airflow anew
        "TZ": "UTC",
        "GX_ANALYTICS_ENABLED": "false",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
    }
    if os.environ.get("FLASHSALE_SPARK_MASTER", "local").startswith("local"):
        mine["SPARK_LOCAL_IP"] = "127.0.0.1"  # on a cluster executors must reach the driver
    mine |= java_options(os.environ)
    return {**os.environ, **_airflow(home, databases["airflow"], ports.airflow, users), **mlflow, **mine}
