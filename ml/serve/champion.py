"""Which model scores: loaded and tried before it serves, and changed when the champion moves."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from ml import registry
from ml.serve.engine import Engine, Loaded, rows_of
from ml.serve.logs import LOGGER
from ml.text.score import locate

_LOG = logging.getLogger(LOGGER)
_WARM = ["", "good", "性价比很高，想买", "the battery is bad, would not buy it again " * 4, "很好" * 200]
_LONGEST_PAUSE = 20  # times the usual one


def load(folder: Path, version: str, threads: int | None) -> Loaded:
    """Load a model folder and score a few texts with it, short and long, so that the first caller does not wait.

    Raises ValueError where files are altered or the answers are not what a scorer gives.
    """
    from ml.text.scorer import COLUMNS, Scorer

    began = time.monotonic()
    scorer = Scorer(folder, threads=threads)
    for texts in (_WARM[:2], _WARM, _WARM * 8):
        rows = rows_of(scorer.score(texts))
        if len(rows) != len(texts) or set(rows[0]) != set(COLUMNS) or rows[1]["sentiment"] is None:
            raise ValueError(f"{version} does not answer as a text model does")
    seconds = round(time.monotonic() - began, 2)
    fields = {"model_version": version, "precision": scorer.precision, "seconds": seconds}
    _LOG.info("model loaded", extra={"fields": fields})

    def lengths(texts: Sequence[str]) -> list[int]:
        return [len(found.ids) for found in scorer.tokenizer.encode_batch(list(texts))]

    padding_costs = scorer.device.type == "cpu"  # a GPU would rather have one large call than several small ones
    return Loaded(scorer.score, version, lengths if padding_costs else None)


class Watch:
    """Asks the registry every few seconds which version is champion, and swaps it in.

    The new model is loaded beside the old one, which goes on answering; both are in memory for that while. Where the
    registry cannot be asked or the new version cannot be loaded, the old one stays and a metric counts it; the pause
    before the next try doubles, up to twenty times `seconds`.
    """

    def __init__(self, engine: Engine, seconds: float, threads: int | None) -> None:
        self._engine, self._seconds, self._threads = engine, seconds, threads
        self._failures = 0
        self._ended = threading.Event()
        # A daemon: a registry that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="champion", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """End the watch, waiting at most `seconds` for a load under way."""
        self._ended.set()
        self._thread.join(seconds)

    def look(self) -> bool:
        """Ask once; whether another version serves now."""
        if not registry.is_set():
            return False  # a shell without a registry has nothing that could move
        stage = "registry"
        try:
            folder, version = locate(None)
            if version == self._engine.version:
                self._failures = 0
                return False
            stage = "load"
            self._engine.swap(load(folder, version, self._threads))
        except Exception as error:  # whatever is wrong with the new one, the old one serves
            self._failures += 1
            self._engine.metrics.reload_failures.labels(stage).inc()
            fields = {"stage": stage, "model_version": self._engine.version}
            _LOG.error("reload failed, the old model stays", exc_info=error, extra={"fields": fields})
            return False
        self._failures = 0
        self._engine.metrics.reloads.inc()
        _LOG.info("champion moved", extra={"fields": {"model_version": version}})
        return True

    def _run(self) -> None:
        while not self._ended.wait(self._seconds * min(2**self._failures, _LONGEST_PAUSE)):
            self.look()
