"""Multipart bodies, read part by part as they arrive: nothing is spooled.

`python-multipart` is fed what the socket gives and calls back with what is in it. Here, parts are pulled
instead, so that a slow storage slows the sender down.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.errors import AppError, BadRequest, PayloadTooLarge, UnsupportedMediaType

MAX_HEADERS = 8
MAX_HEADER_BYTES = 4096
IDLE_SECONDS = 60.0
# A slower upload holds its place for nothing. What is counted is what is read, so that a slow disk is not to blame.
SLOW_SECONDS = 60.0
MIN_BYTES_PER_SECOND = 1024
# RFC 7578 forbids this form, and there are clients that send nothing better for what is not ASCII.
_EXTENDED_FILENAME = re.compile(rb";\s*filename\*\s*=\s*\"?(utf-8|iso-8859-1)'[^']*'([^;\"\s]+)", re.IGNORECASE)


class UploadStalled(AppError):
    """Nothing came for IDLE_SECONDS, or too little."""

    status = 408
    code = "request_timeout"


@dataclass(frozen=True, slots=True)
class Part:
    """The head of a part; `filename` is None for a plain field."""

    name: str
    filename: str | None


class MultipartReader:
    """The parts of a multipart body, at most `max_parts`; `pieces` yields the body.

    Raises BadRequest for a form that is malformed or ends too early, UnsupportedMediaType for another content type, and
    what `pieces` raises.
    """

    def __init__(self, content_type: str | None, pieces: AsyncIterator[bytes], max_parts: int) -> None:
        media_type, options = parse_options_header(content_type)
        if media_type != b"multipart/form-data":
            raise UnsupportedMediaType("Content-Type must be multipart/form-data")
        boundary = options.get(b"boundary", b"")
        if not 1 <= len(boundary) <= 200:
            raise malformed("its boundary is missing or too long")
        callbacks: Any = {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }
        self._parser = MultipartParser(
            boundary, callbacks, max_header_count=MAX_HEADERS, max_header_size=MAX_HEADER_BYTES
        )
        self._pieces = pieces
        self._max_parts = max_parts
        self._part_count = 0
        self._headers: dict[bytes, bytes] = {}
        self._header_name = self._header_value = b""
        # What was in the last piece, in its order: heads of parts, their data, b"" where a part ends, and a fault.
        self._events: deque[Part | bytes | BadRequest] = deque()
        self.is_complete = False
        """Whether the closing boundary has come."""

    async def next_part(self) -> Part | None:
        """The head of the next part, or None at the end of the body. Skips the unread rest of the part before."""
        while (event := await self._next_event()) is not None:
            if isinstance(event, Part):
                return event
        return None

    async def data(self) -> AsyncIterator[bytes]:
        """The data of the current part, once."""
        while isinstance(event := await self._next_event(), bytes) and event:
            yield event

    async def _next_event(self) -> Part | bytes | None:
        """The next head, data or end of a part; None at the end of the body."""
        while not self._events:
            piece = await anext(self._pieces, None)
            if piece is None:
                if self._part_count and not self.is_complete:
                    raise malformed("it ends too early")
                return None
            try:
                self._parser.write(piece)
            except FormParserError:
                self._events.append(malformed("it is not valid multipart/form-data"))
            except BadRequest as error:
                self._events.append(error)
        event = self._events.popleft()
        if isinstance(event, BadRequest):
            raise event
        return event

    def _on_part_begin(self) -> None:
        self._part_count += 1
        if self._part_count > self._max_parts:
            raise malformed(f"it has more than {self._max_parts} parts")
        self._headers.clear()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"")
        _, options = parse_options_header(disposition)
        filename = _extended_filename(disposition) or _decoded(options.get(b"filename"))
        self._events.append(Part(_decoded(options.get(b"name")) or "", filename))

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(data if end - start == len(data) else data[start:end])

    def _on_part_end(self) -> None:
        self._events.append(b"")

    def _on_end(self) -> None:
        self.is_complete = True


async def arriving(body: AsyncIterator[bytes], max_bytes: int, refusal: str) -> AsyncIterator[bytes]:
    """The pieces of a body. Raises UploadStalled, and PayloadTooLarge with the text `refusal`."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    size = 0
    while True:
        seconds = loop.time() - start
        if seconds > SLOW_SECONDS and size < seconds * MIN_BYTES_PER_SECOND:
            raise UploadStalled("The request arrives too slowly")
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                piece = await anext(body, None)
        except TimeoutError:
            raise UploadStalled("The request did not arrive in time") from None
        if piece is None:
            return
        size += len(piece)
        if size > max_bytes:
            raise PayloadTooLarge(refusal)
        yield piece


def malformed(reason: str) -> BadRequest:
    return BadRequest(f"The form cannot be read: {reason}", code="invalid_form")


def _extended_filename(disposition: bytes) -> str | None:
    match = _EXTENDED_FILENAME.search(disposition)
    return None if match is None else unquote(match[2].decode("latin-1"), match[1].decode(), "replace")


def _decoded(value: bytes | None) -> str | None:
    # Browsers and libraries send names in UTF-8; some old ones in Latin-1.
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None if value is None else value.decode("latin-1")
