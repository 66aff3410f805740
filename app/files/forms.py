"""Forms with files: one file as a stream, or the whole form in memory."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import msgspec
from python_multipart.multipart import parse_options_header

from app.errors import BadRequest, PayloadTooLarge, UnsupportedMediaType
from app.files.multipart import MultipartReader, Part, arriving, malformed
from app.files.names import clean_filename

MAX_PARTS = 20
# What may come around the file: boundaries, headers, small fields.
MAX_OVERHEAD_BYTES = 64 * 1024
FILES_FIELD = "files"
UNNAMED_FILE = "file"


class FormFile:
    """The file of the field `name` in a multipart body, under that name if the sender gives none.

    `open` reads up to the file and returns its name, `chunks` yields its bytes and reads the body to its end. At most
    `limit` bytes of file are read. Both raise BadRequest for a form that is malformed or ends too early,
    PayloadTooLarge, UploadStalled, and UnsupportedMediaType for what is no form.
    """

    def __init__(self, name: str, content_type: str | None, body: AsyncIterator[bytes], limit: int) -> None:
        self._name = name
        if parse_options_header(content_type)[0] in (b"", b"application/x-www-form-urlencoded"):
            raise self._missing()
        pieces = arriving(body, limit + MAX_OVERHEAD_BYTES, "The request body is too large")
        self._reader = MultipartReader(content_type, pieces, MAX_PARTS)

    async def open(self) -> str:
        """The file's name as the sender wrote it. Raises BadRequest `Missing key: <field>` when there is no file."""
        while (part := await self._reader.next_part()) is not None:
            if part.name == self._name:
                return part.filename or self._name
        raise self._missing()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The file's bytes, once."""
        async for data in self._reader.data():
            yield data
        while await self._reader.next_part() is not None:
            continue

    def _missing(self) -> BadRequest:
        return BadRequest(f"Missing key: {self._name}", code="missing_key")


@dataclass(frozen=True, slots=True)
class FormLimits:
    """The most bytes of the whole body and of one file, and the most parts."""

    body_bytes: int
    file_bytes: int
    parts: int = 100


class FormUpload(msgspec.Struct, frozen=True, array_like=True):
    """A file of a form; in the fingerprint of an idempotency claim it is a list of its members."""

    filename: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Form:
    """The last value of each field, and the files in their order."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[FormUpload] = field(default_factory=list)


async def read_form(content_type: str | None, body: AsyncIterator[bytes], limits: FormLimits) -> Form:
    """The form in a body. Raises BadRequest, PayloadTooLarge, UnsupportedMediaType, UploadStalled."""
    refusal = f"The request body is larger than {limits.body_bytes} bytes"
    try:
        reader = MultipartReader(content_type, arriving(body, limits.body_bytes, refusal), limits.parts)
    except UnsupportedMediaType:
        raise UnsupportedMediaType("Content-Type must be application/json or multipart/form-data") from None
    form = Form()
    while (part := await reader.next_part()) is not None:
        filename = _filename_of(part)
        content = bytearray()
        async for data in reader.data():
            content += data
            if filename is not None and len(content) > limits.file_bytes:
                raise PayloadTooLarge(f"{filename} is larger than {limits.file_bytes} bytes", code="file_too_large")
        if filename is not None:
            # Without a name and without content it is the field of a form where no file was chosen.
            if content or part.filename is not None:
                form.files.append(FormUpload(filename, bytes(content)))
            continue
        try:
            form.fields[part.name] = content.decode()
        except UnicodeDecodeError:
            raise BadRequest(f"The field {part.name[:64]} is not UTF-8", code="invalid_form") from None
    if not reader.is_complete:
        raise malformed("it ends too early")
    return form


def _filename_of(part: Part) -> str | None:
    """The file's name, or None for a plain field. Some generated clients send their files without one."""
    if part.filename is not None:
        return clean_filename(part.filename)
    return UNNAMED_FILE if part.name == FILES_FIELD else None
