"""`POST /v1/assist`: the assistant behind the text service's own door, see `ml.serve.app`.

One thread reads the messages, apart from the model's. An assistant is small beside a scoring call and each message is
read by itself, so there is nothing to join; as many may wait as the service lets wait for its model.

When the champion moves, nothing changes here: the assistant answers with the encoder it was built with, and every reply
names its version. Its bounds hold for no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from fastapi import APIRouter, Request
from prometheus_client import Counter
from pydantic import BaseModel, ConfigDict, Field

from ml.assistant.assistant import Assistant, Reply
from ml.serve.app import Router, Service, check_texts
from ml.serve.refusal import Refusal

_MOST_VALUES, _LONGEST_VALUE = 32, 200


class _Plain(BaseModel):
    model_config = ConfigDict(protected_namespaces=())


class AssistRequest(BaseModel):
    """A customer's message, and what the caller knows about it."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"text": "我的快递到哪了", "context": {"order_id": "A-17"}}]}
    )
    text: str = Field(description="What the customer wrote")
    language: Literal["zh", "en"] | None = Field(default=None, description="Of the answer; default: the message's")
    context: dict[str, str] = Field(default_factory=dict, description="Values of slots by name, for this customer")


class AssistGuess(_Plain):
    """An intent and its probability among the intents; out-of-scope messages have high ones too."""

    intent: str
    probability: float


class AssistReply(_Plain):
    """An answer by template, an answer of the past, or a hand-over to a person."""

    model_config = ConfigDict(protected_namespaces=())
    kind: Literal["answer", "retrieved", "hand_over"]
    answer: str | None = Field(description="The words to send; null for a hand-over")
    intent: str | None
    confidence: float = Field(description="Chance that the best intent is right; for `retrieved` a cosine")
    reason: Literal["unsure", "shop_value_missing", "asked_for_a_person"] | None = Field(description="Of a hand-over")
    missing: list[str] = Field(description="Slots the answer asks for, or that the shop did not give")
    source: str | None = Field(description="Pseudonym of the conversation that a retrieved answer is from")
    guesses: list[AssistGuess]
    language: Literal["zh", "en"]
    model_version: str
    knowledge_version: str


def assist_router(assistant: Assistant, *, threads: int | None = None) -> Router:
    """What `ml.serve.app.create_app` mounts; `threads` are the CPU threads of a reading, None leaves them alone."""
    return lambda service: _router(_Desk(assistant, service, threads))


class _Desk:
    """The assistant's thread, with a bounded number of messages that wait for it."""

    def __init__(self, assistant: Assistant, service: Service, threads: int | None) -> None:
        self._assistant, self.service = assistant, service
        self._pool = ThreadPoolExecutor(1, "assistant", initializer=_threads(threads))
        self._waiting = 0
        words = "Messages the assistant replied to, by kind"
        registry = service.metrics.registry
        self.replies = Counter("flashsale_serve_assist_replies", words, ["kind"], registry=registry)

    async def ask(self, asked: AssistRequest) -> Reply:
        """The reply; raises Refusal (503) where too many messages wait."""
        if self._waiting >= self.service.settings.queue_texts:
            problem = "too many messages wait for the assistant"
            raise Refusal(503, "queue", problem, "send it again later", retry_after=1)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._reply, asked)
        finally:
            self._waiting -= 1

    def _reply(self, asked: AssistRequest) -> Reply:
        return self._assistant.ask(asked.text, language=asked.language, context=asked.context)


def _router(desk: _Desk) -> APIRouter:
    router = APIRouter(tags=["assistant"])

    @router.post("/assist", operation_id="assist")
    async def assist(asked: AssistRequest, request: Request) -> AssistReply:
        """Answer a customer's message, or say that a person should."""
        service, caller = desk.service, request.state.caller
        request.state.texts = 1
        check_message(asked, service)
        service.limiter.take(caller, 1)
        try:
            reply = await desk.ask(asked)
        except BaseException:  # a client that left is cancelled: neither does it pay
            service.limiter.give_back(caller, 1)
            raise
        service.metrics.texts.labels(caller).inc()
        desk.replies.labels(reply.kind).inc()
        return AssistReply.model_validate(reply.as_dict())

    return router


def check_message(asked: AssistRequest, service: Service) -> None:
    """Raises Refusal where the text or a value of the context is too long or no Unicode text (422)."""
    if not asked.text.strip():
        raise Refusal(422, "input", "it is blank", "send what the customer wrote", field="text")
    try:
        check_texts([asked.text, *asked.context.values(), *asked.context], service.settings)
    except Refusal as refusal:
        field = "text" if refusal.row == 0 else "context"
        raise Refusal(422, refusal.reason, refusal.problem, refusal.remedy, field=field) from refusal
    if len(asked.context) > _MOST_VALUES or any(len(value) > _LONGEST_VALUE for value in asked.context.values()):
        problem = f"it has more than {_MOST_VALUES} values, or one of more than {_LONGEST_VALUE} characters"
        raise Refusal(422, "size", problem, "send the values that answers name", field="context")


def _threads(threads: int | None) -> Callable[[], Any]:
    def set_up() -> None:
        if threads is not None:
            import torch

            torch.set_num_threads(threads)  # OpenMP keeps the number by thread

    return set_up
