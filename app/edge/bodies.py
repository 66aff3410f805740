"""JSON request bodies: objects of bounded size and depth."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import isinf
from typing import Any, Final, TypeVar

import msgspec
from quart import g, request
from werkzeug.exceptions import RequestTimeout

from app.edge.json_scan import MAX_DEPTH, check_json
from app.edge.operation import Refusal, refusal
from app.edge.services import service
from app.errors import BadRequest, PayloadTooLarge, TooManyRequests, UnsupportedMediaType
from app.limits import Bounds, ByteLimit, Pace

SMALL_BYTES: Final = 256 * 1024
LARGE_BYTES: Final = 1024**2
"""The size from which on a caller's bodies are counted: many small ones are no more than one large one."""
# To receive and scan a large body takes some 5 ms a MiB, in which nobody else is served.
BODY_BYTES_A_SECOND: Final = 16 * 1024**2
BODY_BURST: Final = 64 * 1024**2

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """The largest JSON body that is read."""

    bytes: int = 4 * 1024**2


class LargeBodies(ByteLimit):
    """The memory for large bodies, which wait for one another, and the pace at which a caller's are read."""

    def __init__(self, bounds: Bounds) -> None:
        super().__init__(bounds)
        self.pace = Pace(BODY_BYTES_A_SECOND, BODY_BURST)


class JsonParser:
    """Parses large texts beside the event loop, one at a time: each may take a hundred times its size in memory."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="json")

    async def run(self, parse: Callable[[], T]) -> T:
        """Call `parse` in the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, parse)


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
    return await parse_beside(await _read_body(limit))


async def optional_json_object(limit: int | None = None) -> dict[str, Any]:
    """Read a body as `json_object` does; a request without a body needs no content type and is an empty object."""
    body = await _read_body(limit)
    if not body:
        return {}
    if not request.is_json:
        raise UnsupportedMediaType("Content-Type must be application/json")
    return await parse_beside(body)


async def reserve_memory(size: int) -> None:
    """Wait until the caller may hold another body of `size` bytes, until the view returns. Raises TooManyRequests."""
    try:
        async with asyncio.timeout(request.body_timeout):
            bodies, name = service(LargeBodies), g.get("caller", "")
            await bodies.pace.keep(name, size)
            g.body_memory = await bodies.take(name, size)  # released with the request
    except TimeoutError:
        raise TooManyRequests("Too many large requests at once", retry_after=10) from None


async def parse_beside(text: bytes | bytearray | str) -> dict[str, Any]:
    """Parse as `parse_json_object` does, and large texts beside the event loop."""
    if len(text) <= SMALL_BYTES:
        return parse_json_object(text)
    return await service(JsonParser).run(partial(parse_json_object, text))


async def _read_body(limit: int | None) -> bytearray:
    limit = limit or service(BodyLimit).bytes
    size = request.content_length
    if (size or 0) > limit:
        raise _too_large(limit)
    if size is not None and size > LARGE_BYTES:
        await reserve_memory(size)
    body = bytearray()
    try:
        async with asyncio.timeout(request.body_timeout):
            async for piece in request.body:
                body += piece
                if len(body) > limit:
                    raise _too_large(limit)
                if size is None and len(body) > LARGE_BYTES:
                    size = limit
                    await reserve_memory(limit)
    except TimeoutError:
        raise RequestTimeout from None
    return body


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The request body is larger than {limit} bytes")


def parse_json_object(text: bytes | bytearray | str) -> dict[str, Any]:
    """Parse one JSON object of bounded depth and size. Raises BadRequest, PayloadTooLarge."""
    try:
        data = text.encode() if isinstance(text, str) else text
        # Nearly every body has fewer brackets than levels that are admitted, which is quick to see.
        if len(data) > SMALL_BYTES or data.count(b"{") + data.count(b"[") > MAX_DEPTH:
            check_json(data)
        value = _decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise BadRequest("The body is not valid JSON", code="invalid_json") from None
    if not isinstance(value, dict):
        raise BadRequest("The body must be a JSON object", code="invalid_json")
    return value


def _float_of(text: str) -> float:
    # msgspec needs 6 µs for a number like 5e-324, and lets no other thread run meanwhile.
    number = float(text)
    if isinf(number):
        raise ValueError("The number is out of range")
    return number


_decode: Final = msgspec.json.Decoder(float_hook=_float_of).decode


def convert(value: Any, shape: type[T]) -> T:
    """Convert `value` to `shape`, a msgspec type, strictly. Raises BadRequest, which names the field at fault."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise BadRequest(str(error), code="invalid_request") from None
