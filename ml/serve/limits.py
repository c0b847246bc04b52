"""How much one caller may send: texts a second, and bytes of one body."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

from starlette.types import Message, Receive, Scope

from ml.serve.refusal import Refusal


class RateLimit:
    """A token bucket a caller, counted in texts: `per_second` on average, `burst` at once.

    Used from the event loop alone, so it needs no lock.
    """

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_second, self.burst, self._clock = per_second, burst, clock
        self._levels: dict[str, tuple[float, float]] = {}

    def take(self, caller: str, texts: int) -> None:
        """Count `texts` against the caller. Raises Refusal (429) with the seconds to wait."""
        level, now = self._level(caller), self._clock()
        if level < texts:
            seconds = max(1, math.ceil((texts - level) / self.per_second))
            raise Refusal(
                429,
                "rate",
                f"more than {self.per_second:g} texts a second",
                f"send it again after {seconds} s, or ask for a higher limit",
                field="texts",
                retry_after=seconds,
            )
        self._levels[caller] = (level - texts, now)

    def give_back(self, caller: str, texts: int) -> None:
        """Undo `take` for texts that the service could not score."""
        self._levels[caller] = (min(self.burst, self._level(caller) + texts), self._clock())

    def _level(self, caller: str) -> float:
        level, seen = self._levels.get(caller, (float(self.burst), self._clock()))
        return min(float(self.burst), level + (self._clock() - seen) * self.per_second)


class Disconnected(Exception):
    """The client left before its body was whole."""


async def read_body(scope: Scope, receive: Receive, most: int, seconds: float) -> bytes:
    """The whole body, at most `most` bytes; a body without a length is counted as it comes in.

    Raises Refusal (413, 408) where it is too large or too slow, Disconnected where the client left.
    """
    declared = dict(scope["headers"]).get(b"content-length", b"")
    if declared.isdigit() and int(declared) > most:
        raise _too_large(most)
    chunks, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Disconnected
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                if size > most:
                    raise _too_large(most)
                if not message.get("more_body", False):
                    return b"".join(chunks)
    except TimeoutError as error:
        problem = f"the body had not arrived after {seconds:g} s"
        raise Refusal(408, "slow", problem, "send it in one go", field="body", close=True) from error


def replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives `body` once, then what the connection gives."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def while_connected(answer: Awaitable[None], receive: Receive, sent: Callable[[], bool]) -> None:
    """Await `answer`, but cancel it where the client leaves first and raise Disconnected.

    A caller that gave up and asks again would otherwise have the model do its work twice, just when it is busiest.
    `sent` tells whether the response is complete: after it a server reports the end of every connection.
    """
    work, left = asyncio.ensure_future(answer), asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait((work, left), return_when=asyncio.FIRST_COMPLETED)
        if not work.done() and not sent():
            raise Disconnected
        await work
    finally:
        work.cancel()
        left.cancel()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _too_large(most: int) -> Refusal:
    remedy = "send fewer or shorter texts in one request"
    return Refusal(413, "size", f"the body has more than {most} bytes", remedy, field="body", close=True)
