"""Collections, documents and passages: as they are stored, and as values.

The full-text index is not among the models, for SQLAlchemy knows no such tables: see `app/knowledge/index.py`.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.database.tables import Base, BigId, UtcDateTime

SHARED = ""
"""The owner of the collections that belong to nobody and are seen by everybody."""
MAX_NAME_CHARS = 100
MAX_DESCRIPTION_CHARS = 500
MAX_TITLE_CHARS = 255
HEADING_SEPARATOR = " > "


class DocumentStatus(StrEnum):
    """A document's passages are found only while it is `READY`.

    `DELETING` is shown to nobody: for its callers the document is gone, and what is left of it is being removed.
    """

    QUEUED = "queued"
    EXTRACTING = "extracting"
    INDEXING = "indexing"
    READY = "ready"
    FAILED = "failed"
    DELETING = "deleting"


OPEN_STATUSES = (DocumentStatus.QUEUED, DocumentStatus.EXTRACTING, DocumentStatus.INDEXING)


class CollectionRow(Base):
    """A named set of documents. `owner` is a username or `SHARED`; without an embedding model, search is by words.

    One that is `deleting` is gone for everybody, and only waits for its documents to be removed.
    """

    __tablename__ = "knowledge_collections"
    __table_args__ = (UniqueConstraint("owner", "name"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    owner: Mapped[str] = mapped_column(String(255))
    name: Mapped[str] = mapped_column(String(MAX_NAME_CHARS))
    description: Mapped[str] = mapped_column(String(MAX_DESCRIPTION_CHARS), default="")
    embedding_provider: Mapped[str | None] = mapped_column(String(64))
    embedding_model: Mapped[str | None] = mapped_column(String(255))
    deleting: Mapped[bool] = mapped_column(Boolean, default=False)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


class DocumentRow(Base):
    """A document. `size` is in bytes, `sha256` (hexadecimal) of its content; `error` is written for people.

    `truncated` and `notes` are what its reader had to say.
    """

    __tablename__ = "knowledge_documents"
    __table_args__ = (
        UniqueConstraint("collection_id", "sha256"),
        Index("ix_knowledge_documents_status", "status"),
        Index("ix_knowledge_documents_attachment_id", "attachment_id"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    collection_id: Mapped[str] = mapped_column(ForeignKey("knowledge_collections.id", ondelete="CASCADE"))
    title: Mapped[str] = mapped_column(String(MAX_TITLE_CHARS))
    media_type: Mapped[str] = mapped_column(String(255))
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    attachment_id: Mapped[str | None] = mapped_column(ForeignKey("attachments.id", ondelete="SET NULL"))
    owns_attachment: Mapped[bool] = mapped_column(Boolean, default=False)
    status: Mapped[str] = mapped_column(String(16))
    error_code: Mapped[str | None] = mapped_column(String(64))
    error: Mapped[str | None] = mapped_column(Text)
    truncated: Mapped[bool] = mapped_column(Boolean, default=False)
    notes: Mapped[list[str]] = mapped_column(JSON, default=list)
    passage_count: Mapped[int] = mapped_column(Integer, default=0)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


class PassageRow(Base):
    """A piece of a document. `heading` is the path of headings above it, `A > B`; `position` counts from 0.

    The id is the row's in the full-text index too, and is never given twice.
    """

    __tablename__ = "knowledge_passages"
    __table_args__ = (UniqueConstraint("document_id", "position"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    document_id: Mapped[str] = mapped_column(ForeignKey("knowledge_documents.id", ondelete="CASCADE"))
    collection_id: Mapped[str] = mapped_column(String(36))
    position: Mapped[int] = mapped_column(Integer)
    heading: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)


class VectorRow(Base):
    """A passage's embedding: float32, little-endian, of length 1."""

    __tablename__ = "knowledge_vectors"
    __table_args__ = (Index("ix_knowledge_vectors_collection_id_passage_id", "collection_id", "passage_id"),)

    passage_id: Mapped[int] = mapped_column(
        BigId, ForeignKey("knowledge_passages.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    collection_id: Mapped[str] = mapped_column(String(36))
    vector: Mapped[bytes] = mapped_column(LargeBinary)


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection without its documents; `owner` is '' for a shared one."""

    id: str
    owner: str
    name: str
    description: str
    embedding_provider: str | None
    embedding_model: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Document:
    """A document without its content; `error_code` and `error` say why it is `FAILED`."""

    id: str
    collection_id: str
    title: str
    media_type: str
    size: int
    sha256: str
    attachment_id: str | None
    owns_attachment: bool
    status: DocumentStatus
    error_code: str | None
    error: str | None
    truncated: bool
    notes: tuple[str, ...]
    passage_count: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Draft:
    """A passage that is not stored yet: see PassageRow."""

    position: int
    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class Found:
    """A passage that a search found, with its document's title. `score` is from 0 to 1; higher is better."""

    passage_id: int
    collection_id: str
    document_id: str
    title: str
    position: int
    heading: str
    text: str
    score: float
