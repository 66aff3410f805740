"""The messages between the server and its workers: a request, and a text or the reason for none."""

from enum import StrEnum
from typing import Final

import msgspec

from app.files.quoting import framed

READER_VERSION: Final = 2
"""To be increased when the same file would give another text: stored texts are then extracted again."""


BROKEN: Final = "it is damaged or incomplete"
TOO_MUCH_MEMORY: Final = "reading it takes too much memory"


class Reason(StrEnum):
    """The reason for a refusal; the end of the error's code."""

    EMPTY = "empty"
    BROKEN = "broken"
    ENCRYPTED = "encrypted"
    BOMB = "bomb"
    TOO_MANY_PAGES = "too_many_pages"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    MISMATCH = "not_what_it_claims"
    TOO_SLOW = "took_too_long"
    TOO_MUCH_MEMORY = "took_too_much_memory"


class DocumentLimits(msgspec.Struct, frozen=True):
    """Limits of reading one document, whatever it says of itself.

    `max_ratio` is unpacked to packed bytes of one member of a package, for members of more than a mebibyte: office
    software stays below 100. `memory_bytes` is address space of the worker, which needs about 60 MiB to begin with.
    """

    max_file_bytes: int = 25 * 1024**2
    max_text_chars: int = 200_000
    max_pages: int = 2_000
    max_unpacked_bytes: int = 200 * 1024**2
    max_members: int = 10_000
    max_ratio: int = 200
    timeout_seconds: float = 30.0
    memory_bytes: int = 512 * 1024**2


class ExtractedText(msgspec.Struct, frozen=True, tag="text"):
    """The text of a document as Markdown: headings, lists, tables, `[page 2]`, `## Sheet: name`, `## Slide 2: title`.

    `format` is `pdf`, `docx`, `xlsx`, `pptx`, `html` or `text`; `pages` counts pages or slides, where there are any.
    With `truncated`, `text` is the first `max_text_chars` characters and the last of `notes` says where it was cut.
    """

    text: str
    format: str
    truncated: bool = False
    pages: int | None = None
    sheets: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def for_model(self, filename: str) -> str:
        """The text and the notes, between marks with the file's name."""
        return framed(filename, self.text, self.notes)


class NoText(msgspec.Struct, frozen=True, tag="refused"):
    """No text: `explanation` follows on `<file name> cannot be read: `; `detail` is for the log only."""

    reason: Reason
    explanation: str
    detail: str = ""


class ExtractionRequest(msgspec.Struct, frozen=True):
    """The head of a job; the file's bytes are its content."""

    filename: str
    media_type: str
    limits: DocumentLimits


Extraction = ExtractedText | NoText


class Unreadable(Exception):
    """The document cannot be read; raised inside a worker."""

    def __init__(self, reason: Reason, explanation: str) -> None:
        super().__init__(explanation)
        self.reason = reason
        self.explanation = explanation
