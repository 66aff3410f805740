"""`/api/v1/knowledge/collections/{collection_id}/documents`."""

from typing import Any

from quart import Blueprint, Response, request

from app.auth.guards import caller
from app.auth.scopes import Scope
from app.edge.bodies import convert, json_object
from app.edge.operation import operation
from app.edge.paging import page_of
from app.edge.responses import ok
from app.edge.services import service
from app.errors import BadRequest, PayloadTooLarge
from app.files.forms import MAX_OVERHEAD_BYTES, FormFile
from app.knowledge import examples
from app.knowledge.collection_routes import TAG
from app.knowledge.documents import DocumentService
from app.knowledge.models import Document, DocumentStatus
from app.knowledge.schemas import STATUSES, DeletedDocument, DocumentItem, DocumentPage, NewDocument, PassagePage

blueprint = Blueprint("knowledge_documents", __name__)


@blueprint.post("/api/v1/knowledge/collections/<collection_id>/documents")
@operation(
    "addDocument",
    "Add a document",
    scope=Scope.KNOWLEDGE,
    description="Adds an attachment, a text, or the file of a form (`file`) in one step, and begins to index it in the "
    "background: ask for the document until its `status` is `ready` or `failed`. Content that the collection has "
    "already is not added again: the answer is 200 and the document that there is. One that failed is tried again.",
    params=[examples.COLLECTION_ID],
    body=examples.NEW_DOCUMENT,
    answers=examples.ADDED_DOCUMENT,
    errors=examples.ADD_DOCUMENT_ERRORS,
    tag=TAG,
)
async def add_document(collection_id: str) -> Response:
    content_type = request.headers.get("Content-Type", "")
    if content_type.lower().startswith("multipart/form-data"):
        document, is_new = await _add_upload(collection_id, content_type)
    else:
        document, is_new = await _add_json(collection_id, await json_object())
    return ok(DocumentItem.of(document), 201 if is_new else 200)


@blueprint.get("/api/v1/knowledge/collections/<collection_id>/documents")
@operation(
    "listDocuments",
    "List a collection's documents",
    scope=Scope.KNOWLEDGE,
    description="The documents of a collection, the newest first.",
    params=[examples.COLLECTION_ID, *examples.PAGING, examples.STATUS],
    answers=examples.DOCUMENTS,
    errors=examples.LIST_DOCUMENTS_ERRORS,
    tag=TAG,
)
async def list_documents(collection_id: str) -> Response:
    page, page_size = page_of(request.args)
    documents, total = await service(DocumentService).page(
        caller(), collection_id, page=page, page_size=page_size, status=_status()
    )
    return ok(DocumentPage([DocumentItem.of(document) for document in documents], page, page_size, total))


@blueprint.get("/api/v1/knowledge/collections/<collection_id>/documents/<document_id>")
@operation(
    "getDocument",
    "Get a document",
    scope=Scope.KNOWLEDGE,
    description="One document, and how far it has come.",
    params=[examples.COLLECTION_ID, examples.DOCUMENT_ID],
    answers=examples.DOCUMENT,
    errors=examples.GET_DOCUMENT_ERRORS,
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
    params=[examples.COLLECTION_ID, examples.DOCUMENT_ID],
    answers=examples.DELETED_DOCUMENT,
    errors=examples.DELETE_DOCUMENT_ERRORS,
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
    params=[examples.COLLECTION_ID, examples.DOCUMENT_ID, *examples.PAGING],
    answers=examples.PASSAGES,
    errors=examples.LIST_PASSAGES_ERRORS,
    tag=TAG,
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
