"""The one file of a multipart form, read as it arrives: nothing is spooled, and nothing is read that will not be used.

`python-multipart` is pushed what the socket gives and calls back with what it finds; this turns it round, into an
iterator that is pulled, so that a slow storage slows the sender down.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.errors import AppError, BadRequest, PayloadTooLarge, UnsupportedMediaType

MAX_PARTS = 20
MAX_HEADERS = 8
MAX_HEADER_BYTES = 4096
# What may come around the file: boundaries, headers, small fields.
MAX_OVERHEAD_BYTES = 64 * 1024
IDLE_SECONDS = 60.0


class UploadStalled(AppError):
    """Nothing came for IDLE_SECONDS."""

    status = 408
    code = "request_timeout"


async def next_piece(body: AsyncIterator[bytes]) -> bytes | None:
    """What comes next of a body; None at its end. Raises UploadStalled."""
    try:
        async with asyncio.timeout(IDLE_SECONDS):
            return await anext(body, None)
    except TimeoutError:
        raise UploadStalled("The request did not arrive in time") from None


class FormFile:
    """The file of the field `name` in the multipart body that `body` yields.

    `open` reads up to the file and gives its name, `chunks` gives its bytes and reads the body to its end. At most
    `limit` bytes of file are looked at. Both raise BadRequest for a form that is malformed or ends too early,
    PayloadTooLarge, UploadStalled, and UnsupportedMediaType for what is no form.
    """

    def __init__(self, name: str, content_type: str | None, body: AsyncIterator[bytes], limit: int) -> None:
        self._name = name
        self._body = body
        self._allowance = limit + MAX_OVERHEAD_BYTES
        self._parser = self._make_parser(content_type)
        self._headers: dict[bytes, bytes] = {}
        self._header_name = b""
        self._header_value = b""
        self._parts = 0
        self._filename: str | None = None
        self._inside = False
        self._found = False
        self._ended = False
        self._pieces: deque[bytes] = deque()

    async def open(self) -> str:
        """The file's name as the sender gave it. Raises BadRequest `Missing key: <field>` when there is no file."""
        while not self._found and await self._feed():
            pass
        if self._filename is None:
            raise self._missing()
        return self._filename

    async def chunks(self) -> AsyncIterator[bytes]:
        """The file's bytes, once."""
        more = True
        while more:
            while self._pieces:
                yield self._pieces.popleft()
            more = await self._feed()
        while self._pieces:
            yield self._pieces.popleft()

    async def _feed(self) -> bool:
        """Give the parser what comes next; False at the end of the body."""
        data = await next_piece(self._body)
        if data is None:
            if self._parts and not self._ended:
                raise malformed("it ends too early")
            return False
        self._allowance -= len(data)
        if self._allowance < 0:
            raise PayloadTooLarge("The request body is too large")
        try:
            self._parser.write(data)
        except FormParserError:
            raise malformed("it is not valid multipart/form-data") from None
        return True

    def _make_parser(self, content_type: str | None) -> MultipartParser:
        media_type, options = parse_options_header(content_type)
        if media_type in (b"", b"application/x-www-form-urlencoded"):
            raise self._missing()
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
        return MultipartParser(boundary, callbacks, max_header_count=MAX_HEADERS, max_header_size=MAX_HEADER_BYTES)

    def _missing(self) -> BadRequest:
        return BadRequest(f"Missing key: {self._name}", code="missing_key")

    def _on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise malformed(f"it has more than {MAX_PARTS} parts")
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
        if not self._found and options.get(b"name") == self._name.encode():
            self._filename = extended_filename(disposition) or decoded(options.get(b"filename"))
            self._found = self._inside = self._filename is not None

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._inside:
            self._pieces.append(data if end - start == len(data) else data[start:end])

    def _on_part_end(self) -> None:
        self._inside = False

    def _on_end(self) -> None:
        self._ended = True


# RFC 7578 forbids this form, and there are clients that send nothing better for what is not ASCII.
_EXTENDED_FILENAME = re.compile(rb";\s*filename\*\s*=\s*\"?(utf-8|iso-8859-1)'[^']*'([^;\"\s]+)", re.IGNORECASE)


def extended_filename(disposition: bytes) -> str | None:
    found = _EXTENDED_FILENAME.search(disposition)
    return None if found is None else unquote(found[2].decode("latin-1"), found[1].decode(), "replace")


def decoded(value: bytes | None) -> str | None:
    # Browsers and libraries send names in UTF-8; some old ones in Latin-1.
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None if value is None else value.decode("latin-1")


def malformed(why: str) -> BadRequest:
    return BadRequest(f"The form cannot be read: {why}", code="invalid_form")
