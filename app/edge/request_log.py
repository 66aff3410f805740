"""An id, a log line and metrics for each request."""

import logging
import re
import time
from typing import Final
from uuid import uuid4

import structlog
from quart import Quart, Response, g, request, websocket
from structlog.contextvars import bind_contextvars, clear_contextvars

from app.telemetry.metrics import Metrics

REQUEST_ID_HEADER: Final = "X-Request-ID"
UNMATCHED: Final = "unmatched"
QUIET_ROUTES: Final = frozenset({"/health", "/ready", "/metrics"})  # asked every few seconds: logged at debug
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

log = structlog.get_logger(__name__)


def install_request_log(app: Quart, metrics: Metrics) -> None:
    """Give every request an id, a log line and its metrics.

    Install it before everything else that has hooks: its first runs before theirs, and its last after theirs, when the
    answer is what the caller will see. A stream's duration is the time until it begins. The hooks are coroutines
    because Quart runs plain functions in a thread, which costs more than all that they do.
    """

    @app.before_request
    async def start() -> None:
        g.started = time.perf_counter()
        g.request_id = _bind_request_id(request.headers.get(REQUEST_ID_HEADER))

    @app.after_request
    async def finish(response: Response) -> Response:
        seconds = time.perf_counter() - g.started
        rule, method = request.url_rule, request.method
        route = rule.rule if rule is not None else UNMATCHED
        response.headers[REQUEST_ID_HEADER] = g.request_id
        # Labels are the rule and a known method: clients can make up paths and methods without end.
        metrics.requests.labels(method if method in METHODS else "other", route, str(response.status_code)).inc()
        metrics.request_seconds.labels(route).observe(seconds)
        log.log(
            logging.DEBUG if route in QUIET_ROUTES else logging.INFO,
            "request",
            method=method,
            path=request.path,
            route=route,
            status=response.status_code,
            duration_ms=round(seconds * 1000, 2),
        )
        return response

    @app.before_websocket
    async def start_websocket() -> None:
        g.started = time.perf_counter()
        g.request_id = _bind_request_id(websocket.headers.get(REQUEST_ID_HEADER))
        log.info("websocket_opened", path=websocket.path)

    @app.teardown_websocket
    async def finish_websocket(_error: BaseException | None) -> None:
        log.info("websocket_closed", duration_ms=round((time.perf_counter() - g.started) * 1000, 2))


def _bind_request_id(header: str | None) -> str:
    request_id = header if header is not None and _REQUEST_ID.fullmatch(header) else str(uuid4())
    clear_contextvars()
    bind_contextvars(request_id=request_id)
    return request_id
