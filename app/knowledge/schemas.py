"""Collections, documents and passages as they look on the wire."""

from typing import Annotated, Any, Final, Self

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.auth.service import MAX_USERNAME_CHARS, TEXT_PATTERN
from app.clock import iso
from app.knowledge.collections import Counted
from app.knowledge.models import (
    MAX_DESCRIPTION_CHARS,
    MAX_NAME_CHARS,
    MAX_TITLE_CHARS,
    SHARED,
    Collection,
    Document,
    DocumentStatus,
    Draft,
    Found,
)

MAX_QUERY_CHARS: Final = 4_000
MAX_COLLECTIONS: Final = 100
MAX_FOUND: Final = 50
SOMETHING: Final = r"\S"

Name = Annotated[str, Meta(max_length=MAX_NAME_CHARS, pattern=TEXT_PATTERN)]
Description = Annotated[str, Meta(max_length=MAX_DESCRIPTION_CHARS, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
Title = Annotated[str, Meta(max_length=MAX_TITLE_CHARS, pattern=TEXT_PATTERN)]
Query = Annotated[str, Meta(max_length=MAX_QUERY_CHARS, pattern=SOMETHING)]
# 5.0 is an integer to JSON Schema, and to many languages' JSON.
Limit = Annotated[float, Meta(ge=1, le=MAX_FOUND, multiple_of=1, extra_json_schema={"type": "integer"})]


class NewCollection(msgspec.Struct, kw_only=True):
    """`owner` is the user that the collection belongs to: the key's own if it is bound to one; else null means that all
    share it. The embedding model, if there is one, is that of the profile `config_id` (null: the default one)."""

    name: Name
    description: Description = ""
    owner: Annotated[str, Meta(max_length=MAX_USERNAME_CHARS, pattern=TEXT_PATTERN)] | None = None
    config_id: Name | None = None


class CollectionChange(msgspec.Struct, kw_only=True):
    """What is left out stays."""

    name: Name | UnsetType = UNSET
    description: Description | UnsetType = UNSET


class NewDocument(msgspec.Struct, kw_only=True):
    """Either `attachment_id`, or `text` with a `title`."""

    attachment_id: Annotated[str, Meta(max_length=100, pattern=TEXT_PATTERN)] | None = None
    text: Annotated[str, Meta(pattern=SOMETHING)] | None = None
    title: Title | None = None


class SearchRequest(msgspec.Struct, kw_only=True):
    """`limit` passages at most."""

    query: Query
    limit: Limit = 5


class SearchEverywhereRequest(SearchRequest, kw_only=True):
    """`collections` are ids or names; null or left out means all that the key may see."""

    collections: Annotated[list[Name], Meta(min_length=1, max_length=MAX_COLLECTIONS)] | None = None


class CollectionItem(msgspec.Struct):
    """A collection; `owner` null means that all share it. `passage_count` counts those of documents that are ready."""

    collection_id: str
    name: str
    description: str
    owner: str | None
    embedding_model: str | None
    document_count: int
    passage_count: int
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, counted: Counted) -> Self:
        collection = counted.collection
        return cls(
            collection_id=collection.id,
            name=collection.name,
            description=collection.description,
            owner=None if collection.owner == SHARED else collection.owner,
            embedding_model=collection.embedding_model,
            document_count=counted.documents,
            passage_count=counted.passages,
            created_at=iso(collection.created_at),
            updated_at=iso(collection.updated_at),
        )


class CollectionPage(msgspec.Struct):
    collections: list[CollectionItem]
    page: int
    page_size: int
    total: int


class DeletedCollection(msgspec.Struct):
    collection_id: str


class DocumentItem(msgspec.Struct):
    """A document. `status` goes from `queued` over `extracting` and `indexing` to `ready` or `failed`, for which
    `error_code` and `error` are the reason; `passage_count` grows meanwhile.

    `size` is in bytes, `sha256` hexadecimal. `truncated` says that its text was longer than what is taken of one
    document, and `notes` what else the reader noticed. `attachment_id` is null when the attachment was deleted.
    """

    document_id: str
    collection_id: str
    title: str
    media_type: str
    size: int
    sha256: str
    attachment_id: str | None
    status: Annotated[str, Meta(extra_json_schema={"enum": ["queued", "extracting", "indexing", "ready", "failed"]})]
    error_code: str | None
    error: str | None
    truncated: bool
    notes: list[str]
    passage_count: int
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, document: Document) -> Self:
        return cls(
            document_id=document.id,
            collection_id=document.collection_id,
            title=document.title,
            media_type=document.media_type,
            size=document.size,
            sha256=document.sha256,
            attachment_id=document.attachment_id,
            status=document.status.value,
            error_code=document.error_code,
            error=document.error,
            truncated=document.truncated,
            notes=list(document.notes),
            passage_count=document.passage_count,
            created_at=iso(document.created_at),
            updated_at=iso(document.updated_at),
        )


class DocumentPage(msgspec.Struct):
    documents: list[DocumentItem]
    page: int
    page_size: int
    total: int


class DeletedDocument(msgspec.Struct):
    document_id: str


class PassageItem(msgspec.Struct):
    """A passage; `position` counts from 0, `heading` is the path of headings above it, `A > B`."""

    position: int
    heading: str
    text: str

    @classmethod
    def of(cls, passage: Draft) -> Self:
        return cls(passage.position, passage.heading, passage.text)


class PassagePage(msgspec.Struct):
    passages: list[PassageItem]
    page: int
    page_size: int
    total: int


class FoundPassage(PassageItem):
    """A passage that was found, with its document and collection; `score` is from 0 to 1, higher is better."""

    score: float
    document_id: str
    title: str
    collection_id: str
    collection: str

    @classmethod
    def found(cls, found: Found, collection: Collection) -> Self:
        return cls(
            position=found.position,
            heading=found.heading,
            text=found.text,
            score=found.score,
            document_id=found.document_id,
            title=found.title,
            collection_id=found.collection_id,
            collection=collection.name,
        )


class FoundPassages(msgspec.Struct):
    passages: list[FoundPassage]


COLLECTION_EXAMPLE: Final[dict[str, Any]] = {
    "collection_id": "6b1f2c1e-8a57-4a53-9a60-1a5c57d1c0de",
    "name": "garden",
    "description": "What grows where",
    "owner": None,
    "embedding_model": None,
    "document_count": 1,
    "passage_count": 12,
    "created_at": "2026-11-24T01:20:58.571438+00:00",
    "updated_at": "2026-11-24T01:20:58.571438+00:00",
}
DOCUMENT_EXAMPLE: Final[dict[str, Any]] = {
    "document_id": "0e2f4c7a-55a1-4b0e-8f1f-3c9f2b6d7a10",
    "collection_id": COLLECTION_EXAMPLE["collection_id"],
    "title": "Plants for the shade",
    "media_type": "text/plain",
    "size": 5120,
    "sha256": "9f" * 32,
    "attachment_id": "0b7f6a52-6d3f-4f1f-9d53-0a4f5a1c2e11",
    "status": DocumentStatus.READY.value,
    "error_code": None,
    "error": None,
    "truncated": False,
    "notes": [],
    "passage_count": 12,
    "created_at": "2026-11-24T01:20:58.571438+00:00",
    "updated_at": "2026-11-24T01:20:59.104833+00:00",
}
PASSAGE_EXAMPLE: Final[dict[str, Any]] = {
    "position": 3,
    "heading": "Shade > Dry soil",
    "text": "Epimedium grows under old trees, where little else does.",
}
FOUND_EXAMPLE: Final[dict[str, Any]] = {
    **PASSAGE_EXAMPLE,
    "score": 0.82,
    "document_id": DOCUMENT_EXAMPLE["document_id"],
    "title": DOCUMENT_EXAMPLE["title"],
    "collection_id": COLLECTION_EXAMPLE["collection_id"],
    "collection": "garden",
}
