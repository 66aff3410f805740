"""JSON request bodies: objects of bounded size and depth."""

import asyncio
import re
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from quart import request
from werkzeug.exceptions import RequestTimeout

from app.edge.operation import Refusal, refusal
from app.edge.services import service
from app.errors import BadRequest, PayloadTooLarge, UnsupportedMediaType

MAX_JSON_DEPTH = 32
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_AS_SQUARE = bytes.maketrans(b"{}", b"[]")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """The largest JSON body that is read."""

    bytes: int = 4 * 1024**2


def body_errors(limit: int) -> dict[int, Refusal]:
    """The errors of an operation with a JSON body, for the published document."""
    return {
        413: refusal(f"The request body is larger than {limit} bytes", "payload_too_large"),
        415: refusal("Content-Type must be application/json", "unsupported_media_type"),
    }


async def json_object(limit: int | None = None) -> dict[str, Any]:
    """Read the request's body as one JSON object of at most `limit` bytes (None: the setting's).

    Raises UnsupportedMediaType, PayloadTooLarge, and BadRequest for anything else.
    """
    if not request.is_json:
        raise UnsupportedMediaType("Content-Type must be application/json")
    return parse_json_object(await _read_body(limit))


async def optional_json_object(limit: int | None = None) -> dict[str, Any]:
    """Read a body as `json_object` does; a request without a body needs no content type and is an empty object."""
    body = await _read_body(limit)
    if not body:
        return {}
    if not request.is_json:
        raise UnsupportedMediaType("Content-Type must be application/json")
    return parse_json_object(body)


async def _read_body(limit: int | None) -> bytes:
    limit = limit or service(BodyLimit).bytes
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(request.body_timeout):
            async for piece in request.body:
                body += piece
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError:
        raise RequestTimeout from None
    return bytes(body)


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The request body is larger than {limit} bytes")


def parse_json_object(text: bytes | str) -> dict[str, Any]:
    """Parse one JSON object, nested no deeper than MAX_JSON_DEPTH. Raises BadRequest."""
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
    """Convert `value` to `shape`, a msgspec type, strictly. Raises BadRequest, which names the field at fault."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise BadRequest(str(error), code="invalid_request") from None


def _depth_exceeds(data: bytes, limit: int) -> bool:
    # Nearly every body has fewer brackets than the limit, which is quick to see.
    if data.count(b"{") + data.count(b"[") <= limit:
        return False
    brackets = _STRING.sub(b"", data).translate(_AS_SQUARE, _NO_BRACKETS)
    # Each round removes the innermost level; what remains after `limit` rounds is deeper, or not closed.
    for _ in range(limit):
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return False
    return True
