"""`/api/v1/knowledge/collections/{collection_id}/documents`."""

from typing import Any, Final

from quart import Blueprint, Response, request

from app.auth.guards import caller
from app.edge.bodies import convert, json_object
from app.edge.operation import Answer, Body, Param, refusal
from app.edge.paging import PAGING, PAGING_ERRORS, page_of
from app.edge.responses import ok
from app.edge.services import service
from app.errors import BadRequest, PayloadTooLarge
from app.files.forms import MAX_OVERHEAD_BYTES, FormFile
from app.files.schemas import EXAMPLE_ID, FILE_FORM
from app.knowledge.collection_routes import COLLECTION_ID, COLLECTION_MISSING, IS_SHARED, knowledge_operation
from app.knowledge.documents import DocumentService
from app.knowledge.models import Document, DocumentStatus
from app.knowledge.schemas import STATUSES, DeletedDocument, DocumentItem, DocumentPage, NewDocument, PassagePage

blueprint = Blueprint("knowledge_documents", __name__)

DOCUMENT_ID: Final = Param("document_id", "The document's id.", {"type": "string"}, where="path")
STATUS: Final = Param("status", "Only documents in this state.", {"type": "string", "enum": STATUSES})
DOCUMENT_MISSING: Final = {404: refusal("Document not found", "document_not_found", "collection_not_found")}


@blueprint.post("/api/v1/knowledge/collections/<collection_id>/documents")
@knowledge_operation(
    "addDocument",
    "Add a document",
    description="Adds an attachment, a text, or the file of a form (`file`) in one step, and begins to index it in the "
    "background: ask for the document until its `status` is `ready` or `failed`. Content that the collection has "
    "already is not added again: the answer is 200 and the document that there is. One that failed is tried again.",
    params=[COLLECTION_ID],
    body=Body(
        NewDocument,
        {
            "text": {"title": "Plants for the shade", "text": "Epimedium grows under old trees."},
            "attachment": {"attachment_id": EXAMPLE_ID},
        },
        other_media_types={"multipart/form-data": FILE_FORM},
    ),
    answers={
        201: Answer("The new document", DocumentItem, envelope="ApiResponseDocument"),
        200: Answer("The document that there was", DocumentItem, envelope="ApiResponseDocument"),
    },
    errors={
        400: refusal("Missing key: attachment_id or text", "missing_key"),
        **IS_SHARED,
        404: refusal("Collection not found", "collection_not_found", "attachment_not_found"),
        413: refusal(
            "report.pdf cannot be read: it is larger than 25 MB", "document_too_large", "storage_quota_exceeded"
        ),
        415: refusal("Content-Type must be application/json or multipart/form-data", "unsupported_media_type"),
        422: refusal("cat.png cannot be read: it is no document (image/png)", "document_unsupported"),
        503: refusal("The storage is not available at the moment", "storage_unavailable", "database_unavailable"),
    },
)
async def add_document(collection_id: str) -> Response:
    content_type = request.headers.get("Content-Type", "")
    if content_type.lower().startswith("multipart/form-data"):
        document, is_new = await _add_upload(collection_id, content_type)
    else:
        document, is_new = await _add_json(collection_id, await json_object())
    return ok(DocumentItem.of(document), 201 if is_new else 200)


@blueprint.get("/api/v1/knowledge/collections/<collection_id>/documents")
@knowledge_operation(
    "listDocuments",
    "List a collection's documents",
    description="The documents of a collection, the newest first.",
    params=[COLLECTION_ID, *PAGING, STATUS],
    answers={200: Answer("One page", DocumentPage, envelope="ApiResponseDocuments")},
    errors={
        400: refusal("page and page_size must be integers", "invalid_page", "invalid_status"),
        **COLLECTION_MISSING,
    },
)
async def list_documents(collection_id: str) -> Response:
    page, page_size = page_of(request.args)
    documents, total = await service(DocumentService).page(
        caller(), collection_id, page=page, page_size=page_size, status=_status()
    )
    return ok(DocumentPage([DocumentItem.of(document) for document in documents], page, page_size, total))


@blueprint.get("/api/v1/knowledge/collections/<collection_id>/documents/<document_id>")
@knowledge_operation(
    "getDocument",
    "Get a document",
    description="One document, and how far it has come.",
    params=[COLLECTION_ID, DOCUMENT_ID],
    answers={200: Answer("The document", DocumentItem, envelope="ApiResponseDocument")},
    errors=DOCUMENT_MISSING,
)
async def get_document(collection_id: str, document_id: str) -> Response:
    return ok(DocumentItem.of(await service(DocumentService).get(caller(), collection_id, document_id)))


@blueprint.delete("/api/v1/knowledge/collections/<collection_id>/documents/<document_id>")
@knowledge_operation(
    "deleteDocument",
    "Delete a document",
    description="Deletes the document, whose passages are in no answer from now on. An attachment that was added by "
    "its id stays.",
    params=[COLLECTION_ID, DOCUMENT_ID],
    answers={200: Answer("It is gone", DeletedDocument, envelope="ApiResponseDeletedDocument")},
    errors={**IS_SHARED, **DOCUMENT_MISSING},
)
async def delete_document(collection_id: str, document_id: str) -> Response:
    await service(DocumentService).delete(caller(), collection_id, document_id)
    return ok(DeletedDocument(document_id))


@blueprint.get("/api/v1/knowledge/collections/<collection_id>/documents/<document_id>/passages")
@knowledge_operation(
    "listPassages",
    "List a document's passages",
    description="What the document was taken apart into, in its order; while it is being indexed, as far as that is.",
    params=[COLLECTION_ID, DOCUMENT_ID, *PAGING],
    answers={200: Answer("One page", PassagePage, envelope="ApiResponsePassages")},
    errors={**PAGING_ERRORS, **DOCUMENT_MISSING},
)
async def list_passages(collection_id: str, document_id: str) -> Response:
    page, page_size = page_of(request.args)
    passages, total = await service(DocumentService).passages(
        caller(), collection_id, document_id, page=page, page_size=page_size
    )
    return ok(PassagePage(passages, page, page_size, total))


async def _add_upload(collection_id: str, content_type: str) -> tuple[Document, bool]:
    documents = service(DocumentService)
    limit = documents.max_file_bytes
    if (request.content_length or 0) > limit + MAX_OVERHEAD_BYTES:
        raise PayloadTooLarge(f"The file is larger than {limit} bytes")
    form_file = FormFile("file", content_type, request.body, limit)
    filename = await form_file.open()
    return await documents.add_upload(caller(), collection_id, filename, form_file.chunks())


async def _add_json(collection_id: str, body: dict[str, Any]) -> tuple[Document, bool]:
    new = convert(body, NewDocument)
    documents = service(DocumentService)
    if (new.attachment_id is None) == (new.text is None):
        raise BadRequest("Missing key: attachment_id or text, one of them", code="missing_key")
    if new.attachment_id is not None:
        title = None if new.title is None else new.title.strip()
        return await documents.add_attachment(caller(), collection_id, new.attachment_id, title)
    if new.title is None:
        raise BadRequest("Missing key: title", code="missing_key")
    return await documents.add_text(caller(), collection_id, new.title.strip(), new.text or "")


def _status() -> DocumentStatus | None:
    text = request.args.get("status")
    if text is None:
        return None
    if text not in STATUSES:
        raise BadRequest(f"status must be one of {', '.join(STATUSES)}", code="invalid_status")
    return DocumentStatus(text)
