"""What the operator sees: one log line for each thing that happens, with its request, key and run, and numbers.

No line holds a key, a message's text or a model server's secret. Fields that carry such things are dropped by name, and
whatever still looks like a key is blotted out of the rest, tracebacks and other libraries' lines included.
"""

import logging
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TextIO

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from quart import Quart, Response, g, websocket
from quart.globals import request_ctx
from structlog.processors import add_log_level, format_exc_info
from structlog.stdlib import ProcessorFormatter

from app.kit.clock import timestamp
from app.kit.http import service_of
from app.kit.ids import new_id
from app.kit.linefields import begin_line_fields, line_fields
from app.kit.lines import EventDict, FixedLine, Processor, Redaction, renderer

REQUEST_ID_HEADER: Final = "X-Request-ID"
UNMATCHED: Final = "unmatched"
QUIET_ROUTES: Final = frozenset({"/health", "/ready", "/metrics"})  # asked every few seconds: logged at debug
# Lines that tell of requests to model servers, which hold what people wrote, of statements, and of paths.
TALKATIVE: Final = (
    "aiohttp",
    "aiosqlite",
    "asyncio",
    "filelock",
    "hpack",
    "httpcore",
    "httpcore2",
    "httpx",
    "httpx2",
    "openai",
    "sqlalchemy",
)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

log = structlog.get_logger(__name__)


# Logs


class LineLogger:
    """Writes finished lines to `stream`; None means standard error as it is at that moment."""

    def __init__(self, name: str | None, stream: TextIO | None) -> None:
        self.name = name
        self._stream = stream

    def msg(self, line: str) -> None:
        stream = self._stream or sys.stderr
        stream.write(line + "\n")
        stream.flush()

    debug = info = warning = error = critical = exception = msg


class LoggerFactory:
    """What structlog makes loggers with, and a short way for lines that are written with every request.

    structlog keeps it, so that the short way is the present configuration's, whenever that was made.
    """

    def __init__(self, stream: TextIO | None, least: int, redaction: Redaction, last: Sequence[Processor]) -> None:
        self._stream = stream
        self._least = least
        self._redaction = redaction
        self._last = last
        self._fixed: dict[tuple[object, ...], tuple[FixedLine, LineLogger]] = {}

    def __call__(self, name: str | None = None) -> LineLogger:
        return LineLogger(name, self._stream)

    def write_fixed(self, level: int, logger: str, event: str, fields: Mapping[str, str | int | float]) -> bool:
        """Log an event that always has the same fields, as `FixedLine` does; False if it must go the common way."""
        if level < self._least:
            return True
        context = line_fields()
        form = (level, logger, event, *context)
        known = self._fixed.get(form)
        if known is None:
            example = {**fields, "event": event, **context, "level": logging.getLevelName(level).lower()}
            example |= {"logger": logger, "timestamp": timestamp()}
            known = self._fixed[form] = FixedLine(self._render, self._redaction, example), self(logger)
        line = known[0].filled({**context, **fields, "timestamp": timestamp()})
        if line is not None:
            known[1].msg(line)
        return line is not None

    def _render(self, event: EventDict) -> str:
        made: Any = event
        for processor in self._last:
            made = processor(None, "", made)
        return str(made)


class _LineHandler(logging.Handler):
    """The other libraries' way to the same lines."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__()
        self._lines = LineLogger(None, stream)

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.msg(self.format(record))


def configure_logging(
    level: str, style: Literal["console", "json"], stream: TextIO | None = None, secrets: Iterable[str] = ()
) -> None:
    """Send every log line, ours and other libraries', through one renderer to `stream` (None: standard error).

    `level` is the least that is logged. `secrets` are texts that no line may hold, beside what looks like a key: the
    model servers' keys have many forms, and a server may repeat one in an error. Standard output is left alone: the
    command line prints its answers there.
    """
    least = logging.getLevelNamesMapping()[level.upper()]
    redaction = Redaction(secrets)
    shared: list[Processor] = [_add_line_fields, add_log_level, _add_logger_name, _add_timestamp]
    last: list[Processor] = [format_exc_info, redaction, *renderer(style, stream or sys.stderr)]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=LoggerFactory(stream, least, redaction, last),
        cache_logger_on_first_use=False,
    )
    handler = _LineHandler(stream)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[ProcessorFormatter.remove_processors_meta, *last],
            keep_exc_info=True,
        )
    )
    root = logging.getLogger()
    for previous in [each for each in root.handlers if isinstance(each, _LineHandler)]:
        root.removeHandler(previous)
    root.addHandler(handler)
    root.setLevel(least)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(max(least, logging.WARNING))


def _add_line_fields(_logger: Any, _method: str, event: EventDict) -> EventDict:
    for name, value in line_fields().items():
        event.setdefault(name, value)
    return event


def _add_logger_name(logger: Any, _method: str, event: EventDict) -> EventDict:
    record = event.get("_record")
    name = record.name if record is not None else getattr(logger, "name", None)
    if name is not None:
        event["logger"] = name
    return event


def _add_timestamp(_logger: Any, _method: str, event: EventDict) -> EventDict:
    event["timestamp"] = timestamp()
    return event


def log_fixed(level: int, logger: str, event: str, fields: Mapping[str, str | int | float]) -> None:
    """Log an event of which there are many, always with the same fields: the same line in a fifth of the time."""
    factory = structlog.get_config()["logger_factory"]
    if not isinstance(factory, LoggerFactory) or not factory.write_fixed(level, logger, event, fields):
        structlog.get_logger(logger).log(level, event, **fields)


# Requests


def install_observability(app: Quart) -> None:
    """Give every request an id, a log line and its place in the numbers (the `Metrics` provided to `app`).

    Install it before everything else that has hooks: its first runs before theirs, and its last after theirs, when the
    answer is what the caller will see. A stream's duration is the time until it begins. The hooks are coroutines
    because Quart runs plain functions in a thread, which costs more than all that they do.
    """

    @app.before_request
    async def begin() -> None:
        context = g._get_current_object()  # each look through one of Quart's proxies costs a microsecond
        context.started = time.perf_counter()
        context.request_id = _begin_context(request_ctx.request.headers.get(REQUEST_ID_HEADER))

    @app.after_request
    async def end(response: Response) -> Response:
        request, context = request_ctx.request, g._get_current_object()
        seconds = time.perf_counter() - context.started
        route = request.url_rule.rule if request.url_rule is not None else UNMATCHED
        status = response.status_code
        response.headers.add(REQUEST_ID_HEADER, context.request_id)  # nobody else sets it
        service_of(app, Metrics).request_done(request.method, route, status, seconds)
        log_fixed(
            logging.DEBUG if route in QUIET_ROUTES else logging.INFO,
            __name__,
            "request",
            {
                "method": request.method,
                "path": request.path,
                "route": route,
                "status": status,
                "duration_ms": round(seconds * 1000, 2),
            },
        )
        return response

    @app.before_websocket
    async def begin_websocket() -> None:
        g.started = time.perf_counter()
        g.request_id = _begin_context(websocket.headers.get(REQUEST_ID_HEADER))
        log.info("websocket_opened", path=websocket.path)

    @app.teardown_websocket
    async def end_websocket(_error: BaseException | None) -> None:
        log.info("websocket_closed", duration_ms=round((time.perf_counter() - g.started) * 1000, 2))


def _begin_context(given: str | None) -> str:
    request_id = given if given is not None and _REQUEST_ID.fullmatch(given) else new_id()
    begin_line_fields(request_id=request_id)
    return request_id


# Numbers


class Metrics:
    """Palaver's numbers in Prometheus's form, in a registry of their own. Each call costs about a microsecond."""

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
        self._runs_active = self._gauge("runs_active", "Replies being made now.")
        self._queue_length = self._gauge("run_queue_length", "Replies waiting for their session's turn.")
        self._tokens = self._counter("tokens", "Tokens, as the model servers count them.", "kind")
        self._first_token = self._histogram(
            "time_to_first_token_seconds",
            "Seconds from a run's start to its first token.",
            (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120),
        )
        self._open_streams = self._gauge("open_streams", "Streams and WebSockets that follow a reply now.")
        self._deliveries = self._counter("webhook_deliveries", "Webhook deliveries, by how they ended.", "outcome")
        self._documents = self._counter("knowledge_documents", "Documents indexed, by their last state.", "state")
        self._passages = self._counter("knowledge_passages", "Passages of documents that became ready.")
        self._prompt_tokens = self._tokens.labels("prompt")
        self._completion_tokens = self._tokens.labels("completion")
        # Finding a child by its labels takes a lock and builds a tuple of strings: it is done once for each.
        self._request_children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def request_done(self, method: str, route: str, status: int, seconds: float) -> None:
        """An HTTP request was answered. `route` is the rule, never the path: paths are without number."""
        # So are the methods that a client can make up.
        method = method if method in _METHODS else "other"
        children = self._request_children.get((method, route, status))
        if children is None:
            children = self._requests.labels(method, route, str(status)), self._request_seconds.labels(route)
            self._request_children[method, route, status] = children
        children[0].inc()
        children[1].observe(seconds)

    def run_started(self) -> None:
        self._runs_active.inc()

    def run_finished(self, state: str, *, prompt_tokens: int = 0, completion_tokens: int = 0) -> None:
        """A run that had started ended in `state` (completed, failed, stopped, interrupted)."""
        self._runs_active.dec()
        self._runs.labels(state).inc()
        self._prompt_tokens.inc(prompt_tokens)
        self._completion_tokens.inc(completion_tokens)

    def first_token(self, seconds: float) -> None:
        self._first_token.observe(seconds)

    def stream_opened(self) -> None:
        self._open_streams.inc()

    def stream_closed(self) -> None:
        self._open_streams.dec()

    def queue_length(self, length: int) -> None:
        self._queue_length.set(length)

    def webhook_delivery(self, outcome: Literal["delivered", "retried", "failed"]) -> None:
        self._deliveries.labels(outcome).inc()

    def document_indexed(self, state: Literal["ready", "failed"], passages: int) -> None:
        """A document of so many passages has been indexed, or could not be."""
        self._documents.labels(state).inc()
        self._passages.inc(passages)

    def render(self) -> bytes:
        """All numbers in Prometheus's text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"palaver_{name}", about, labels, registry=self.registry)

    def _gauge(self, name: str, about: str) -> Gauge:
        return Gauge(f"palaver_{name}", about, registry=self.registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"palaver_{name}", about, labels, buckets=buckets, registry=self.registry)
