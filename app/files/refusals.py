"""Errors for stored files that cannot be given to a model: which file, and why."""

from app.errors import AppError
from app.files.extraction.models import Reason
from app.files.names import clean_filename

MAX_SHOWN_CHARS = 120
_UNREADABLE = [reason.value for reason in Reason if reason is not Reason.TOO_LARGE]
DOCUMENT_CODES = tuple(f"document_{reason}" for reason in _UNREADABLE)
IMAGE_CODES = tuple(f"image_{reason}" for reason in _UNREADABLE)
"""The codes with the status 422."""


class FileRefused(AppError):
    """`<file name> cannot be read: <explanation>`, with the sender's file name; 413 for too large, else 422."""

    kind = "file"

    def __init__(self, filename: str, reason: Reason, explanation: str) -> None:
        self.reason = reason
        self.explanation = explanation
        self.filename = clean_filename(filename)
        short_name = (
            self.filename if len(self.filename) <= MAX_SHOWN_CHARS else f"{self.filename[: MAX_SHOWN_CHARS - 1]}…"
        )
        status = 413 if reason is Reason.TOO_LARGE else 422
        message = f"{short_name} cannot be read: {explanation}"
        super().__init__(message, status=status, code=f"{self.kind}_{reason.value}")


class DocumentRefused(FileRefused):
    kind = "document"


class ImageRefused(FileRefused):
    kind = "image"
