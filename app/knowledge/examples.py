"""The knowledge base in the published document: parameters, bodies, answers and errors, with examples."""

from typing import Any, Final

from app.edge.operation import Answer, Body, Param
from app.knowledge.models import DocumentStatus
from app.knowledge.schemas import (
    MAX_BODY_BYTES,
    STATUSES,
    CollectionChange,
    CollectionItem,
    CollectionPage,
    DeletedCollection,
    DeletedDocument,
    DocumentItem,
    DocumentPage,
    FoundPassages,
    NewCollection,
    NewDocument,
    PassagePage,
    SearchEverywhereRequest,
    SearchRequest,
)

PAGING: Final = [
    Param("page", "Below 1 counts as 1.", {"type": "integer", "default": 1}),
    Param("page_size", "Held to 1..100.", {"type": "integer", "default": 20}),
]
COLLECTION_ID: Final = Param("collection_id", "The collection's id.", {"type": "string"}, where="path", required=True)
DOCUMENT_ID: Final = Param("document_id", "The document's id.", {"type": "string"}, where="path", required=True)
STATUS: Final = Param("status", "Only documents in this state.", {"type": "string", "enum": STATUSES})

_COLLECTION_MISSING = {404: "Collection not found"}
_DOCUMENT_MISSING = {404: "Document not found"}
_IS_SHARED = {403: "A key bound to a username cannot change a shared collection"}
_NAME_TAKEN = {409: "There is a collection of that name: garden"}
_NO_NUMBERS = {400: "page and page_size must be integers"}
_BODY_ERRORS = {
    413: f"The request body is larger than {MAX_BODY_BYTES} bytes",
    415: "Content-Type must be application/json",
}

# Collections

_COLLECTION = {
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
_COLLECTION_ANSWER = Answer("The collection", CollectionItem, envelope="ApiResponseCollection", example=_COLLECTION)

NEW_COLLECTION: Final = Body(
    NewCollection,
    examples={
        "shared": {"name": "garden", "description": "What grows where"},
        "a user's": {"name": "notes", "owner": "alice"},
    },
)
CREATED_COLLECTION: Final = {201: _COLLECTION_ANSWER}
CREATE_ERRORS: Final = {
    400: "Missing key: name",
    403: "The API key is bound to another username",
    **_NAME_TAKEN,
    **_BODY_ERRORS,
}
COLLECTIONS: Final = {
    200: Answer(
        "One page",
        CollectionPage,
        envelope="ApiResponseCollections",
        example={"collections": [_COLLECTION], "page": 1, "page_size": 20, "total": 1},
    )
}
LIST_ERRORS: Final = _NO_NUMBERS
COLLECTION: Final = {200: _COLLECTION_ANSWER}
GET_ERRORS: Final = _COLLECTION_MISSING
COLLECTION_CHANGE: Final = Body(CollectionChange, examples={"rename": {"name": "shade garden"}})
CHANGE_ERRORS: Final = {400: "name is empty", **_IS_SHARED, **_COLLECTION_MISSING, **_NAME_TAKEN, **_BODY_ERRORS}
DELETED_COLLECTION: Final = {
    200: Answer(
        "It is gone",
        DeletedCollection,
        envelope="ApiResponseDeletedCollection",
        example={"collection_id": _COLLECTION["collection_id"]},
    )
}
DELETE_ERRORS: Final = {**_IS_SHARED, **_COLLECTION_MISSING}

# Documents

_DOCUMENT: dict[str, Any] = {
    "document_id": "0e2f4c7a-55a1-4b0e-8f1f-3c9f2b6d7a10",
    "collection_id": _COLLECTION["collection_id"],
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

NEW_DOCUMENT: Final = Body(
    NewDocument,
    examples={
        "text": {"title": "Plants for the shade", "text": "Epimedium grows under old trees."},
        "attachment": {"attachment_id": _DOCUMENT["attachment_id"]},
    },
    other_media_types={
        "multipart/form-data": {
            "type": "object",
            "required": ["file"],
            "properties": {"file": {"type": "string", "format": "binary"}},
        }
    },
)
ADDED_DOCUMENT: Final = {
    201: Answer("The new document", DocumentItem, envelope="ApiResponseDocument", example=_DOCUMENT),
    200: Answer("The document that there was", DocumentItem, envelope="ApiResponseDocument", example=_DOCUMENT),
}
ADD_DOCUMENT_ERRORS: Final = {
    400: "Missing key: attachment_id or text",
    **_IS_SHARED,
    **_COLLECTION_MISSING,
    408: "The request did not arrive in time",
    413: "report.pdf cannot be read: it is larger than 25 MB",
    415: "Content-Type must be application/json or multipart/form-data",
    422: "cat.png cannot be read: it is no document (image/png)",
    503: "The storage is not available at the moment",
}
DOCUMENTS: Final = {
    200: Answer(
        "One page",
        DocumentPage,
        envelope="ApiResponseDocuments",
        example={"documents": [_DOCUMENT], "page": 1, "page_size": 20, "total": 1},
    )
}
LIST_DOCUMENTS_ERRORS: Final = {**_NO_NUMBERS, **_COLLECTION_MISSING}
DOCUMENT: Final = {200: Answer("The document", DocumentItem, envelope="ApiResponseDocument", example=_DOCUMENT)}
GET_DOCUMENT_ERRORS: Final = _DOCUMENT_MISSING
DELETED_DOCUMENT: Final = {
    200: Answer(
        "It is gone",
        DeletedDocument,
        envelope="ApiResponseDeletedDocument",
        example={"document_id": _DOCUMENT["document_id"]},
    )
}
DELETE_DOCUMENT_ERRORS: Final = {**_IS_SHARED, **_DOCUMENT_MISSING}

# Passages

_PASSAGE = {
    "position": 3,
    "heading": "Shade > Dry soil",
    "text": "Epimedium grows under old trees, where little else does.",
}
_FOUND_PASSAGE = {
    **_PASSAGE,
    "score": 0.82,
    "document_id": _DOCUMENT["document_id"],
    "title": _DOCUMENT["title"],
    "collection_id": _COLLECTION["collection_id"],
    "collection": "garden",
}

PASSAGES: Final = {
    200: Answer(
        "One page",
        PassagePage,
        envelope="ApiResponsePassages",
        example={"passages": [_PASSAGE], "page": 1, "page_size": 20, "total": 12},
    )
}
LIST_PASSAGES_ERRORS: Final = {**_NO_NUMBERS, **_DOCUMENT_MISSING}
SEARCH: Final = Body(SearchRequest, examples={"question": {"query": "What grows under old trees?", "limit": 3}})
SEARCH_EVERYWHERE: Final = Body(
    SearchEverywhereRequest,
    examples={"question": {"query": "What grows under old trees?", "collections": ["garden"], "limit": 3}},
)
FOUND_PASSAGES: Final = {
    200: Answer(
        "The best passages, the best first",
        FoundPassages,
        envelope="ApiResponseFoundPassages",
        example={"passages": [_FOUND_PASSAGE]},
    )
}
SEARCH_ERRORS: Final = {400: "Missing key: query", **_COLLECTION_MISSING, **_BODY_ERRORS}
SEARCH_EVERYWHERE_ERRORS: Final = {400: "collection not found: X", **_BODY_ERRORS}
