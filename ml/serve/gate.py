"""The door in front of every route: who asks, may they, how large is it, and what is written down about it.

A plain ASGI layer, because it must refuse before a body is read, which a route's own dependencies cannot.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ml.serve.limits import Disconnected, read_body, replay, while_connected
from ml.serve.logs import LOGGER, masked_path, parameter_names
from ml.serve.refusal import Refusal

if TYPE_CHECKING:
    from ml.serve.app import Service

#: Paths that anybody may ask and that are answered while the service drains.
OPEN = frozenset({"/healthz", "/readyz", "/openapi.json"})
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
_LEFT = 499  # what nginx writes where the client left; no such answer is sent
_LOG = logging.getLogger(LOGGER)


@dataclass
class _Visit:
    """What is known of one request. `path` is a route's own path, or None for any other."""

    scope: Scope
    path: str | None
    number: str
    began: float
    status: int = _LEFT
    sent: bool = False

    @property
    def state(self) -> dict[str, Any]:
        """Notes that routes leave: `caller`, `texts`, `reason`."""
        return dict(self.scope.get("state", {}))


class Gate:
    """ASGI middleware: request number, drain, token, size; then metrics and one log line."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the module."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})
        path = scope["path"] if scope["path"] in self._service.paths else None
        visit = _Visit(scope, path, uuid.uuid4().hex, time.perf_counter())

        async def numbered(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", visit.number.encode())]
            await send(message)
            visit.sent = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            if scope["path"] in OPEN:
                await self._app(scope, receive, numbered)
            else:
                with self._service.answering():
                    await self._guarded(visit, receive, numbered)
        except Disconnected:
            pass
        except asyncio.CancelledError:  # uvicorn's, at the end of a drain that took too long
            scope["state"]["reason"] = "draining"
            if visit.status == _LEFT:
                await _going().response()(scope, receive, numbered)
        except Refusal as refusal:
            scope["state"]["reason"] = refusal.reason
            await refusal.response()(scope, receive, numbered)
        except Exception as error:
            _LOG.error("request failed", exc_info=error, extra={"fields": {"request_id": visit.number}})
            if visit.status == _LEFT:  # nothing was sent yet
                scope["state"]["reason"] = "failure"
                remedy = "send it again; if it fails again, report the number in X-Request-ID"
                await Refusal(500, "failure", "the service failed", remedy).response()(scope, receive, numbered)
        finally:
            self._note(visit)

    async def _guarded(self, visit: _Visit, receive: Receive, send: Send) -> None:
        scope, service, limits = visit.scope, self._service, self._service.settings
        self._admit(scope)
        if service.draining and scope["path"] != "/metrics":
            raise _going()
        body = await read_body(scope, receive, limits.max_bytes, limits.body_seconds)
        answer = self._app(scope, replay(body, receive), send)
        await while_connected(answer, receive, lambda: visit.sent)

    def _admit(self, scope: Scope) -> None:
        service = self._service
        if scope["path"] == "/metrics" and service.settings.on_loopback:
            return
        header = dict(scope["headers"]).get(b"authorization")
        caller = service.tokens.caller(header.decode("latin-1") if header else None)
        if caller is None:
            remedy = "send the header Authorization: Bearer <token>"
            raise Refusal(401, "token", "the token is missing or unknown", remedy, close=True)
        scope["state"]["caller"] = caller

    def _note(self, visit: _Visit) -> None:
        metrics, state = self._service.metrics, visit.state
        seconds = time.perf_counter() - visit.began
        metrics.requests.labels(visit.path or "other", visit.status).inc()
        metrics.seconds.labels(visit.path or "other").observe(seconds)
        if "reason" in state:
            metrics.refusals.labels(state["reason"]).inc()
        if visit.path in OPEN and visit.status < 400:
            return  # probes come every few seconds; only what they find wrong is worth a line
        fields = {
            "request_id": visit.number,
            "method": visit.scope["method"] if visit.scope["method"] in _METHODS else "other",
            "path": visit.path or "other",
            "status": visit.status,
            "ms": round(seconds * 1000, 1),
            **{name: state[name] for name in ("caller", "texts", "reason") if name in state},
        }
        if "caller" in state:  # strangers write nothing of theirs into our logs, and masking costs a millisecond
            if visit.path is None:
                fields["path"] = masked_path(visit.scope.get("raw_path") or visit.scope["path"].encode())
            if visit.scope["query_string"]:
                fields["parameters"] = parameter_names(visit.scope["query_string"])
        _LOG.info("request", extra={"fields": fields})


def _going() -> Refusal:
    return Refusal(503, "draining", "this service is going away", "send it again", retry_after=1, close=True)
