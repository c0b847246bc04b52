"""Services that really listen: tiny model folders, an application on a free port of loopback, a client."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from ml.serve.app import Router, Service, create_app
from ml.serve.engine import Engine, Loaded
from ml.serve.metrics import Metrics
from ml.serve.server import Server, listen
from ml.serve.settings import serve_settings
from ml.serve.tokens import Tokens
from tests.ml.text.conftest import tiny_base  # noqa: F401  (a fixture)

TOKEN, OTHER = "a-token-of-the-tests", "a-second-token"


def make_model(base: Path, folder: Path, seed: int) -> Path:
    """A model folder with random heads, so that every class and tag occurs."""
    import torch

    from ml.text import model

    torch.manual_seed(seed)
    network = model.build(base)
    for head in (network.sentiment, network.intent, network.tags):
        torch.nn.init.normal_(head.weight, std=1.0)
    model.save(network, base, folder, max_tokens=48)
    return folder


@pytest.fixture(scope="session")
def folders(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:  # noqa: F811
    """Two model folders that score differently."""
    made = tmp_path_factory.mktemp("served")
    return make_model(tiny_base, made / "one", 2), make_model(tiny_base, made / "two", 3)


@pytest.fixture(scope="session")
def scorer(folders: tuple[Path, Path]) -> Any:
    """The scorer of the first folder."""
    from ml.text.scorer import Scorer

    return Scorer(folders[0], threads=1, precision="fp32")


class Running:
    """A service in a thread, and a client that holds its token."""

    def __init__(self, app: FastAPI, server: Server, url: str) -> None:
        self.service: Service = app.state.service
        self.app, self.server, self.url = app, server, url
        self.client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=20)

    def score(self, *texts: str | None) -> httpx.Response:
        """`POST /v1/score`."""
        return self.client.post("/v1/score", json={"texts": list(texts)})

    def metric(self, name: str, **labels: str) -> float:
        """A sample's value, as Prometheus would read it; 0 where there is none yet."""
        return self.service.metrics.registry.get_sample_value(f"flashsale_serve_{name}", labels) or 0.0


Start = Callable[..., Any]


@contextmanager
def running(model: Loaded, *, routers: tuple[Router, ...] = (), **given: Any) -> Iterator[Running]:
    """A service of `model` with the given settings, until the block ends."""
    settings = serve_settings(**{"port": 0, "linger_seconds": 0, "drain_seconds": 5, **given})
    digests = {name: hashlib.sha256(token.encode()).hexdigest() for name, token in (("us", TOKEN), ("them", OTHER))}
    engine = Engine(model, settings, Metrics(), threads=1)
    app = create_app(engine, settings, Tokens(digests), routers=routers)
    bound = listen("127.0.0.1", 0)
    server = Server(app, settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    found = Running(app, server, f"http://127.0.0.1:{bound.getsockname()[1]}")
    wait_for(lambda: server.started)
    try:
        yield found
    finally:
        found.client.close()
        server.drain()
        thread.join(10)
        assert not thread.is_alive() and engine.close(5)


@pytest.fixture(scope="module")
def shared(scorer: Any) -> Iterator[Running]:
    """One service for the tests that change nothing of it."""
    with running(Loaded(scorer.score, "tiny-v1"), burst_texts=100_000) as found:
        yield found


def wait_for(done: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until `done`; fails after `seconds`."""
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)
