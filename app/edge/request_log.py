"""An id, a log line and its place in the metrics for each request."""

import logging
import re
import time
from typing import Final
from uuid import uuid4

import structlog
from quart import Quart, Response, g, websocket
from quart.globals import request_ctx

from app.edge.services import service_of
from app.telemetry.context import begin_line_fields
from app.telemetry.logs import log_fixed
from app.telemetry.metrics import Metrics

REQUEST_ID_HEADER: Final = "X-Request-ID"
UNMATCHED: Final = "unmatched"
QUIET_ROUTES: Final = frozenset({"/health", "/ready", "/metrics"})  # asked every few seconds: logged at debug

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

log = structlog.get_logger(__name__)


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
    request_id = given if given is not None and _REQUEST_ID.fullmatch(given) else str(uuid4())
    begin_line_fields(request_id=request_id)
    return request_id
