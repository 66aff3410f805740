"""Collections, documents and passages: their tables and their values.

The tables of the full-text index have no models, as SQLAlchemy knows no such tables: see `app/knowledge/fulltext`.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
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
from app.edge.schemas import example

SHARED = ""
"""The owner of shared collections."""
MAX_NAME_CHARS = 100
MAX_DESCRIPTION_CHARS = 500
MAX_TITLE_CHARS = 255
HEADING_SEPARATOR = " > "

CollectionId = Annotated[str, example("6b1f2c1e-8a57-4a53-9a60-1a5c57d1c0de")]
CollectionName = Annotated[str, example("garden")]
DocumentId = Annotated[str, example("0e2f4c7a-55a1-4b0e-8f1f-3c9f2b6d7a10")]
DocumentTitle = Annotated[str, example("Plants for the shade")]


class DocumentStatus(StrEnum):
    """The state of a document; only passages of `READY` ones are searched.

    `DELETING` is internal: to callers the document no longer exists, while its data is being removed.
    """

    QUEUED = "queued"
    EXTRACTING = "extracting"
    INDEXING = "indexing"
    READY = "ready"
    FAILED = "failed"
    DELETING = "deleting"


class CollectionRow(Base):
    """A named set of documents. `owner` is a username or `SHARED`; without an embedding model, search is by words.

    A collection that is `deleting` is invisible, and waits for the removal of its documents.
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

    `truncated` and `notes` come from the reader of its file. Each step of the indexer sets `updated_at`, which is the
    token of its lease.
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

    The full-text index has the same ids; they are never reused.
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


class Collection(msgspec.Struct, frozen=True):
    """A collection without its documents; `owner` is `SHARED` or a username."""

    id: str
    owner: str
    name: str
    description: str
    embedding_provider: str | None
    embedding_model: str | None
    created_at: datetime
    updated_at: datetime


class CollectionStats(Collection, frozen=True):
    """A collection with the numbers of its documents and of their ready passages."""

    document_count: int
    passage_count: int


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A document without its content; `error_code` and `error` give the reason of `FAILED`."""

    id: str
    collection_id: str
    title: str
    media_type: str
    size: int
    sha256: str
    attachment_id: str | None
    owns_attachment: bool
    status: DocumentStatus = DocumentStatus.QUEUED
    error_code: str | None = None
    error: str | None = None
    truncated: bool = False
    notes: tuple[str, ...] = ()
    passage_count: int = 0
    created_at: datetime
    updated_at: datetime


class PassageItem(msgspec.Struct, frozen=True):
    """A passage; `position` counts from 0, `heading` is the path of headings above it, `A > B`."""

    position: Annotated[int, example(3)]
    heading: Annotated[str, example("Shade > Dry soil")]
    text: Annotated[str, example("Epimedium grows under old trees, where little else does.")]


class FoundPassage(PassageItem, frozen=True):
    """A passage that was found, with its document and collection; `score` is from 0 to 1, higher is better."""

    score: Annotated[float, example(0.82)]
    document_id: DocumentId
    title: DocumentTitle
    collection_id: CollectionId
    collection: CollectionName
