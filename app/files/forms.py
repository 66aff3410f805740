"""A whole multipart form, its fields and its files, read as it arrives and no further than its limits."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.errors import BadRequest, PayloadTooLarge, UnsupportedMediaType
from app.files.multipart import MAX_HEADER_BYTES, MAX_HEADERS, decoded, extended_filename, malformed, next_piece
from app.files.names import clean_filename


@dataclass(frozen=True, slots=True)
class FormLimits:
    """Bytes, of the whole body and of one file, and how many parts there may be."""

    body_bytes: int
    file_bytes: int
    parts: int = 100


@dataclass(frozen=True, slots=True)
class FormUpload:
    """A file of a form; `field` is the part's name."""

    field: str
    filename: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Form:
    """What came: each field's last value, and the files in their order."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[FormUpload] = field(default_factory=list)


async def read_form(content_type: str | None, body: AsyncIterator[bytes], limits: FormLimits) -> Form:
    """The form in a body. Raises BadRequest, PayloadTooLarge, UnsupportedMediaType, UploadStalled."""
    reader = _FormReader(content_type, limits)
    left = limits.body_bytes
    while True:
        data = await next_piece(body)
        if data is None:
            return reader.end()
        left -= len(data)
        if left < 0:
            raise PayloadTooLarge(f"The request body is larger than {limits.body_bytes} bytes")
        reader.feed(data)


class _FormReader:
    """Collects the parts that the parser finds."""

    def __init__(self, content_type: str | None, limits: FormLimits) -> None:
        media_type, options = parse_options_header(content_type)
        if media_type != b"multipart/form-data":
            raise UnsupportedMediaType("Content-Type must be application/json or multipart/form-data")
        boundary = options.get(b"boundary", b"")
        if not 1 <= len(boundary) <= 200:
            raise malformed("its boundary is missing or too long")
        self._limits = limits
        self._form = Form()
        self._parts = 0
        self._ended = False
        self._headers: dict[bytes, bytes] = {}
        self._header = (b"", b"")
        self._name = ""
        self._filename: str | None = None
        self._content = bytearray()
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

    def feed(self, data: bytes) -> None:
        try:
            self._parser.write(data)
        except FormParserError:
            raise malformed("it is not valid multipart/form-data") from None

    def end(self) -> Form:
        if not self._ended:
            raise malformed("it ends too early")
        return self._form

    def _on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > self._limits.parts:
            raise malformed(f"it has more than {self._limits.parts} parts")
        self._headers.clear()
        self._header = (b"", b"")
        self._content = bytearray()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0] + data[start:end], self._header[1])

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0], self._header[1] + data[start:end])

    def _on_header_end(self) -> None:
        name, value = self._header
        self._headers[name.lower()] = value
        self._header = (b"", b"")

    def _on_headers_finished(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"")
        _, options = parse_options_header(disposition)
        self._name = decoded(options.get(b"name")) or ""
        self._filename = extended_filename(disposition) or decoded(options.get(b"filename"))

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]
        if self._filename is not None and len(self._content) > self._limits.file_bytes:
            name = clean_filename(self._filename)
            raise PayloadTooLarge(f"{name} is larger than {self._limits.file_bytes} bytes", code="file_too_large")

    def _on_part_end(self) -> None:
        if self._filename is not None:
            self._form.files.append(FormUpload(self._name, clean_filename(self._filename), bytes(self._content)))
            return
        try:
            self._form.fields[self._name] = self._content.decode()
        except UnicodeDecodeError:
            raise BadRequest(f"The field {self._name[:64]} is not UTF-8", code="invalid_form") from None

    def _on_end(self) -> None:
        self._ended = True
