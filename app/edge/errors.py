"""Errors, answered in the envelope of their door."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
from quart import Quart, Response, g, has_request_context, request, websocket
from werkzeug.exceptions import HTTPException

from app.edge.responses import json_response
from app.errors import AppError

ErrorEnvelope = Callable[[AppError, str], Mapping[str, Any]]

log = structlog.get_logger(__name__)


def open_api_error(error: AppError, request_id: str) -> Mapping[str, Any]:
    """An error in the Open API's envelope."""
    return {
        "status": "error",
        "message": error.message,
        "data": error.data,
        "code": error.code,
        "request_id": request_id,
    }


def install_errors(app: Quart, doors: Sequence[tuple[str, ErrorEnvelope]]) -> None:
    """Answer every error in the envelope of its door; `doors` are path prefixes, the longest first.

    Unknown paths, wrong methods and crashes included: none is HTML, and a crash does not reveal its cause.
    """

    def answer(error: AppError) -> Response:
        path = (request if has_request_context() else websocket).path
        envelope = next((make for prefix, make in doors if path.startswith(prefix)), open_api_error)
        return json_response(envelope(error, g.get("request_id", "")), error.status, error.headers)

    async def on_app_error(error: AppError) -> Response:
        if error.status >= 500:
            log.warning("request_failed", code=error.code, exc_info=error.__cause__)
        return answer(error)

    async def on_http_exception(error: HTTPException) -> Response:
        return answer(_from_werkzeug(error))

    async def on_crash(error: Exception) -> Response:
        log.error("request_crashed", exc_info=error)
        return answer(AppError("Internal server error"))

    app.register_error_handler(AppError, on_app_error)
    app.register_error_handler(HTTPException, on_http_exception)
    app.register_error_handler(Exception, on_crash)


_HTTP_ERRORS = {
    400: ("bad_request", "Bad request"),
    404: ("not_found", "No such path"),
    405: ("method_not_allowed", "Method not allowed"),
    408: ("request_timeout", "The request did not arrive in time"),
    413: ("payload_too_large", "The request body is too large"),
}


def _from_werkzeug(error: HTTPException) -> AppError:
    status = error.code or 500
    code, message = _HTTP_ERRORS.get(status, ("http_error", error.name))
    headers = {
        name: value for name, value in error.get_headers() if name.lower() in ("allow", "location", "retry-after")
    }
    return AppError(message, status=status, code=code, headers=headers)
