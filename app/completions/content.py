"""What stands in messages beside text: images, which are checked, and documents, which become text."""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from app.auth.models import Principal
from app.chat.parts import Media, Part, Text, ToolResult
from app.completions.errors import InvalidRequest
from app.completions.requests import Message
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

MAX_FILE_BYTES = 10 * 1024**2
_TOO_LARGE = f"is larger than {MAX_FILE_BYTES} bytes"


@dataclass(frozen=True, slots=True)
class PreparedMessages:
    """Messages as the model is given them, and the parts that are kept of them in a session."""

    messages: list[Message] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)


class FileSink(Protocol):
    """Where the files of a request go: nowhere, or into the attachments."""

    async def add_image(self, filename: str, data: bytes) -> Part: ...
    async def add_document(self, filename: str, data: bytes) -> tuple[ExtractedText, Part]: ...


class DiscardFiles:
    """Keeps nothing."""

    def __init__(self, reader: DocumentReader) -> None:
        self._reader = reader

    async def add_image(self, filename: str, data: bytes) -> Part:
        return Text(f"[image: {filename}]")

    async def add_document(self, filename: str, data: bytes) -> tuple[ExtractedText, Part]:
        return await self._reader.read(data, filename), Text(f"[file: {filename}]")


class KeepAsAttachments:
    """Keeps files as the principal's attachments; `discard` takes them back."""

    def __init__(self, files: FileService, documents: ExtractedTextService, principal: Principal) -> None:
        self._files = files
        self._documents = documents
        self._principal = principal
        self._kept: list[Attachment] = []

    async def add_image(self, filename: str, data: bytes) -> Part:
        attachment = await self._save(filename, data)
        return Media("image", attachment.id, attachment.filename)

    async def add_document(self, filename: str, data: bytes) -> tuple[ExtractedText, Part]:
        attachment = await self._save(filename, data)
        text = await self._documents.text_of(attachment)
        return text, Media("file", attachment.id, attachment.filename)

    async def discard(self) -> None:
        while self._kept:
            await self._files.delete(self._kept.pop().id, None)

    async def _save(self, filename: str, data: bytes) -> Attachment:
        attachment = await self._files.save(filename, _one(data), self._principal)
        self._kept.append(attachment)
        return attachment


class ContentReader:
    """Prepares the messages of a request."""

    def __init__(self, images: ImageReader) -> None:
        self._images = replace_limits(images)

    async def prepare(self, messages: Sequence[Message], shelf: FileSink) -> PreparedMessages:
        """Raises InvalidRequest, PayloadTooLarge, DocumentRefused, ImageRefused, Unavailable."""
        prepared = PreparedMessages()
        for index, message in enumerate(messages):
            content = message.get("content")
            if not isinstance(content, list):
                prepared.messages.append(message)
                prepared.parts.extend(_kept_of(message, content or ""))
                continue
            shown, kept = [], []
            for position, part in enumerate(content):
                place = f"messages[{index}].content[{position}]"
                as_shown, as_kept = await self._part(part, place, shelf)
                shown.append(as_shown)
                kept.append(as_kept)
            changed = any(new is not old for new, old in zip(shown, content, strict=True))
            prepared.messages.append({**message, "content": shown} if changed else message)
            prepared.parts.extend(_kept_of(message, kept))
        return prepared

    async def _part(self, part: Any, place: str, shelf: FileSink) -> tuple[Any, Part]:
        """A part as the model is shown it, and as it is kept."""
        if isinstance(part, FormUpload):
            return await self._file(part.filename, part.data, shelf)
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise InvalidRequest("A part must be an object with a type", place)
        match part["type"]:
            case "image_url":
                return await self._image_url(part, place, shelf)
            case "file" if isinstance(part.get("file"), dict) and part["file"].get("file_data") is not None:
                return await self._file_data(part["file"], place, shelf)
            case "text":
                text = part.get("text")
                if not isinstance(text, str):
                    raise InvalidRequest("A text part needs its text", f"{place}.text")
                return part, Text(text)
            case other:  # audio, refusals, and what is yet to come
                text = part.get(other)
                return part, Text(text if isinstance(text, str) else f"[{other[:64]}]")

    async def _image_url(self, part: Message, place: str, shelf: FileSink) -> tuple[Any, Part]:
        image_url = part.get("image_url")
        url = image_url.get("url") if isinstance(image_url, dict) else image_url
        place = f"{place}.image_url.url"
        if not isinstance(url, str):
            raise InvalidRequest("An image_url part needs a url", place)
        if url[:5].lower() != "data:":
            if not url[:8].lower().startswith(("http://", "https://")):
                raise InvalidRequest("An image's url must be a data, http or https URL", place)
            return part, Text(f"[image: {url[:2000]}]")  # the model server may fetch it; Palaver never does
        declared, data = await _from_data_url(url, place)
        try:
            image = await self._images.check(data, "The image")
        except ImageRefused as error:
            if error.status == 413:
                raise
            raise InvalidRequest(error.message, place, code=error.code) from None
        kept = await shelf.add_image(f"image.{image.media_type.removeprefix('image/')}", image.data)
        if not image.changed and declared == image.media_type:
            return part, kept
        others = dict(image_url) if isinstance(image_url, dict) else {}
        others.pop("url", None)
        return _image_part(image, others), kept

    async def _file_data(self, file: Message, place: str, shelf: FileSink) -> tuple[Any, Part]:
        place = f"{place}.file.file_data"
        given = file["file_data"]
        if not isinstance(given, str):
            raise InvalidRequest("file_data must be a string", place)
        _, data = await _from_data_url(given if given[:5].lower() == "data:" else f"data:;base64,{given}", place)
        name = file.get("filename")
        return await self._file(clean_filename(name if isinstance(name, str) else "file"), data, shelf)

    async def _file(self, filename: str, data: bytes, shelf: FileSink) -> tuple[Any, Part]:
        if len(data) > MAX_FILE_BYTES:
            raise PayloadTooLarge(f"{filename} {_TOO_LARGE}", code="file_too_large")
        if looks_like_image(data):
            image = await self._images.check(data, filename)
            return _image_part(image, {}), await shelf.add_image(filename, image.data)
        text, kept = await shelf.add_document(filename, data)
        return {"type": "text", "text": text.for_model(filename)}, kept


def replace_limits(images: ImageReader) -> ImageReader:
    """The same reader for this door's files, which are no larger than MAX_FILE_BYTES."""
    if images.limits.max_bytes <= MAX_FILE_BYTES:
        return images
    return ImageReader(replace(images.limits, max_bytes=MAX_FILE_BYTES))


def _kept_of(message: Message, content: str | list[Part]) -> list[Part]:
    """What a session keeps of a message."""
    said: list[Part] = [Text(content)] if isinstance(content, str) and content.strip() else []
    parts = said if isinstance(content, str) else content
    call_id = message.get("tool_call_id")
    if message.get("role") == "tool" and isinstance(call_id, str):
        return [ToolResult(call_id, "\n".join(part.text for part in parts if isinstance(part, Text)))]
    return parts


def _image_part(image: CheckedImage, others: Message) -> Message:
    url = f"data:{image.media_type};base64,{base64.b64encode(image.data).decode()}"
    return {"type": "image_url", "image_url": {"url": url, **others}}


async def _from_data_url(url: str, place: str) -> tuple[str, bytes]:
    """The declared media type and the bytes of a data URL. Raises InvalidRequest, PayloadTooLarge."""
    head, comma, encoded = url[5:].partition(",")
    media_type, *options = [each.strip().lower() for each in head.split(";")]
    if not comma or "base64" not in options:
        raise InvalidRequest("A data URL must hold base64: data:<type>;base64,<data>", place)
    if len(encoded) // 4 * 3 - 2 > MAX_FILE_BYTES:
        raise PayloadTooLarge(f"The file in {place} {_TOO_LARGE}", code="file_too_large")
    try:
        data = await asyncio.to_thread(base64.b64decode, encoded, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("The data is not valid base64", place, code="invalid_base64") from None
    if len(data) > MAX_FILE_BYTES:
        raise PayloadTooLarge(f"The file in {place} {_TOO_LARGE}", code="file_too_large")
    return media_type, data


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data
