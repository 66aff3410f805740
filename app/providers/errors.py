"""Failed requests to model servers, as `UpstreamError`."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import httpx2
import msgspec
from openai import APIStatusError

from app.providers import lenient_json
from app.providers.error_shapes import error_object, error_status, parse_error
from app.providers.image_refusals import image_problem
from app.providers.models import REQUEST_REFUSED, ErrorObject, ProviderSpec, UpstreamError
from app.retry_after import parse_retry_after

MIN_KEY_CHARS = 16
"""A shorter parameter of an address, such as Azure's `api-version`, is no key."""
BROKEN_OFF = "The model server broke off its reply"

TRANSPORT_ERRORS = (httpx2.HTTPError, httpx2.StreamError, aiohttp.ClientError, OSError)
"""Errors of the network. The openai client wraps some of them."""

_UNREACHABLE = "The model server could not be reached"
_SILENT = "The model server did not answer in time"
_SILENT_MIDWAY = "The model server fell silent in the middle of its reply"
_REJECTED = "The model server rejected the request"
_REDIRECTED = "The model server answered with a redirection"
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
_LOGGED_WORDS = frozenset({
    "BadRequestError", "NotFoundError", "api_error", "authentication_error", "content_filter",
    "content_policy_violation", "context_length_exceeded", "insufficient_quota", "invalid_api_key",
    "invalid_request_error", "invalid_value", "model_not_found", "not_found_error", "overloaded_error",
    "permission_error", "rate_limit_error", "rate_limit_exceeded", "server_error", "string_above_max_length",
    "unsupported_parameter", "unsupported_value",
})  # fmt: skip
"""The types and codes that are logged: another word of the model server's may be the user's."""


def status_error(error: APIStatusError) -> UpstreamError:
    """The error for a response with an error status."""
    status, body = error.status_code, error.response.content
    message = _REDIRECTED if status < 400 else _REJECTED if status < 500 else _FAILED
    reason = parse_error(body)
    return UpstreamError(
        _STATUS_MESSAGES.get(status) or message,
        status=status,
        detail=_describe(f"status {status}", len(body), reason),
        retry_after=parse_retry_after(error.response.headers.get("Retry-After")),
        refusal=reason if status in REQUEST_REFUSED else None,
        image_problem=image_problem(body.decode(errors="replace")),
    )


def event_error(error: Any, size: int) -> UpstreamError:
    """The error for an event that is one, as a value or as the bytes of JSON or text; `size` is that of the event."""
    if isinstance(error, bytes):
        size = len(error)
        try:
            error = lenient_json.decode(error)
        except (ValueError, RecursionError):
            error = error.decode(errors="replace")
    status, reason = error_status(error), error_object(error)
    return UpstreamError(
        "The model server failed while it was replying",
        status=status,
        detail=_describe("an error in the reply", size, reason),
        refusal=reason if status in REQUEST_REFUSED else None,
        image_problem=None if reason is None else image_problem(reason.message),
    )


def connection_error(error: Exception) -> UpstreamError:
    """The error for a request without a response."""
    silent = isinstance(error, TimeoutError) or isinstance(error.__cause__, TimeoutError)
    return UpstreamError(_SILENT if silent else _UNREACHABLE, detail=_causes(error), silent=silent)


def stream_error(error: Exception) -> UpstreamError:
    """The error for a reply that broke off."""
    silent = isinstance(error, TimeoutError)
    return UpstreamError(_SILENT_MIDWAY if silent else BROKEN_OFF, detail=_causes(error), silent=silent)


def secrets_of(spec: ProviderSpec) -> list[str]:
    """List what a model server knows and no caller may: its key, headers, and the password in its address."""
    address = urlsplit(spec.base_url)
    secrets = [spec.api_key, *spec.extra_headers.values(), address.password]
    secrets += [value for _, value in parse_qsl(address.query) if len(value) >= MIN_KEY_CHARS]
    # The longest first: a shorter one may be a part of it.
    return sorted({secret for secret in secrets if secret}, key=len, reverse=True)


def redact(error: UpstreamError, secrets: Iterable[str]) -> UpstreamError:
    """Remove `secrets` from the error. Some servers repeat the key they refuse."""
    for secret in secrets:
        error.detail = error.detail.replace(secret, "[secret]")
        if (refusal := error.refusal) is not None:
            members = msgspec.structs.asdict(refusal).items()
            error.refusal = ErrorObject(**{name: text and text.replace(secret, "[secret]") for name, text in members})
    return error


def _describe(event: str, size: int, reason: ErrorObject | None) -> str:
    """Describe an error for the log without its text, which may quote the conversation."""
    words = [] if reason is None else [word for word in (reason.type, reason.code) if word in _LOGGED_WORDS]
    length = "no reason" if reason is None else f"a reason of {len(reason.message)} characters"
    return ", ".join([event, f"{size} bytes", length, *dict.fromkeys(words)])


def _causes(error: BaseException) -> str:
    """The kinds of the error and its causes in one line; those of the system say what they are about.

    The text of others may hold what the server sent.
    """
    lines: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(lines) < 4:
        lines.append(f"{type(cause).__name__}: {cause}" if isinstance(cause, OSError) else type(cause).__name__)
        cause = cause.__cause__
    return " < ".join(lines)
