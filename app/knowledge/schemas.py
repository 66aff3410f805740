"""The wire's shapes of collections, documents and passages."""

from typing import Annotated, Final, Self

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.auth.checks import MAX_USERNAME_CHARS, TEXT_PATTERN
from app.edge.schemas import DateTime, PageNumber, PageSize, example, shape_of
from app.files.schemas import EXAMPLE_ID
from app.knowledge.models import (
    MAX_DESCRIPTION_CHARS,
    MAX_NAME_CHARS,
    MAX_TITLE_CHARS,
    SHARED,
    CollectionId,
    CollectionName,
    CollectionStats,
    Document,
    DocumentId,
    DocumentStatus,
    DocumentTitle,
    FoundPassage,
    PassageItem,
)
from app.text import LINE_PATTERN

MAX_BODY_BYTES: Final = 64 * 1024
MAX_QUERY_CHARS: Final = 4_000
MAX_COLLECTIONS: Final = 100
MAX_FOUND: Final = 50
STATUSES: Final = [status.value for status in DocumentStatus if status is not DocumentStatus.DELETING]
_NOT_BLANK: Final = r"\S"

Name = Annotated[str, Meta(max_length=MAX_NAME_CHARS, pattern=TEXT_PATTERN)]
Description = Annotated[str, Meta(max_length=MAX_DESCRIPTION_CHARS, pattern=LINE_PATTERN)]
Title = Annotated[str, Meta(max_length=MAX_TITLE_CHARS, pattern=TEXT_PATTERN)]
Query = Annotated[str, Meta(max_length=MAX_QUERY_CHARS, pattern=_NOT_BLANK)]
# 5.0 is an integer to JSON Schema, and to many languages' JSON.
Limit = Annotated[float, Meta(ge=1, le=MAX_FOUND, multiple_of=1, extra_json_schema={"type": "integer"})]
Time = Annotated[DateTime, example("2026-11-24T01:20:58.571438+00:00")]


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
    text: Annotated[str, Meta(pattern=_NOT_BLANK)] | None = None
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

    collection_id: CollectionId
    name: CollectionName
    description: Annotated[str, example("What grows where")]
    owner: str | None
    embedding_model: str | None
    document_count: Annotated[int, example(1)]
    passage_count: Annotated[int, example(12)]
    created_at: Time
    updated_at: Time

    @classmethod
    def of(cls, collection: CollectionStats) -> Self:
        owner = None if collection.owner == SHARED else collection.owner
        return shape_of(cls, collection, collection_id=collection.id, owner=owner)


class CollectionPage(msgspec.Struct):
    collections: list[CollectionItem]
    page: PageNumber
    page_size: PageSize
    total: Annotated[int, example(1)]


class DeletedCollection(msgspec.Struct):
    collection_id: CollectionId


class DocumentItem(msgspec.Struct):
    """A document. `status` goes from `queued` over `extracting` and `indexing` to `ready` or `failed`, for which
    `error_code` and `error` are the reason; `passage_count` grows meanwhile.

    `size` is in bytes, `sha256` hexadecimal. `truncated` says that its text was longer than what is taken of one
    document, and `notes` what else the reader noticed. `attachment_id` is null when the attachment was deleted.
    """

    document_id: DocumentId
    collection_id: CollectionId
    title: DocumentTitle
    media_type: Annotated[str, example("text/plain")]
    size: Annotated[int, example(5120)]
    sha256: Annotated[str, example("9f" * 32)]
    attachment_id: Annotated[str | None, example(EXAMPLE_ID)]
    status: Annotated[str, Meta(extra_json_schema={"enum": STATUSES}), example("ready")]
    error_code: str | None
    error: str | None
    truncated: Annotated[bool, example(False)]
    notes: list[str]
    passage_count: Annotated[int, example(12)]
    created_at: Time
    updated_at: Annotated[Time, example("2026-11-24T01:20:59.104833+00:00")]

    @classmethod
    def of(cls, document: Document) -> Self:
        return shape_of(cls, document, document_id=document.id)


class DocumentPage(msgspec.Struct):
    documents: list[DocumentItem]
    page: PageNumber
    page_size: PageSize
    total: Annotated[int, example(1)]


class DeletedDocument(msgspec.Struct):
    document_id: DocumentId


class PassagePage(msgspec.Struct):
    passages: list[PassageItem]
    page: PageNumber
    page_size: PageSize
    total: Annotated[int, example(12)]


class FoundPassages(msgspec.Struct):
    passages: list[FoundPassage]
