"""The files of a conversation as a model is shown them: images, the texts of documents, and names; within bounds."""

import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.chat.parts import Media, Part
from app.chat.values import MessageRole
from app.errors import TooManyRequests, Unavailable
from app.files.extracted_text import ExtractedTextService
from app.files.extraction.models import Reason
from app.files.images import ImageReader
from app.files.models import Attachment, Kind
from app.files.quoting import framed, label, named
from app.files.refusals import DocumentRefused, ImageRefused
from app.files.service import FileService
from app.limits import Pace
from app.workers.turns import Caller

SHOWN_BY_NAME = frozenset({Reason.UNSUPPORTED, Reason.TOO_LARGE})
"""Files that are no documents, or too long to be read, are shown by their names."""
MIN_CUT_BYTES = 1_000
"""A document of which less than this could be shown is shown by its name."""

# A MiB of an image takes some 10 ms on its way to a model server, in which nobody else is served.
IMAGE_BYTES_A_SECOND = 20 * 1024**2
IMAGE_BURST = 64 * 1024**2

Message = Mapping[str, Any]
Turn = tuple[str, tuple[Part, ...]]
"""The role and the parts of a stored message."""


@dataclass(frozen=True, slots=True)
class PromptLimits:
    """The most of files in one request to a model server: images, bytes of them, and characters of documents."""

    images: int = 10
    bytes: int = 32 * 1024**2
    document_chars: int = 1_000_000


@dataclass(slots=True)
class Room:
    """What is left of the limits while a request is made; `history_bytes` is for documents of earlier messages."""

    images: int
    bytes: int
    document_chars: int
    history_bytes: int


@dataclass(frozen=True, slots=True)
class ShownImages:
    """The images in a request, as names by their attachments' ids: the message's own, and those of earlier messages."""

    own: Mapping[str, str] = field(default_factory=dict)
    earlier: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.own or self.earlier)


@dataclass(slots=True)
class MediaContent:
    """The content of each media part by the places of its turn and its own, and which images are in it."""

    parts: dict[tuple[int, int], Message] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    own_images: dict[str, str] = field(default_factory=dict)


class MediaLoader:
    """Loads what parts name."""

    def __init__(
        self, files: FileService, documents: ExtractedTextService, images: ImageReader, limits: PromptLimits
    ) -> None:
        self._files = files
        self._documents = documents
        self._images = images
        self._limits = limits
        self._pace = Pace(IMAGE_BYTES_A_SECOND, IMAGE_BURST)

    def room(self, history_tokens: int, own: Sequence[Message]) -> Room:
        """The room beside the caller's own messages, which are shown as they are."""
        urls = [url for message in own for url in _image_urls(message)]
        return Room(
            images=self._limits.images - len(urls),
            bytes=self._limits.bytes - sum(map(len, urls)),
            document_chars=self._limits.document_chars,
            history_bytes=4 * max(0, history_tokens),
        )

    async def load(
        self, turns: Sequence[Turn], room: Room, hidden: Mapping[str, str], caller: Caller, *, has_own: bool
    ) -> MediaContent:
        """Load the media of the turns, the newest first; with `has_own`, the last turn is the message to be answered.

        An image or document is shown once, where it is newest. `hidden` are images by their ids, with the reason to
        show them by their names.
        """
        ids = {part.attachment_id for _, parts in turns for part in parts if isinstance(part, Media)}
        attachments = await self._files.find_many(ids, None)
        loading = _Loading(
            self._files, self._documents, self._images, self._limits, self._pace, room, hidden, attachments, caller
        )
        content = MediaContent()
        for index in range(len(turns) - 1, -1, -1):
            role, parts = turns[index]
            is_own = has_own and index == len(turns) - 1
            for position, part in enumerate(parts):
                if isinstance(part, Media):
                    message = await loading.content(part, role, is_own=is_own)
                    content.parts[index, position] = message
                    if message["type"] == "image_url":
                        name = label(part.filename or attachments[part.attachment_id].filename)
                        (content.own_images if is_own else content.images)[part.attachment_id] = name
        return content


class _Loading:
    """One request's media."""

    def __init__(
        self,
        files: FileService,
        documents: ExtractedTextService,
        images: ImageReader,
        limits: PromptLimits,
        pace: Pace,
        room: Room,
        hidden: Mapping[str, str],
        attachments: Mapping[str, Attachment],
        caller: Caller,
    ) -> None:
        self._files = files
        self._documents = documents
        self._images = images
        self._limits = limits
        self._pace = pace
        self._room = room
        self._hidden = hidden
        self._attachments = attachments
        self._caller = caller
        self._shown: set[str] = set()

    async def content(self, part: Media, role: str, *, is_own: bool) -> Message:
        """Return an image as it is, a document as its text, and anything else as its name."""
        attachment = self._attachments.get(part.attachment_id)
        if attachment is None:
            return text_part(f"[{part.kind}: {label(part.filename or part.attachment_id)}, no longer available]")
        name = label(part.filename or attachment.filename)
        if attachment.type is Kind.IMAGE and role != MessageRole.USER:  # assistants' turns cannot hold images
            return text_part(named("image", name))
        try:
            if attachment.type is Kind.IMAGE:
                return await self._image(attachment, name)
            if attachment.type is Kind.FILE:
                return await self._document(attachment, name, is_own=is_own)
        except (TooManyRequests, Unavailable):
            if is_own:
                raise
            # Bytes that are lost, or a busy moment, must not cost a reply to something else.
            return text_part(named(attachment.type, name, "cannot be read at the moment"))
        return text_part(f"[{attachment.type}: {name}, {attachment.media_type}]")

    async def _image(self, attachment: Attachment, name: str) -> Message:
        if attachment.sha256 in self._shown:
            return text_part(named("image", name, "shown once, elsewhere in this conversation"))
        if (reason := self._hidden.get(attachment.id)) is not None:
            return text_part(named("image", name, f"not shown: {reason}"))
        if self._room.images < 1:
            return text_part(named("image", name, f"not shown: only the newest {self._limits.images} images are"))
        try:
            facts, changed = await self._images.check_attachment(self._files, attachment, self._caller)
        except ImageRefused as error:
            return text_part(named("image", name, f"cannot be read: {error.explanation}"))
        size = len(changed) if facts.changed else attachment.size
        if size * 4 // 3 > self._room.bytes:
            return text_part(named("image", name, "not shown: the images of this conversation are too large together"))
        await self._pace.keep(self._caller.key_id, size)
        data = changed if facts.changed else await self._files.read(attachment, attachment.size)
        self._shown.add(attachment.sha256)
        url = f"data:{facts.media_type};base64,{base64.b64encode(data).decode()}"
        self._room.images -= 1
        self._room.bytes -= len(url)
        return {"type": "image_url", "image_url": {"url": url}}

    async def _document(self, attachment: Attachment, name: str, *, is_own: bool) -> Message:
        if attachment.sha256 in self._shown:
            return text_part(named("file", name, "shown once, elsewhere in this conversation"))
        try:
            document = await self._documents.text_of(attachment, self._caller)
        except DocumentRefused as error:
            if error.reason in SHOWN_BY_NAME:
                return text_part(f"[{attachment.type}: {name}, {attachment.media_type}]")
            return text_part(f"[file: {name}, which cannot be read: {error.explanation}]")
        room = self._room
        text = document.text[: room.document_chars]
        if not is_own:
            text = text.encode()[: room.history_bytes].decode(errors="ignore")
        notes = document.notes
        if len(text) < len(document.text):
            if len(text) < MIN_CUT_BYTES:
                return text_part(named("file", name, "not shown: the files of this conversation are too long together"))
            notes = (*notes, f"cut off here: only the first {len(text):,} characters are shown")
        self._shown.add(attachment.sha256)
        room.document_chars -= len(text)
        if not is_own:
            room.history_bytes -= len(text.encode())
        return text_part(framed(name, text, notes))


def text_part(text: str) -> Message:
    return {"type": "text", "text": text}


def _image_urls(message: Message) -> Collection[str]:
    """The data URLs of a message in OpenAI's form; addresses of images elsewhere weigh nothing here."""
    content = message.get("content")
    urls = []
    for item in content if isinstance(content, list) else ():
        image = item.get("image_url") if isinstance(item, dict) else None
        url = image.get("url") if isinstance(image, dict) else image
        if isinstance(url, str) and url.startswith("data:"):
            urls.append(url)
    return urls
