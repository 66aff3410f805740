"""Palaver's metrics, in Prometheus's form."""

from collections.abc import Callable
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """Palaver's metrics, in a registry of their own. Each call costs about a microsecond."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = self._counter("requests", "HTTP requests answered.", "method", "route", "status")
        self._request_seconds = self._histogram(
            "request_seconds",
            "Seconds until the answer, or a stream's beginning.",
            (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            "route",
        )
        self._runs = self._counter("runs", "Replies that ended, by the state they ended in.", "state")
        self._gauges = {
            "runs_active": self._gauge("runs_active", "Replies being made now."),
            "run_queue_length": self._gauge("run_queue_length", "Replies waiting for their session's turn."),
            "open_streams": self._gauge("open_streams", "Streams and WebSockets that follow a reply now."),
        }
        self._tokens = self._counter("tokens", "Tokens, as the model servers count them.", "kind")
        self._first_token = self._histogram(
            "time_to_first_token_seconds",
            "Seconds from a run's start to its first token.",
            (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120),
        )
        self._deliveries = self._counter("webhook_deliveries", "Webhook deliveries, by how they ended.", "outcome")
        self._documents = self._counter("knowledge_documents", "Documents indexed, by their last state.", "state")
        self._passages = self._counter("knowledge_passages", "Passages of documents that became ready.")
        self._prompt_tokens = self._tokens.labels("prompt")
        self._completion_tokens = self._tokens.labels("completion")
        # Finding a child by its labels takes a lock and builds a tuple of strings: it is done once for each.
        self._request_children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def request_done(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an HTTP request. `route` is the rule, never the path: the number of paths has no bound."""
        # Nor has that of the methods that a client can make up.
        method = method if method in _METHODS else "other"
        children = self._request_children.get((method, route, status))
        if children is None:
            children = self._requests.labels(method, route, str(status)), self._request_seconds.labels(route)
            self._request_children[method, route, status] = children
        children[0].inc()
        children[1].observe(seconds)

    def watch(self, name: Literal["runs_active", "run_queue_length", "open_streams"], count: Callable[[], int]) -> None:
        """Read a gauge from `count`, whenever the metrics are asked for."""
        self._gauges[name].set_function(count)

    def run_finished(self, state: str, *, prompt_tokens: int = 0, completion_tokens: int = 0) -> None:
        """Count a run that ended in `state` (completed, failed, stopped, interrupted)."""
        self._runs.labels(state).inc()
        self._prompt_tokens.inc(prompt_tokens)
        self._completion_tokens.inc(completion_tokens)

    def first_token(self, seconds: float) -> None:
        self._first_token.observe(seconds)

    def webhook_delivery(self, outcome: Literal["delivered", "retried", "failed"]) -> None:
        self._deliveries.labels(outcome).inc()

    def document_indexed(self, state: Literal["ready", "failed"], passages: int) -> None:
        """Count a document, and its passages when it is ready."""
        self._documents.labels(state).inc()
        self._passages.inc(passages)

    def render(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"palaver_{name}", about, labels, registry=self.registry)

    def _gauge(self, name: str, about: str) -> Gauge:
        return Gauge(f"palaver_{name}", about, registry=self.registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"palaver_{name}", about, labels, buckets=buckets, registry=self.registry)
