"""The running service: one process, one event loop, one model thread; SIGTERM drains it."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from flashsale.errors import InputError
from ml.serve import champion, logs
from ml.serve.app import Router, Service, create_app
from ml.serve.engine import Engine
from ml.serve.metrics import Metrics
from ml.serve.settings import ServeSettings
from ml.serve.tokens import load_tokens
from ml.text.score import locate

_LOG = logging.getLogger(logs.LOGGER)
_LAST_SECONDS = 1  # for uvicorn to close connections after the drain


class Server(uvicorn.Server):
    """Uvicorn that drains before it ends, and then ends with code 0.

    Uvicorn itself stops listening at once, so a caller whose load balancer has not heard yet would find a closed port.
    This one goes on answering while requests are in flight and for `linger_seconds` at least: new requests are told to
    come again (elsewhere), `/readyz` says no. A second signal ends it at once.
    """

    def __init__(self, app: FastAPI, settings: ServeSettings) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_LAST_SECONDS,
            )
        )
        self._settings = settings
        self._service: Service = app.state.service
        self._drain_began: float | None = None
        self.cut_off = 0

    def drain(self) -> None:
        """Refuse new requests and end when those in flight are answered, or `drain_seconds` from now."""
        if self._drain_began is None:
            self._drain_began = time.monotonic()
            self._service.draining = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM and SIGINT; uvicorn's own would raise the signal again at the end, and the exit code tell of it."""
        if self._drain_began is None:
            self.drain()
        else:
            self.should_exit = self.force_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second."""
        if self._drain_began is not None and not self.should_exit:
            passed, left = time.monotonic() - self._drain_began, self._service.in_flight
            if (left == 0 and passed >= self._settings.linger_seconds) or passed >= self._settings.drain_seconds:
                self.cut_off, self.should_exit = left, True
        return await super().on_tick(counter)


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one. Raises InputError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        remedy = "choose another with --port (0 takes a free one), or end what listens there"
        raise InputError("service", f"{host}:{port} cannot be had: {error.strerror}", remedy, field="port") from error
    return bound


def serve(
    model: str | None, settings: ServeSettings, *, threads: int | None, routers: Sequence[Router] = ()
) -> dict[str, Any]:
    """Serve until SIGTERM or SIGINT, then drain; returns what was served.

    `model` is a registry URI or name, or a folder, and is kept; without one the champion serves, and the next one when
    it moves. `routers` are mounted beside the text model's. Raises InputError where the address, the tokens or the
    model cannot be had.
    """
    logs.set_up()
    bound = listen(settings.host, settings.port)
    host, port = bound.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    tokens = load_tokens(settings.tokens)
    metrics = Metrics()
    engine = Engine(champion.load(*locate(model), threads), settings, metrics, threads=threads)
    server = Server(create_app(engine, settings, tokens, routers=routers), settings)
    watch = champion.Watch(engine, settings.reload_seconds, threads)
    if model is None:
        watch.start()
    _LOG.info("listening", extra={"fields": {"url": url, "model_version": engine.version}})
    server.run(sockets=[bound])
    ended = engine.close(_LAST_SECONDS)
    if model is None:
        watch.stop(_LAST_SECONDS)
    drained = ended and server.cut_off == 0
    _LOG.info("ended", extra={"fields": {"drained": drained, "cut_off": server.cut_off}})
    return {"url": url, "model_version": engine.version, "drained": drained, "cut_off": server.cut_off}
