"""The content of messages: images are checked, documents become text."""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from app.auth.models import Principal
from app.chat.parts import Media, Part, Text, ToolResult
from app.completions.errors import InvalidRequest
from app.completions.values import MessageParam
from app.errors import PayloadTooLarge
from app.files.extracted_text import ExtractedTextService
from app.files.extraction.models import ExtractedText
from app.files.extraction.reader import DocumentReader
from app.files.forms import FormUpload
from app.files.images import CheckedImage, ImageReader, looks_like_image
from app.files.models import Attachment
from app.files.names import clean_filename
from app.files.refusals import ImageRefused
from app.files.service import FileService
from app.workers.turns import Caller

ContentParam = dict[str, Any]
"""A part of a message's content as a client of OpenAI's API sends it."""

MAX_FILE_BYTES = 10 * 1024**2
MAX_IMAGES = 100
"""The most images in a request that are sent as data."""
_TOO_LARGE = f"is larger than {MAX_FILE_BYTES} bytes"


@dataclass(frozen=True, slots=True)
class TurnContent:
    """Messages for the model, and their parts for the session's history."""

    messages: list[MessageParam] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)


class FileSink(Protocol):
    """The destination of a request's files: nowhere, or the attachments. `undo` deletes stored files."""

    async def add_image(self, filename: str, data: bytes) -> Part: ...
    async def add_document(self, filename: str, data: bytes) -> tuple[ExtractedText, Part]: ...
    async def undo(self) -> None: ...


class DiscardFiles:
    """Store no files."""

    def __init__(self, reader: DocumentReader, caller: Caller) -> None:
        self._reader = reader
        self._caller = caller

    async def add_image(self, filename: str, data: bytes) -> Part:
        return Text(f"[image: {filename}]")

    async def add_document(self, filename: str, data: bytes) -> tuple[ExtractedText, Part]:
        return await self._reader.read(data, filename, caller=self._caller), Text(f"[file: {filename}]")

    async def undo(self) -> None:
        """Nothing was stored."""


class KeepAsAttachments:
    """Store files as the principal's attachments."""

    def __init__(
        self, files: FileService, documents: ExtractedTextService, principal: Principal, caller: Caller
    ) -> None:
        self._files = files
        self._documents = documents
        self._principal = principal
        self._caller = caller
        self._attachments: list[Attachment] = []

    async def add_image(self, filename: str, data: bytes) -> Part:
        attachment = await self._save(filename, data)
        return Media("image", attachment.id, attachment.filename)

    async def add_document(self, filename: str, data: bytes) -> tuple[ExtractedText, Part]:
        attachment = await self._save(filename, data)
        text = await self._documents.text_of(attachment, self._caller)
        return text, Media("file", attachment.id, attachment.filename)

    async def undo(self) -> None:
        while self._attachments:
            await self._files.delete(self._attachments.pop().id, None)

    async def _save(self, filename: str, data: bytes) -> Attachment:
        attachment = await self._files.save(filename, _single_chunk(data), self._principal)
        self._attachments.append(attachment)
        return attachment


@dataclass(slots=True)
class _Room:
    """Who sent a request that is read, and what is left of its limits."""

    caller: Caller
    document_chars: int
    images: int = MAX_IMAGES


class ContentReader:
    """Reads the messages of a request, whose documents have at most `document_chars` characters together."""

    def __init__(self, images: ImageReader, document_chars: int) -> None:
        self._images = images
        self._document_chars = document_chars

    async def read(self, messages: Sequence[MessageParam], sink: FileSink, caller: Caller) -> TurnContent:
        """Raises InvalidRequest, PayloadTooLarge, DocumentRefused, ImageRefused, TooManyRequests,
        Unavailable.
        """
        turn = TurnContent()
        room = _Room(caller, self._document_chars)
        for index, message in enumerate(messages):
            content = message.get("content")
            if not isinstance(content, list):
                turn.messages.append(message)
                turn.parts.extend(_stored_parts(message, content or ""))
                continue
            params, parts = [], []
            for position, item in enumerate(content):
                param, part = await self._read_part(item, f"messages[{index}].content[{position}]", sink, room)
                params.append(param)
                parts.append(part)
            is_changed = any(param is not item for param, item in zip(params, content, strict=True))
            turn.messages.append({**message, "content": params} if is_changed else message)
            turn.parts.extend(_stored_parts(message, parts))
        return turn

    async def _read_part(self, param: Any, path: str, sink: FileSink, room: _Room) -> tuple[Any, Part]:
        """A content part for the model, and for the session's history; `path` is its location in the request."""
        if isinstance(param, FormUpload):
            return await self._read_file(param.filename, param.data, path, sink, room)
        if not isinstance(param, dict) or not isinstance(param.get("type"), str):
            raise InvalidRequest("A part must be an object with a type", path)
        match param["type"]:
            case "image_url":
                return await self._read_image_url(param, path, sink, room)
            case "file" if isinstance(param.get("file"), dict) and param["file"].get("file_data") is not None:
                return await self._read_file_data(param["file"], f"{path}.file.file_data", sink, room)
            case "text":
                text = param.get("text")
                if not isinstance(text, str):
                    raise InvalidRequest("A text part needs its text", f"{path}.text")
                return param, Text(text)
            case kind:  # audio, refusals, and what is yet to come
                text = param.get(kind)
                return param, Text(text if isinstance(text, str) else f"[{kind[:64]}]")

    async def _read_image_url(
        self, param: ContentParam, path: str, sink: FileSink, room: _Room
    ) -> tuple[ContentParam, Part]:
        image_url = param.get("image_url")
        options = dict(image_url) if isinstance(image_url, dict) else {}
        url = options.pop("url", None) if isinstance(image_url, dict) else image_url
        path = f"{path}.image_url.url"
        if not isinstance(url, str):
            raise InvalidRequest("An image_url part needs a url", path)
        if url[:5].lower() != "data:":
            if not url[:8].lower().startswith(("http://", "https://")):
                raise InvalidRequest("An image's url must be a data, http or https URL", path)
            return param, Text(f"[image: {url[:2000]}]")  # the model server may fetch it; Palaver never does
        _take_image(room, path)
        media_type, data = await _decode_data_url(url, path)
        try:
            image = await self._images.check(data, "The image", room.caller)
        except ImageRefused as error:
            if error.status == 413:
                raise
            raise InvalidRequest(error.message, path, code=error.code) from None
        part = await sink.add_image(f"image.{image.media_type.removeprefix('image/')}", image.data)
        if not image.changed and media_type == image.media_type:
            return param, part
        return _image_param(image, options), part

    async def _read_file_data(
        self, file: ContentParam, path: str, sink: FileSink, room: _Room
    ) -> tuple[ContentParam, Part]:
        file_data, name = file["file_data"], file.get("filename")
        if not isinstance(file_data, str):
            raise InvalidRequest("file_data must be a string", path)
        url = file_data if file_data[:5].lower() == "data:" else f"data:;base64,{file_data}"
        _, data = await _decode_data_url(url, path)
        name = clean_filename(name if isinstance(name, str) else "file")
        return await self._read_file(name, data, path, sink, room)

    async def _read_file(
        self, filename: str, data: bytes, path: str, sink: FileSink, room: _Room
    ) -> tuple[ContentParam, Part]:
        if len(data) > MAX_FILE_BYTES:
            raise PayloadTooLarge(f"{filename} {_TOO_LARGE}", code="file_too_large")
        if looks_like_image(data):
            _take_image(room, path)
            image = await self._images.check(data, filename, room.caller)
            return _image_param(image, {}), await sink.add_image(filename, image.data)
        text, part = await sink.add_document(filename, data)
        room.document_chars -= len(text.text)
        if room.document_chars < 0:
            problem = f"The documents of a request have at most {self._document_chars:,} characters together"
            raise PayloadTooLarge(problem, code="documents_too_long")
        return {"type": "text", "text": text.for_model(filename)}, part


def _take_image(room: _Room, path: str) -> None:
    """Raises InvalidRequest."""
    room.images -= 1
    if room.images < 0:
        raise InvalidRequest(f"A request has at most {MAX_IMAGES} images", path, code="too_many_images")


def _stored_parts(message: MessageParam, content: str | list[Part]) -> list[Part]:
    """A message's parts for the session's history."""
    if isinstance(content, str):
        content = [Text(content)] if content.strip() else []
    call_id = message.get("tool_call_id")
    if message.get("role") == "tool" and isinstance(call_id, str):
        return [ToolResult(call_id, "\n".join(part.text for part in content if isinstance(part, Text)))]
    return content


def _image_param(image: CheckedImage, options: Mapping[str, Any]) -> ContentParam:
    url = f"data:{image.media_type};base64,{base64.b64encode(image.data).decode()}"
    return {"type": "image_url", "image_url": {"url": url, **options}}


async def _decode_data_url(url: str, path: str) -> tuple[str, bytes]:
    """The declared media type and the bytes of a data URL. Raises InvalidRequest, PayloadTooLarge."""
    head, comma, payload = url[5:].partition(",")
    media_type, *options = [option.strip().lower() for option in head.split(";")]
    if not comma or "base64" not in options:
        raise InvalidRequest("A data URL must hold base64: data:<type>;base64,<data>", path)
    if len(payload) // 4 * 3 - 2 > MAX_FILE_BYTES:
        raise PayloadTooLarge(f"The file in {path} {_TOO_LARGE}", code="file_too_large")
    try:
        data = await asyncio.to_thread(base64.b64decode, payload, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("The data is not valid base64", path, code="invalid_base64") from None
    if len(data) > MAX_FILE_BYTES:
        raise PayloadTooLarge(f"The file in {path} {_TOO_LARGE}", code="file_too_large")
    return media_type, data


async def _single_chunk(data: bytes) -> AsyncIterator[bytes]:
    yield data
