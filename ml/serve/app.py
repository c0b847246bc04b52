"""The HTTP application: `POST /v1/score`, `GET /v1/model`, probes and metrics, and room for further routers.

Another capability is mounted in the same application, behind the same door:

    def assist_router(service: Service) -> APIRouter: ...
    create_app(engine, settings, tokens, routers=[assist_router])

Every path but the probes needs a token and has its body bounded before the route sees it. A route finds the caller's
name in `request.state.caller`, counts what it costs by `service.limiter.take(caller, texts)`, leaves the number of
texts in `request.state.texts` for the log, scores by `await service.engine.score(texts)`, and raises `Refusal` or
`InputError`.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from flashsale.errors import InputError
from ml.serve import schemas
from ml.serve.engine import Engine
from ml.serve.gate import Gate
from ml.serve.limits import RateLimit
from ml.serve.logs import LOGGER, masked
from ml.serve.metrics import Metrics
from ml.serve.refusal import Refusal
from ml.serve.settings import ServeSettings
from ml.serve.tokens import Tokens

_LOG = logging.getLogger(LOGGER)
_HALF = re.compile("[\ud800-\udfff]")
_BEARER = HTTPBearer(auto_error=False, description="A token of the service; the gate checks it before a route runs")


@dataclass
class Service:
    """What the routes share. `draining` refuses new requests; `in_flight` counts the guarded ones being answered."""

    engine: Engine
    settings: ServeSettings
    tokens: Tokens
    app: FastAPI = field(repr=False)
    draining: bool = False
    in_flight: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.metrics: Metrics = self.engine.metrics
        self.limiter = RateLimit(self.settings.texts_per_second, self.settings.burst_texts)
        self.metrics.in_flight.set_function(lambda: self.in_flight)

    @cached_property
    def paths(self) -> frozenset[str]:
        """The paths of all routes; any other is one label in the metrics and masked in the logs."""
        return frozenset(self.app.openapi()["paths"]) | {"/openapi.json"}

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Count a request as in flight."""
        with self._lock:
            self.in_flight += 1
        try:
            yield
        finally:
            with self._lock:
                self.in_flight -= 1


Router = Callable[[Service], APIRouter]


def create_app(engine: Engine, settings: ServeSettings, tokens: Tokens, *, routers: Sequence[Router] = ()) -> FastAPI:
    """The application over a running engine; `app.state.service` is its `Service`."""
    app = FastAPI(title="flashsale text service", version="1", docs_url=None, redoc_url=None)
    service = Service(engine, settings, tokens, app)
    app.state.service = service
    for router in (text_router, *routers):
        app.include_router(router(service), prefix="/v1", dependencies=[Security(_BEARER)], responses=schemas.PROBLEMS)
    app.include_router(_probes(service))
    app.add_middleware(Gate, service=service)
    app.add_exception_handler(InputError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _no_route)
    return app


def text_router(service: Service) -> APIRouter:
    """Scoring, and which model does it."""
    router = APIRouter(tags=["text"])

    @router.post("/score", operation_id="score")
    async def score(asked: schemas.ScoreRequest, request: Request) -> schemas.ScoreResponse:
        """Score texts: sentiment, purchase intent, and the spans that name what is wanted."""
        caller, texts = request.state.caller, asked.texts
        request.state.texts = len(texts)
        check_texts(texts, service.settings)
        service.limiter.take(caller, len(texts))
        try:
            answer = await service.engine.score(texts)
        except Exception:
            service.limiter.give_back(caller, len(texts))  # a caller does not pay for what was not done
            raise
        service.metrics.texts.labels(caller).inc(len(texts))
        return schemas.ScoreResponse.model_validate({"model_version": answer.version, "scores": answer.rows})

    @router.get("/model", operation_id="model")
    async def model() -> schemas.ModelResponse:
        """The version of the model that scores now."""
        return schemas.ModelResponse(model_version=service.engine.version)

    return router


def check_texts(texts: Sequence[str | None], limits: ServeSettings) -> None:
    """Raises Refusal where there are too many texts (413), or one is too long or no Unicode text (422)."""
    if len(texts) > limits.max_texts:
        problem = f"there are {len(texts)} texts, more than {limits.max_texts}"
        raise Refusal(413, "size", problem, "send them in several requests", field="texts")
    for row, text in enumerate(texts):
        if text is None:
            continue
        if len(text) > limits.max_characters:
            problem = f"it has {len(text)} characters, more than {limits.max_characters}"
            raise Refusal(422, "size", problem, "cut it, or leave it out", field="texts", row=row)
        if _HALF.search(text):  # JSON can say it and pydantic lets it pass, but no tokenizer can read it
            problem = "it holds half of a surrogate pair, which is no Unicode text"
            raise Refusal(422, "input", problem, "send whole characters", field="texts", row=row)


def _probes(service: Service) -> APIRouter:
    router = APIRouter(tags=["operation"])
    unwell: dict[int | str, dict[str, Any]] = {503: {"model": schemas.State, "description": "Not so"}}

    @router.get("/healthz", operation_id="healthz", responses=unwell)
    async def alive(response: Response) -> schemas.State:
        """Whether the process can still score; where not, it is to be started anew."""
        fine = service.engine.alive or service.draining
        response.status_code = 200 if fine else 503
        return schemas.State(status="alive" if fine else "the model's thread has ended")

    @router.get("/readyz", operation_id="readyz", responses=unwell)
    async def ready(response: Response) -> schemas.State:
        """Whether new requests are welcome: a model is loaded and the service is not going away."""
        fine = service.engine.alive and not service.draining
        response.status_code = 200 if fine else 503
        return schemas.State(status="ready" if fine else "going away")

    @router.get("/metrics", operation_id="metrics", response_class=Response)
    async def metrics() -> Response:
        """Prometheus metrics; without a token on loopback alone."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return router


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, Refusal):
        wrong = error if isinstance(error, InputError) else InputError("request", "it cannot be used", "mend it")
        error = Refusal(422, "input", wrong.problem, wrong.remedy, field=wrong.field, row=wrong.row)
    request.state.reason = error.reason
    return error.response()


async def _invalid(request: Request, error: Exception) -> Response:
    """The first thing that is wrong, by field and row; FastAPI's own answer repeats what was sent."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = [part for part in first["loc"] if part != "body"]
    if first["type"] == "json_invalid":
        refusal = Refusal(422, "input", f"it is not JSON (character {place[0]})", "send JSON in UTF-8", field="body")
    else:
        fields = [masked(part) for part in place if isinstance(part, str)]
        rows = [part for part in place if isinstance(part, int)]
        like = '{"texts": ["…", null]} as ' if request.url.path.endswith("/score") else ""
        refusal = Refusal(
            422,
            "input",
            first["msg"],
            f"send {like}application/json, or see /openapi.json",
            field=".".join(fields) or "body",
            row=rows[-1] if rows else None,
        )
    return await _refused(request, refusal)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 400:  # FastAPI's own words for a body that it could not decode
        refusal = Refusal(400, "input", "it cannot be decoded", "send JSON in UTF-8", field="body")
    else:
        refusal = Refusal(error.status_code, "route", str(error.detail), "see /openapi.json for what there is")
    return await _refused(request, refusal)
