"""Many requests, one model: texts of concurrent requests are joined into one call, made by one thread.

While the model works, requests pile up and are its next call; so a busy service joins by itself. A call's texts are
scored in groups of like lengths, short ones first, and a request is answered as soon as its own texts are done.

The window is for models whose calls are shorter than the way to the client and back, as on a GPU: a call waits that
long for more requests, but only where the last one had several, so a lone client never waits. On CPUs it gained nothing
(docs/serving.md), so it is 0 by default.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml.serve.groups import by_length
from ml.serve.logs import LOGGER
from ml.serve.metrics import Metrics
from ml.serve.refusal import Refusal
from ml.serve.settings import ServeSettings

if TYPE_CHECKING:
    import pandas as pd

_LOG = logging.getLogger(LOGGER)
Row = dict[str, Any]


@dataclass(frozen=True)
class Loaded:
    """A model that is ready.

    Args:
        score: gives a frame as `ml.text.scorer.Scorer.score` does.
        version: its name in every answer.
        lengths: word pieces of texts, where padding costs time; None scores all texts of a call together.
    """

    score: Callable[[Sequence[str | None]], pd.DataFrame]
    version: str
    lengths: Callable[[Sequence[str]], list[int]] | None = None

    def groups(self, texts: list[str | None]) -> Iterator[list[str | None]]:
        """The texts in groups that are scored together, short ones first."""
        if self.lengths is None:
            yield texts
            return
        for group in by_length(self.lengths([text or "" for text in texts])):
            yield [texts[at] for at in group]


@dataclass(frozen=True)
class Answer:
    """Scores of one request: a row a text, in order, all by the model `version`."""

    version: str
    rows: list[Row]


@dataclass(frozen=True)
class _Job:
    texts: Sequence[str | None]
    future: asyncio.Future[Answer]
    loop: asyncio.AbstractEventLoop


class Engine:
    """The queue and its one worker thread.

    Args:
        model: the model to begin with; `swap` changes it.
        settings: window, batch and queue sizes.
        metrics: where calls and the queue are counted.
        threads: CPU threads of a model call; None leaves PyTorch's setting alone.
    """

    def __init__(self, model: Loaded, settings: ServeSettings, metrics: Metrics, *, threads: int | None = None) -> None:
        self.settings, self.metrics = settings, metrics
        self._threads = threads
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._waiting = 0
        self._crowded = self._closed = False
        self._model = model
        metrics.queue.set_function(lambda: self._waiting)
        metrics.serves(model.version)
        self._worker = threading.Thread(target=self._run, name="model", daemon=True)
        self._worker.start()

    @property
    def version(self) -> str:
        """Name of the model version that scores now."""
        return self._model.version

    @property
    def alive(self) -> bool:
        """Whether the worker can take requests."""
        return self._worker.is_alive() and not self._closed

    def swap(self, model: Loaded) -> None:
        """Score with `model` from the next call on; a call under way ends with the model that it began with."""
        self._model = model
        self.metrics.serves(model.version)

    async def score(self, texts: Sequence[str | None]) -> Answer:
        """Scores of `texts`, in order, equal texts scored once; null and blank texts have null scores.

        Raises Refusal (503) where the queue is full, and what the model raises where these texts break it.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._put(_Job(texts, future, loop))
        return await future

    def close(self, seconds: float) -> bool:
        """Answer what waits, then end the worker; whether it ended within `seconds`."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._worker.join(seconds)
        return not self._worker.is_alive()

    def _put(self, job: _Job) -> None:
        with self._changed:
            if self._waiting + len(job.texts) > self.settings.queue_texts:
                self._jobs = deque(waiting for waiting in self._jobs if not waiting.future.cancelled())
                self._waiting = sum(len(waiting.texts) for waiting in self._jobs)
            if self._closed or self._waiting + len(job.texts) > self.settings.queue_texts:
                raise Refusal(503, "queue", "too many texts wait for the model", "send it again later", retry_after=1)
            self._jobs.append(job)
            self._waiting += len(job.texts)
            self._changed.notify()

    def _run(self) -> None:
        if self._threads is not None:
            import torch

            torch.set_num_threads(self._threads)  # OpenMP keeps the number by thread
        while jobs := self._take():
            self._crowded = len(jobs) > 1
            self._answer([job for job in jobs if not job.future.cancelled()])

    def _take(self) -> list[_Job]:
        """The requests of the next call, oldest first, at least one; none when the engine was closed."""
        most = self.settings.batch_texts
        with self._changed:
            while not self._jobs and not self._closed:
                self._changed.wait()
            until = time.monotonic() + (self.settings.window_ms / 1000 if self._crowded else 0)
            while self._waiting < most and not self._closed and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            taken: list[_Job] = []
            texts = 0
            while self._jobs and (not taken or texts + len(self._jobs[0].texts) <= most):
                taken.append(self._jobs.popleft())
                texts += len(taken[-1].texts)
            self._waiting -= texts
            return taken

    def _answer(self, jobs: list[_Job]) -> None:
        if not jobs:
            return
        model, began, waiting = self._model, time.perf_counter(), jobs
        distinct = list(dict.fromkeys(text for job in jobs for text in job.texts))
        found: dict[str | None, Row] = {}
        try:
            for group in model.groups(distinct):
                found |= zip(group, rows_of(model.score(group)), strict=True)
                waiting = _settle_whole(waiting, found, model.version)
        except Exception as error:
            if len(jobs) > 1:  # the request that breaks the model must not take its neighbours along
                for job in waiting:
                    self._answer([job])
                return
            _LOG.error("model call failed", exc_info=error, extra={"fields": {"model_version": model.version}})
            _settle(jobs[0], error)
            return
        self.metrics.model_seconds.observe(time.perf_counter() - began)
        self.metrics.batch_texts.observe(len(distinct))
        self.metrics.batch_requests.observe(len(jobs))


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """The rows of a scorer's frame as plain values: NaN becomes None, `spans` a list of `{start, end, text}`."""
    names = list(frame.columns)
    rows: list[Row] = []
    for values in frame.itertuples(index=False, name=None):
        row: Row = {name: None if value != value else value for name, value in zip(names, values, strict=True)}
        row["spans"] = json.loads(row["spans"])
        rows.append(row)
    return rows


def _settle_whole(jobs: list[_Job], found: dict[str | None, Row], version: str) -> list[_Job]:
    """Answer the requests whose texts are all scored; returns the others."""
    left = []
    for job in jobs:
        if all(text in found for text in job.texts):
            _settle(job, Answer(version, [found[text] for text in job.texts]))
        else:
            left.append(job)
    return left


def _settle(job: _Job, outcome: Answer | Exception) -> None:
    """Hand the outcome to the request's event loop."""

    def deliver() -> None:
        if job.future.done():  # its client left
            return
        if isinstance(outcome, Exception):
            job.future.set_exception(outcome)
        else:
            job.future.set_result(outcome)

    with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits for this any more
        job.loop.call_soon_threadsafe(deliver)
