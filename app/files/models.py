"""Attachments as they are stored, and as the rest of Palaver sees them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.db import Base, UtcDateTime

MAX_FILENAME_CHARS = 255


class Kind(StrEnum):
    """What an attachment is to a chat: the seed's words (`record` is sound)."""

    IMAGE = "image"
    RECORD = "record"
    VIDEO = "video"
    FILE = "file"


class AttachmentRow(Base):
    """One attachment, written only once its bytes are safe in the storage under `storage_key`.

    `size` is in bytes, `sha256` in hexadecimal. `charset` is `utf-8` when the whole text was found to be that.
    `owner_username` is the user that the uploading key was bound to; None when it was bound to none.
    """

    __tablename__ = "attachments"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    filename: Mapped[str] = mapped_column(String(MAX_FILENAME_CHARS))
    type: Mapped[str] = mapped_column(String(16))
    media_type: Mapped[str] = mapped_column(String(255))
    charset: Mapped[str | None] = mapped_column(String(32))
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    storage_key: Mapped[str] = mapped_column(String(255))
    owner_username: Mapped[str | None] = mapped_column(String(255))
    key_id: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


@dataclass(frozen=True, slots=True)
class Attachment:
    """An attachment without its bytes; `storage_key` is for the storage only and is shown to nobody."""

    id: str
    filename: str
    type: Kind
    media_type: str
    charset: str | None
    size: int
    sha256: str
    storage_key: str
    owner_username: str | None
    key_id: str
    created_at: datetime
