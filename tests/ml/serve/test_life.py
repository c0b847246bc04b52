"""The service's life: it follows the champion, keeps the old model when the new one fails, drains on SIGTERM."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from flashsale.errors import InputError
from flashsale.settings import settings
from ml import registry
from ml.__main__ import main
from ml.serve.champion import Watch, load
from ml.serve.engine import Loaded
from ml.serve.server import listen
from ml.text import scorer as served
from ml.text.score import locate
from tests.conftest import ROOT
from tests.ml.serve.conftest import running, wait_for

NAME = "flashsale-text"


def hand_in(folder: Path) -> None:
    """Register a folder as a candidate and make it champion, on a real MLflow store."""
    frame = pd.DataFrame({"text": ["good"]})
    made = registry.register_candidate(
        registry.Candidate(
            name=f"{NAME}-candidate",
            experiment="t",
            script=Path(served.__file__),
            folder=folder,
            card="# c",
            input_example=frame,
            output_example=served.Scorer(folder).score(["good"]),
            requirements=["torch"],
        )
    )
    registry.promote(made.name, made.version, by="Reviewer", reason="test")


def test_the_champion_is_followed_and_a_broken_one_is_not(
    home: Path, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FLASHSALE_CACHE", str(home))  # fetched models are this test's own
    settings.cache_clear()
    hand_in(folders[0])
    started = threading.Event()
    hold = threading.Event()
    first = load(*locate(None), 1)

    def slow(texts: Sequence[str | None]) -> pd.DataFrame:
        started.set()
        hold.wait(20)
        return first.score(texts)

    with running(Loaded(slow, first.version)) as service, ThreadPoolExecutor(1) as pool:
        watch = Watch(service.service.engine, 0.2, 1)
        assert not watch.look() and re.fullmatch(rf"{NAME}-v1-[0-9a-f]{{8}}", first.version)
        under_way = pool.submit(service.score, "the battery good")
        started.wait(20)
        hand_in(folders[1])
        watch.start()  # from here on by itself
        wait_for(lambda: service.client.get("/v1/model").json()["model_version"].startswith(f"{NAME}-v2"))
        watch.stop(20)
        hold.set()
        old, new = under_way.result().json(), service.score("the battery good").json()
        assert old["model_version"] == first.version and new["model_version"].startswith(f"{NAME}-v2")
        wanted = served.Scorer(folders[1]).score(["the battery good"])["p_intent"][0]
        assert new["scores"][0]["p_intent"] == wanted != old["scores"][0]["p_intent"]
        assert service.metric("reloads_total") == 1
        version = new["model_version"]
        assert service.metric("model_info", version=version) == 1 and "-v1-" not in service.client.get("/metrics").text

        registry.rollback(NAME, by="Reviewer", reason="worse live")
        fetched = locate(NAME)[0]
        (fetched / "labels.json").write_text("{}")  # what lies on the disk is not what was registered
        assert not watch.look()
        assert service.metric("reload_failures_total", stage="load") == 1
        assert service.score("the battery good").json()["model_version"] == version

        monkeypatch.setenv("FLASHSALE_MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/no/such/folder/mlflow.db")
        settings.cache_clear()
        assert not watch.look()
        assert service.metric("reload_failures_total", stage="registry") == 1
        assert service.score("good").status_code == 200


def test_a_shell_without_a_registry_makes_none(home: Path, scorer: Any) -> None:
    with running(Loaded(scorer.score, "local")) as service:
        assert not Watch(service.service.engine, 1, 1).look()
        assert service.metric("reload_failures_total", stage="registry") == 0
    assert not (home / "mlflow.db").exists()


@contextmanager
def process(folder: Path, home: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """`python -m ml serve` as it is started by hand, and a client with its token."""
    command = [sys.executable, "-m", "ml", "serve", "--model", str(folder), "--port", "0", "--threads", "1"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLASHSALE_")}
    given = {**kept, "FLASHSALE_HOME": str(home), **environment}
    started = subprocess.Popen(command, cwd=ROOT, env=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert started.stderr is not None
        said = []
        for line in started.stderr:
            said.append(line)
            if '"listening"' in line:
                break
        else:
            pytest.fail("".join(said))
        token = (home / "secrets" / "serve.token").read_text()
        assert str(home / "secrets" / "serve.token") in "".join(said) and token not in "".join(said)
        url = json.loads(said[-1])["url"]
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
            wait_for(lambda: _answers(client))
            yield started, client
    finally:
        started.kill()
        started.wait(10)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.ConnectError:
        return False


def test_sigterm_drains(folders: tuple[Path, Path], tmp_path: Path) -> None:
    texts = [("很好的手机 " * 30 + str(i)) for i in range(256)]  # a second's work and more
    with (
        process(folders[0], tmp_path, FLASHSALE_SERVE_LINGER_SECONDS="1.5") as (started, client),
        ThreadPoolExecutor(1) as pool,
    ):
        in_flight = pool.submit(client.post, "/v1/score", json={"texts": texts})
        wait_for(lambda: "requests_in_flight 2.0" in client.get("/metrics").text)  # it, and the one that asks
        started.send_signal(signal.SIGTERM)
        wait_for(lambda: client.get("/readyz").status_code == 503)
        refused = client.post("/v1/score", json={"texts": ["good"]})
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert client.get("/healthz").status_code == 200  # alive: nobody must restart what is going away
        answer = in_flight.result()
        assert answer.status_code == 200 and len(answer.json()["scores"]) == len(texts)
        out, err = started.communicate(timeout=20)
        assert started.returncode == 0, err
    last = json.loads(out.splitlines()[-1])
    assert last["drained"] is True and last["cut_off"] == 0 and last["model_version"].startswith("local-")
    assert "很好" not in err and '"draining"' in err


def test_a_drain_is_bounded(scorer: Any) -> None:
    hold = threading.Event()

    def stuck(texts: Sequence[str | None]) -> pd.DataFrame:
        hold.wait(20)
        return scorer.score(texts)  # type: ignore[no-any-return]

    with running(Loaded(stuck, "tiny"), drain_seconds=0.3) as service, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(service.score, "good")
        wait_for(lambda: service.service.in_flight == 1)
        began = time.monotonic()
        service.server.drain()
        answer = asked.result()
        took = time.monotonic() - began
        hold.set()  # the model's thread is let go before the service is closed
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert 0.3 <= took < 3 and service.server.cut_off == 1


def test_what_cannot_start_says_why(
    home: Path,
    folders: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))  # what the service sets up ends with the test
    monkeypatch.setattr(root, "level", root.level)
    taken = listen("127.0.0.1", 0)
    taken.listen()
    port = str(taken.getsockname()[1])
    with pytest.raises(InputError, match="--port"):
        listen("127.0.0.1", int(port))
    taken.close()
    assert main(["serve", "--port", "-1"]) == 2 and "field 'port'" in capsys.readouterr().err
    assert main(["serve", "--port", "0", "--model", str(tmp_path)]) == 2
    assert "holds no text model" in capsys.readouterr().err
    assert main(["serve", "--port", "0", "--tokens", str(tmp_path / "absent")]) == 2
    assert "not there" in capsys.readouterr().err
