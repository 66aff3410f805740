"""Failed requests to model servers, as `UpstreamError`."""

from collections.abc import Iterable

import aiohttp
import httpx2
import msgspec
from openai import APIStatusError

from app.providers.models import REQUEST_REFUSED, ErrorObject, UpstreamError
from app.retry_after import parse_retry_after

DETAIL_CHARS = 2000
BROKEN_OFF = "The model server broke off its reply"

TRANSPORT_ERRORS = (httpx2.HTTPError, httpx2.StreamError, aiohttp.ClientError, OSError)
"""Errors of the network. The openai client wraps some of them."""

_UNREACHABLE = "The model server could not be reached"
_SILENT = "The model server did not answer in time"
_SILENT_MIDWAY = "The model server fell silent in the middle of its reply"
_REJECTED = "The model server rejected the request"
_FAILED = "The model server failed"
_STATUS_MESSAGES = {
    401: "The model server refused Palaver's credentials",
    402: "The model server wants to be paid first",
    403: "The model server refused Palaver's credentials",
    404: "The model server does not know this model",
    408: _SILENT,
    413: "The conversation is too long for the model server",
    429: "The model server is receiving too many requests",
    504: _SILENT,
}


def status_error(error: APIStatusError) -> UpstreamError:
    """The error for a response with an error status."""
    status = error.status_code
    return UpstreamError(
        _STATUS_MESSAGES.get(status) or (_REJECTED if status < 500 else _FAILED),
        status=status,
        detail=f"status {status}: {error.response.text[:DETAIL_CHARS]}",
        retry_after=parse_retry_after(error.response.headers.get("Retry-After")),
        refusal=parse_error_object(error.response.content) if status in REQUEST_REFUSED else None,
    )


def connection_error(error: Exception) -> UpstreamError:
    """The error for a request without a response."""
    silent = isinstance(error, TimeoutError) or isinstance(error.__cause__, TimeoutError)
    return UpstreamError(_SILENT if silent else _UNREACHABLE, detail=_causes(error), silent=silent)


def stream_error(error: Exception) -> UpstreamError:
    """The error for a reply that broke off."""
    silent = isinstance(error, TimeoutError)
    return UpstreamError(_SILENT_MIDWAY if silent else BROKEN_OFF, detail=_causes(error), silent=silent)


def parse_error_object(body: bytes) -> ErrorObject | None:
    """The error object in a model server's response: the whole body, or its field `error`."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    error = value.get("error", value) if isinstance(value, dict) else None
    if isinstance(error, str):
        error = {"message": error}
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return None
    kind, param, code = (error.get(name) for name in ("type", "param", "code"))
    return ErrorObject(
        error["message"][:DETAIL_CHARS],
        kind if isinstance(kind, str) else None,
        param if isinstance(param, str) else None,
        code if isinstance(code, str) else None,
    )


def redact(error: UpstreamError, secrets: Iterable[str]) -> UpstreamError:
    """Remove `secrets` from the error. Some servers repeat the key they refuse."""
    for secret in secrets:
        error.detail = error.detail.replace(secret, "[secret]")
        if error.refusal is not None:
            message = error.refusal.message.replace(secret, "[secret]")
            error.refusal = msgspec.structs.replace(error.refusal, message=message)
    return error


def _causes(error: BaseException) -> str:
    """The error and its causes in one line: the openai client's own errors say only `Connection error.`"""
    lines: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(lines) < 4:
        lines.append(f"{type(cause).__name__}: {cause}")
        cause = cause.__cause__
    return " < ".join(lines)[:DETAIL_CHARS]
