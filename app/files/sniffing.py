"""Types of files, by their content alone: the sender's claim counts for nothing."""

import codecs
import re
from dataclasses import dataclass

# First: its import lets `magic` find the library.
import pylibmagic

# isort: split
import magic

from app.files.models import Kind

HEAD_BYTES = 8192

UNKNOWN = "application/octet-stream"

# libmagic's names for things that have a registered one.
_REGISTERED = {
    "audio/x-aac": "audio/aac",
    "audio/x-flac": "audio/flac",
    "audio/x-hx-aac-adts": "audio/aac",
    "audio/x-m4a": "audio/mp4",
    "audio/x-mp4a-latm": "audio/mp4",
    "audio/x-wav": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "image/x-ms-bmp": "image/bmp",
    "image/x-icon": "image/vnd.microsoft.icon",
    "video/x-m4v": "video/mp4",
}

# Listed, not derived from the prefix: libmagic finds old picture formats in random bytes, and SVG can run scripts.
_KINDS = {
    Kind.IMAGE: {
        "image/avif", "image/bmp", "image/gif", "image/heic", "image/heic-sequence", "image/heif",
        "image/heif-sequence", "image/jp2", "image/jpeg", "image/png", "image/tiff", "image/vnd.microsoft.icon",
        "image/webp",
    },
    Kind.RECORD: {
        "audio/aac", "audio/amr", "audio/flac", "audio/midi", "audio/mp4", "audio/mpeg", "audio/ogg", "audio/wav",
        "audio/webm", "audio/x-aiff", "audio/x-matroska",
    },
    Kind.VIDEO: {
        "video/3gpp", "video/mp4", "video/mpeg", "video/ogg", "video/quicktime", "video/webm", "video/x-flv",
        "video/x-matroska", "video/x-ms-asf", "video/x-msvideo",
    },
}  # fmt: skip
_KIND_OF = {media_type: kind for kind, media_types in _KINDS.items() for media_type in media_types}

_MARKUP = re.compile(rb"\s*<[a-z!?/]", re.IGNORECASE)
_BOM = codecs.BOM_UTF8


@dataclass(frozen=True, slots=True)
class FileType:
    """A media type, and the kind of attachment that goes with it."""

    media_type: str
    kind: Kind

    @property
    def is_text(self) -> bool:
        return self.media_type.startswith("text/")

    @property
    def may_be_text(self) -> bool:
        """Whether it is a text, or may be one in an encoding that libmagic does not know."""
        return self.is_text or self.media_type == UNKNOWN


class Sniffer:
    """libmagic with its own database, from the Python package. Safe in any thread; takes about a millisecond."""

    def __init__(self) -> None:
        database = str(pylibmagic.data.joinpath("magic.mgc"))
        self._magic = magic.Magic(mime=True, mime_encoding=True, magic_file=database)

    def sniff(self, head: bytes) -> FileType:
        """The type of a file by its `head` (HEAD_BYTES, or all of it)."""
        media_type = self._media_type(head)
        return FileType(media_type, _KIND_OF.get(media_type, Kind.FILE))

    def _media_type(self, head: bytes) -> str:
        if not head:
            return "application/x-empty"
        try:
            description = str(self._magic.from_buffer(head))
        except magic.MagicException:
            description = f"{UNKNOWN}; charset=binary"
        media_type, _, charset = description.partition("; charset=")
        media_type = _REGISTERED.get(media_type, media_type)
        if media_type.startswith("text/") and charset in ("binary", "unknown-8bit"):
            media_type = UNKNOWN
        if media_type == UNKNOWN and _is_plain_text(head):
            media_type = "text/plain"
        if media_type == "text/plain" and _MARKUP.match(head.removeprefix(_BOM)):
            # libmagic needs more markup to call it HTML; a browser may need less.
            media_type = "image/svg+xml" if b"<svg" in head.lower() else "text/html"
        if media_type in ("video/webm", "video/x-matroska") and b"A_" in head and b"V_" not in head:
            # The container names its tracks near its start: this one has sound only, as browsers' recorders make it.
            media_type = media_type.replace("video/", "audio/")
        return media_type


def _is_plain_text(head: bytes) -> bool:
    try:
        # Not final: the head may end within a character.
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in "\t\n\r\f" for character in text.removeprefix("\ufeff"))
