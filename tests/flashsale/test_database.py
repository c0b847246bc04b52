"""The embedded PostgreSQL ends before `stop` returns, and a file that outlived its server stops nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from flashsale.errors import InputError
from flashsale.local import database


def test_stop_returns_when_the_server_is_gone(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    database.start(tmp_path / "link")
    server = database._running(tmp_path / "link" / "postgres" / "postmaster.pid")
    assert server is not None and server.is_running()
    database.stop(tmp_path / "link")
    assert not psutil.pid_exists(server.pid) and not (tmp_path / "postgres" / "postmaster.pid").exists()
    database.stop(tmp_path)  # nothing is left to stop


def test_a_file_that_outlived_its_server_is_taken_away(tmp_path: Path) -> None:
    note = tmp_path / "postgres" / "postmaster.pid"
    note.parent.mkdir()
    for said in ("999999999\n/x\n", f"{os.getpid()}\n/x\n", "broken"):
        note.write_text(said)
        database.stop(tmp_path)
        assert not note.exists(), said


def test_a_server_that_does_not_stop_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = tmp_path / "postgres" / "postmaster.pid"
    note.parent.mkdir()
    stubborn = [sys.executable, "-c", "import time; time.sleep(60)", str(note.parent)]
    with subprocess.Popen(stubborn) as process:
        note.write_text(f"{process.pid}\n{note.parent}\n")
        monkeypatch.setattr(database, "_LONGEST_STOP_S", 0.5)
        try:
            with pytest.raises(InputError, match=f"does not stop.*{process.pid}"):
                database.stop(tmp_path)
            assert note.exists(), "its files are in use"
        finally:
            process.kill()
