"""What every test may ask for: a home of its own, a small simulated shop, real servers."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flashsale.java import java_options

ROOT = Path(__file__).parents[1]
# set before anything reads them: no test talks to a tracking service or depends on the machine's zone
os.environ.update({"TZ": "UTC", "GX_ANALYTICS_ENABLED": "false", "AIRFLOW__CORE__LOAD_EXAMPLES": "False"})
os.environ.update(java_options(os.environ))
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # two test processes share the cores: nobody spins while he waits

# A worker of pytest-xdist has a main module without a file, which pyspark takes for a doctest run and ends the process.
sys.modules["__main__"].__dict__.setdefault("__file__", __file__)


@pytest.fixture()
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh FLASHSALE_HOME; base models and archives come from the shared cache."""
    from flashsale.settings import settings

    for name in [n for n in os.environ if n.startswith("FLASHSALE_") and n != "FLASHSALE_CACHE"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FLASHSALE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FLASHSALE_CACHE", os.environ.get("FLASHSALE_CACHE", str(ROOT / ".flashsale")))
    settings.cache_clear()
    yield tmp_path / "home"
    settings.cache_clear()


@pytest.fixture(scope="session")
def small_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small simulated shop as a folder source: 6 SKUs, 3 regions, 10 past sales."""
    folder = tmp_path_factory.mktemp("shop") / "source"
    command = [
        "-m",
        "marketplace",
        "write",
        "--out",
        str(folder),
        "--skus",
        "6",
        "--regions",
        "3",
        "--sales",
        "10",
        "--days",
        "80",
        "--seed",
        "7",
    ]
    environment = {**os.environ, "FLASHSALE_HOME": os.environ.get("FLASHSALE_CACHE", str(ROOT / ".flashsale"))}
    subprocess.run([sys.executable, *command], check=True, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture(scope="session")
def server_home() -> Iterator[Path]:
    """A folder outside pytest's own: as root, PostgreSQL runs as another user, whom a second pytest locks out of that."""
    with tempfile.TemporaryDirectory(prefix="flashsale-test-", ignore_cleanup_errors=True) as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture(scope="session")
def postgres(server_home: Path) -> Iterator[str]:
    """A real PostgreSQL server of its own; the address of its maintenance database."""
    from flashsale.local import database

    folder = server_home / "pg"
    address = database.start(folder)["airflow"].rsplit("/airflow", 1)
    yield "/postgres".join(address)
    database.stop(folder)
