"""`/api/v1/knowledge/collections/{collection_id}/documents`."""

from typing import Any

from quart import Blueprint, Response, request

from app.auth.guards import caller
from app.auth.scopes import Scope
from app.edge.bodies import convert, json_object
from app.edge.operation import Answer, Body, Param, operation
from app.edge.paging import page_of
from app.edge.responses import ok
from app.edge.services import service
from app.errors import BadRequest, PayloadTooLarge
from app.files.multipart import MAX_OVERHEAD_BYTES, FormFile
from app.knowledge.collection_routes import COLLECTION_ID, PAGING, SHARED, TAG
from app.knowledge.documents import Added, DocumentService
from app.knowledge.models import DocumentStatus
from app.knowledge.schemas import (
    DOCUMENT_EXAMPLE,
    PASSAGE_EXAMPLE,
    DeletedDocument,
    DocumentItem,
    DocumentPage,
    NewDocument,
    PassageItem,
    PassagePage,
)

_FORM = "multipart/form-data"
_ENVELOPE = "ApiResponseDocument"
_NOT_FOUND = "Document not found"
_STATUSES = [status.value for status in DocumentStatus if status is not DocumentStatus.DELETING]
_STATUS = Param("status", "Only documents in this state.", {"type": "string", "enum": _STATUSES})
_DOCUMENT_ID = Param("document_id", "The document's id.", {"type": "string"}, where="path", required=True)
_IN_PATH = [COLLECTION_ID, _DOCUMENT_ID]

blueprint = Blueprint("knowledge_documents", __name__)


@blueprint.post("/api/v1/knowledge/collections/<collection_id>/documents")
@operation(
    "addDocument",
    "Add a document",
    scope=Scope.KNOWLEDGE,
    description="Adds an attachment, a text, or the file of a form (`file`) in one step, and begins to index it in the "
    "background: ask for the document until its `status` is `ready` or `failed`. Content that the collection has "
    "already is not added again: the answer is 200 and the document that there is. One that failed is tried again.",
    params=[COLLECTION_ID],
    body=Body(
        NewDocument,
        examples={
            "text": {"title": "Plants for the shade", "text": "Epimedium grows under old trees."},
            "attachment": {"attachment_id": DOCUMENT_EXAMPLE["attachment_id"]},
        },
        other_media_types={
            _FORM: {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "string", "format": "binary"}},
            }
        },
    ),
    answers={
        201: Answer("The new document", DocumentItem, envelope=_ENVELOPE, example=DOCUMENT_EXAMPLE),
        200: Answer("The document that there was", DocumentItem, envelope=_ENVELOPE, example=DOCUMENT_EXAMPLE),
    },
    errors={
        400: "Missing key: attachment_id or text",
        403: SHARED,
        404: "Collection not found",
        408: "The request did not arrive in time",
        413: "report.pdf cannot be read: it is larger than 25 MB",
        415: "Content-Type must be application/json or multipart/form-data",
        422: "cat.png cannot be read: it is no document (image/png)",
        503: "The storage is not available at the moment",
    },
    tag=TAG,
)
async def add_document(collection_id: str) -> Response:
    content_type = request.headers.get("Content-Type", "")
    if content_type.lower().startswith(_FORM):
        added = await _add_upload(collection_id, content_type)
    else:
        added = await _add_json(collection_id, await json_object())
    return ok(DocumentItem.of(added.document), 201 if added.is_new else 200)


@blueprint.get("/api/v1/knowledge/collections/<collection_id>/documents")
@operation(
    "listDocuments",
    "List a collection's documents",
    scope=Scope.KNOWLEDGE,
    description="The documents of a collection, the newest first.",
    params=[COLLECTION_ID, *PAGING, _STATUS],
    answers={
        200: Answer(
            "One page",
            DocumentPage,
            envelope="ApiResponseDocuments",
            example={"documents": [DOCUMENT_EXAMPLE], "page": 1, "page_size": 20, "total": 1},
        )
    },
    errors={400: "page and page_size must be integers", 404: "Collection not found"},
    tag=TAG,
)
async def list_documents(collection_id: str) -> Response:
    page, page_size = page_of(request.args)
    documents, total = await service(DocumentService).page(
        caller(), collection_id, page=page, page_size=page_size, status=_status()
    )
    return ok(DocumentPage([DocumentItem.of(each) for each in documents], page, page_size, total))


@blueprint.get("/api/v1/knowledge/collections/<collection_id>/documents/<document_id>")
@operation(
    "getDocument",
    "Get a document",
    scope=Scope.KNOWLEDGE,
    description="One document, and how far it has come.",
    params=_IN_PATH,
    answers={200: Answer("The document", DocumentItem, envelope=_ENVELOPE, example=DOCUMENT_EXAMPLE)},
    errors={404: _NOT_FOUND},
    tag=TAG,
)
async def get_document(collection_id: str, document_id: str) -> Response:
    return ok(DocumentItem.of(await service(DocumentService).get(caller(), collection_id, document_id)))


@blueprint.delete("/api/v1/knowledge/collections/<collection_id>/documents/<document_id>")
@operation(
    "deleteDocument",
    "Delete a document",
    scope=Scope.KNOWLEDGE,
    description="Deletes the document, whose passages are in no answer from now on. An attachment that was added by "
    "its id stays.",
    params=_IN_PATH,
    answers={
        200: Answer(
            "It is gone",
            DeletedDocument,
            envelope="ApiResponseDeletedDocument",
            example={"document_id": DOCUMENT_EXAMPLE["document_id"]},
        )
    },
    errors={403: SHARED, 404: _NOT_FOUND},
    tag=TAG,
)
async def delete_document(collection_id: str, document_id: str) -> Response:
    await service(DocumentService).delete(caller(), collection_id, document_id)
    return ok(DeletedDocument(document_id))


@blueprint.get("/api/v1/knowledge/collections/<collection_id>/documents/<document_id>/passages")
@operation(
    "listPassages",
    "List a document's passages",
    scope=Scope.KNOWLEDGE,
    description="What the document was taken apart into, in its order; while it is being indexed, as far as that is.",
    params=[*_IN_PATH, *PAGING],
    answers={
        200: Answer(
            "One page",
            PassagePage,
            envelope="ApiResponsePassages",
            example={"passages": [PASSAGE_EXAMPLE], "page": 1, "page_size": 20, "total": 12},
        )
    },
    errors={400: "page and page_size must be integers", 404: _NOT_FOUND},
    tag=TAG,
)
async def list_passages(collection_id: str, document_id: str) -> Response:
    page, page_size = page_of(request.args)
    passages, total = await service(DocumentService).passages(
        caller(), collection_id, document_id, page=page, page_size=page_size
    )
    return ok(PassagePage([PassageItem.of(each) for each in passages], page, page_size, total))


async def _add_upload(collection_id: str, content_type: str) -> Added:
    documents = service(DocumentService)
    limit = documents.max_file_bytes
    if (request.content_length or 0) > limit + MAX_OVERHEAD_BYTES:
        raise PayloadTooLarge(f"The file is larger than {limit} bytes")
    form_file = FormFile("file", content_type, request.body, limit)
    filename = await form_file.open()
    return await documents.add_upload(caller(), collection_id, filename, form_file.chunks())


async def _add_json(collection_id: str, body: dict[str, Any]) -> Added:
    wanted = convert(body, NewDocument)
    documents = service(DocumentService)
    if (wanted.attachment_id is None) == (wanted.text is None):
        raise BadRequest("Missing key: attachment_id or text, one of them", code="missing_key")
    if wanted.attachment_id is not None:
        title = None if wanted.title is None else wanted.title.strip()
        return await documents.add_attachment(caller(), collection_id, wanted.attachment_id, title)
    if wanted.title is None:
        raise BadRequest("Missing key: title", code="missing_key")
    return await documents.add_text(caller(), collection_id, wanted.title.strip(), wanted.text or "")


def _status() -> DocumentStatus | None:
    text = request.args.get("status")
    if text is None:
        return None
    if text not in _STATUSES:
        raise BadRequest(f"status must be one of {', '.join(_STATUSES)}", code="invalid_status")
    return DocumentStatus(text)
