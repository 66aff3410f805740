"""Palaver's metrics, for Prometheus."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_REQUEST_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_FIRST_TOKEN_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)


class Metrics:
    """Counters, gauges and histograms, in a registry of their own.

    Gauges of what goes on read their number from where it is known (`set_function`).
    """

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "palaver_requests", "HTTP requests answered.", ("method", "route", "status"), registry=registry
        )
        self.request_seconds = Histogram(
            "palaver_request_seconds",
            "Seconds until the answer, or a stream's beginning.",
            ("route",),
            buckets=_REQUEST_SECONDS,
            registry=registry,
        )
        self.runs = Counter(
            "palaver_runs", "Replies that ended, by the state they ended in.", ("state",), registry=registry
        )
        self.runs_active = Gauge("palaver_runs_active", "Replies being made now.", registry=registry)
        self.run_queue_length = Gauge(
            "palaver_run_queue_length", "Replies waiting for their session's turn.", registry=registry
        )
        self.tokens = Counter(
            "palaver_tokens", "Tokens, as the model servers count them.", ("kind",), registry=registry
        )
        self.first_token = Histogram(
            "palaver_time_to_first_token_seconds",
            "Seconds from a run's start to its first token.",
            buckets=_FIRST_TOKEN_SECONDS,
            registry=registry,
        )
        self.open_streams = Gauge(
            "palaver_open_streams", "Streams and WebSockets that follow a reply now.", registry=registry
        )
        self.open_websockets = Gauge("palaver_open_websockets", "WebSockets that are open now.", registry=registry)
        self.servers = Gauge("palaver_servers", "Servers that live, this one included.", registry=registry)
        self.config_differences = Gauge(
            "palaver_config_differences",
            "Profiles and settings that other servers have otherwise than this one.",
            registry=registry,
        )
        self.mirrors = Gauge(
            "palaver_mirrored_runs", "Replies of other servers that are followed here.", registry=registry
        )
        self.bus_up = Gauge("palaver_bus_up", "Whether news of other servers arrive at once.", registry=registry)
        self.deliveries = Counter(
            "palaver_webhook_deliveries", "Webhook deliveries, by how they ended.", ("outcome",), registry=registry
        )
        self.im_tries = Counter(
            "palaver_im_tries",
            "Tries to send a piece of a message to a platform, by how they ended.",
            ("adapter", "outcome"),
            registry=registry,
        )
        self.im_open_deliveries = Gauge(
            "palaver_im_open_deliveries",
            "Deliveries of all servers that are not over, by bot.",
            ("bot",),
            registry=registry,
        )
        self.im_oldest_delivery = Gauge(
            "palaver_im_oldest_delivery_seconds", "Age of the oldest delivery that is not over.", registry=registry
        )
        self.im_pauses = Gauge(
            "palaver_im_pauses",
            "Chats, and whole bots, that take nothing for a time.",
            ("bot", "reason"),
            registry=registry,
        )
        self.im_connections = Gauge(
            "palaver_im_connections",
            "Connections of bots that are enabled, by their state.",
            ("bot", "state"),
            registry=registry,
        )
        self.im_oldest_event = Gauge(
            "palaver_im_oldest_event_seconds",
            "Age of the oldest event of a platform that nobody has dealt with.",
            registry=registry,
        )
        self.im_callbacks = Counter(
            "palaver_im_callbacks",
            "Tries to tell a sender of a delivery's end, by how they ended.",
            ("outcome",),
            registry=registry,
        )
        self.im_events = Counter(
            "palaver_im_events", "Events of platforms, by what became of them.", ("outcome",), registry=registry
        )
        self.documents = Counter(
            "palaver_knowledge_documents", "Documents indexed, by their last state.", ("state",), registry=registry
        )
        self.passages = Counter(
            "palaver_knowledge_passages", "Passages of documents that became ready.", registry=registry
        )

        self.tool_calls = Counter(
            "palaver_tool_calls", "Calls of tools, by how they ended.", ("tool", "outcome"), registry=registry
        )
        self.tool_seconds = Histogram(
            "palaver_tool_seconds",
            "Seconds that calls of tools took.",
            ("tool",),
            buckets=_FIRST_TOKEN_SECONDS,
            registry=registry,
        )

    def render(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self.registry)
