"""What Prometheus reads; docs/serving.md explains each name."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """The service's metrics in a registry of their own, so that two services in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = self._counter("requests", "Requests by path and status", "path", "status")
        self.refusals = self._counter("refusals", "Requests refused, by reason", "reason")
        self.texts = self._counter("texts", "Texts scored, by the name of the caller's token", "caller")
        self.reloads = self._counter("reloads", "Champions taken over while serving")
        self.reload_failures = self._counter("reload_failures", "Looks or loads that failed, by stage", "stage")
        self.seconds = self._histogram("request_seconds", "Time to answer", _SECONDS, "path")
        self.model_seconds = self._histogram("model_seconds", "Time of one model call", _SECONDS)
        self.batch_texts = self._histogram("batch_texts", "Distinct texts of one model call", _SIZES)
        self.batch_requests = self._histogram("batch_requests", "Requests of one model call", _SIZES)
        self.queue = self._gauge("queue_texts", "Texts that wait for the model")
        self.in_flight = self._gauge("requests_in_flight", "Requests that are being answered")
        self.model = self._gauge("model_info", "1 for the version that scores", "version")
        for stage in ("registry", "load"):
            self.reload_failures.labels(stage)  # a counter that is there from the start can be alerted on

    def serves(self, version: str) -> None:
        """Say which version scores from now on."""
        self.model.clear()
        self.model.labels(version).set(1)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(f"flashsale_serve_{name}", words, labels, registry=self.registry)

    def _gauge(self, name: str, words: str, *labels: str) -> Gauge:
        return Gauge(f"flashsale_serve_{name}", words, labels, registry=self.registry)

    def _histogram(self, name: str, words: str, bounds: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"flashsale_serve_{name}", words, labels, buckets=bounds, registry=self.registry)
