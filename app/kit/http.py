"""HTTP as the doors share it: JSON in and out, the Open API's envelope, errors, paging, and finding a service."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import msgspec
import structlog
from quart import Quart, Response, current_app, g, has_request_context, request, websocket
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import RequestEntityTooLarge as BodyTooLarge

from app.errors import AppError, BadRequest, PayloadTooLarge, UnsupportedMediaType
from app.kit.db import MAX_INTEGER

MAX_JSON_DEPTH = 32
_SERVICES = "palaver"
_JSON_MARK = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_AS_SQUARE = bytes.maketrans(b"{}", b"[]")
_INTEGER = re.compile(r"\s*([+-]?)0*(\d+)\s*", re.ASCII)

T = TypeVar("T")
ErrorEnvelope = Callable[[AppError, str], Mapping[str, Any]]

log = structlog.get_logger(__name__)


# Services


def provide(app: Quart, service: object) -> None:
    """Make a service available to the views of `app`, under its class."""
    app.extensions.setdefault(_SERVICES, {})[type(service)] = service


def service(kind: type[T]) -> T:
    """The service of that class that the composition root provided."""
    return cast(T, current_app.extensions[_SERVICES][kind])


def service_of(app: Quart, kind: type[T]) -> T:
    """The same for those who know the application, as hooks do: without a look for the present one."""
    return cast(T, app.extensions[_SERVICES][kind])


# Answers


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    given = None if headers is None else dict(headers)
    return Response(msgspec.json.encode(value), status=status, headers=given, content_type="application/json")


def ok(data: Any, status: int = 200) -> Response:
    """The Open API's envelope around what went well."""
    return json_response({"status": "ok", "message": None, "data": data}, status)


def open_api_error(error: AppError, request_id: str) -> Mapping[str, Any]:
    """The Open API's envelope around what did not."""
    return {
        "status": "error",
        "message": error.message,
        "data": None,
        "code": error.code,
        "request_id": request_id,
    }


def install_errors(app: Quart, doors: Sequence[tuple[str, ErrorEnvelope]]) -> None:
    """Answer every error in the envelope of the door it happened at; `doors` are path prefixes, the longest first.

    Unknown paths, wrong methods and crashes included: none is ever HTML, and a crash says nothing of its cause.
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


_WORDS = {
    400: ("bad_request", "Bad request"),
    404: ("not_found", "No such path"),
    405: ("method_not_allowed", "Method not allowed"),
    408: ("request_timeout", "The request did not arrive in time"),
    413: ("payload_too_large", "The request body is too large"),
}


def _from_werkzeug(error: HTTPException) -> AppError:
    status = error.code or 500
    code, message = _WORDS.get(status, ("http_error", error.name))
    mapped = AppError(message, code=code)
    mapped.status = status
    mapped.headers = {
        name: value for name, value in error.get_headers() if name.lower() in ("allow", "location", "retry-after")
    }
    return mapped


# Requests


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """The largest JSON body that is read."""

    bytes: int = 4 * 1024**2


async def json_object(limit: int | None = None) -> dict[str, Any]:
    """The request's body, which must be one JSON object of at most `limit` bytes (None: the setting's).

    Raises UnsupportedMediaType, PayloadTooLarge, and BadRequest for anything that is not such an object.
    """
    if not request.is_json:
        raise UnsupportedMediaType("Content-Type must be application/json")
    return parse_json_object(await _body(limit))


async def optional_json_object(limit: int | None = None) -> dict[str, Any]:
    """As `json_object`, and empty for a request without a body, which needs no content type then."""
    body = await _body(limit)
    if not body:
        return {}
    if not request.is_json:
        raise UnsupportedMediaType("Content-Type must be application/json")
    return parse_json_object(body)


async def _body(limit: int | None) -> bytes:
    limit = limit or service(BodyLimit).bytes
    request.max_content_length = limit
    if (request.content_length or 0) > limit:
        raise PayloadTooLarge(f"The request body is larger than {limit} bytes")
    try:
        return cast(bytes, await request.get_data(cache=False))
    except BodyTooLarge:
        raise PayloadTooLarge(f"The request body is larger than {limit} bytes") from None


def parse_json_object(text: bytes | str) -> dict[str, Any]:
    """One JSON object, nested no deeper than MAX_JSON_DEPTH. Raises BadRequest."""
    data = text.encode() if isinstance(text, str) else text
    if _depth_exceeds(data, MAX_JSON_DEPTH):
        raise BadRequest(f"The JSON is nested deeper than {MAX_JSON_DEPTH} levels", code="invalid_json")
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest("The body is not valid JSON", code="invalid_json") from None
    if not isinstance(value, dict):
        raise BadRequest("The body must be a JSON object", code="invalid_json")
    return value


def convert(value: Any, shape: type[T]) -> T:
    """`value` as `shape`, a msgspec type, strictly. Raises BadRequest naming the field that does not fit."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise BadRequest(str(error), code="invalid_request") from None


def page_of(args: Mapping[str, str]) -> tuple[int, int]:
    """`page` (1 or more) and `page_size` (1 to 100) of a listing's query. Raises BadRequest."""
    page, size = _integer(args.get("page", "1")), _integer(args.get("page_size", "20"))
    size = min(max(size, 1), 100)
    # A page beyond what the database can count to is an empty page, not a fault.
    return min(max(page, 1), MAX_INTEGER // size), size


def _integer(text: str) -> int:
    """However many digits it has, which Python's own `int` would not take. Raises BadRequest."""
    found = _INTEGER.fullmatch(text)
    if found is None:
        raise BadRequest("page and page_size must be integers", code="invalid_page")
    sign, digits = found.groups()
    number = MAX_INTEGER if len(digits) > 19 else int(digits)
    return -number if sign == "-" else number


def _depth_exceeds(data: bytes, limit: int) -> bool:
    # Nearly every body has fewer brackets than the limit, and is not looked at twice.
    if data.count(b"{") + data.count(b"[") <= limit:
        return False
    brackets = _STRING.sub(b"", data).translate(_AS_SQUARE, _NO_BRACKETS)
    # Each round takes the innermost level away; what is left after `limit` rounds is deeper, or not closed.
    for _ in range(limit):
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return False
    return True
