"""Attachments and their texts: the tables, and the value for the rest of Palaver."""

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import JSON, BigInteger, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.database.tables import Base, UtcDateTime
from app.files.names import MAX_FILENAME_CHARS


class Kind(StrEnum):
    """An attachment's kind in a chat, in the API's words (`record` is sound)."""

    IMAGE = "image"
    RECORD = "record"
    VIDEO = "video"
    FILE = "file"


class AttachmentRow(Base):
    """One attachment, written only once its bytes are safe in the storage under `storage_key`.

    `size` is in bytes, `sha256` in hexadecimal. `charset` is the encoding of a text: `utf-8` when all of it is
    that, another one when it is sure.
    `owner_username` is the user that the uploading key was bound to; None when it was bound to none.
    """

    __tablename__ = "attachments"
    __table_args__ = (
        Index("ix_attachments_created_at_id", "created_at", "id"),
        Index("ix_attachments_owner_username_created_at_id", "owner_username", "created_at", "id"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    filename: Mapped[str] = mapped_column(String(MAX_FILENAME_CHARS))
    type: Mapped[str] = mapped_column(String(16))
    media_type: Mapped[str] = mapped_column(String(255))
    charset: Mapped[str | None] = mapped_column(String(32))
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    storage_key: Mapped[str] = mapped_column(String(255), index=True)
    owner_username: Mapped[str | None] = mapped_column(String(255))
    key_id: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class StorageUseRow(Base):
    """The bytes that a key's attachments count; triggers on `attachments` keep it up to date."""

    __tablename__ = "storage_use"

    key_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger)


class AttachmentTextRow(Base):
    """The text of an attachment that is a document, or the reason for its refusal.

    `made_by` names the reader's version and limits: texts of another make are not used. `details` is an
    ExtractedText without its text when `reason` is None; else `reason` and `text` are a refusal's and its explanation.
    """

    __tablename__ = "attachment_texts"

    attachment_id: Mapped[str] = mapped_column(
        String(36), ForeignKey("attachments.id", ondelete="CASCADE"), primary_key=True
    )
    made_by: Mapped[str] = mapped_column(String(64))
    reason: Mapped[str | None] = mapped_column(String(32))
    text: Mapped[str] = mapped_column(Text)
    details: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class AttachmentFilter(msgspec.Struct, frozen=True):
    """Which attachments to list; what is None admits all. `search` is a part of the name."""

    username: str | None = None
    search: str | None = None
    kind: Kind | None = None


class Attachment(msgspec.Struct, frozen=True):
    """An attachment without its bytes; `storage_key` is for the storage only, and never shown."""

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

    def is_usable(self, key_id: str, username: str | None) -> bool:
        """Check that it is the user's, or was uploaded for no user with this key."""
        return self.key_id == key_id if self.owner_username is None else self.owner_username == username
