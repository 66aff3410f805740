"""`/api/v1/file` and `/api/v1/files`: attachments over HTTP."""

from quart import Blueprint, Response, request

from app.auth.guards import caller
from app.auth.scopes import Scope
from app.edge.operation import IDEMPOTENCY_KEY, operation
from app.edge.responses import ok
from app.edge.services import service
from app.errors import BadRequest, PayloadTooLarge
from app.files import examples
from app.files.downloads import download
from app.files.forms import MAX_OVERHEAD_BYTES, FormFile
from app.files.schemas import AttachmentData, DeletedAttachment, UploadData
from app.files.service import FileService

blueprint = Blueprint("files", __name__)


@blueprint.post("/api/v1/file")
@operation(
    "uploadFile",
    "Upload attachment file",
    scope=Scope.FILE,
    description="Upload a file and get attachment_id for later use in chat/message APIs.",
    body=examples.UPLOAD_BODY,
    params=[IDEMPOTENCY_KEY],
    answers={200: examples.UPLOADED},
    errors=examples.UPLOAD_ERRORS,
)
async def upload_file() -> Response:
    files = service(FileService)
    limit = files.max_upload_bytes
    if (request.content_length or 0) > limit + MAX_OVERHEAD_BYTES:
        raise PayloadTooLarge(f"The file is larger than {limit} bytes")
    form_file = FormFile("file", request.headers.get("Content-Type"), request.body, limit)
    filename = await form_file.open()
    attachment = await files.save(filename, form_file.chunks(), caller(), request.headers.get("Idempotency-Key"))
    return ok(UploadData.of(attachment))


# HEAD has views of its own, before GET's (which would answer it too), for the published document.


@blueprint.route("/api/v1/file", methods=["HEAD"])
@operation(
    "headFile",
    "Ask about an attachment file",
    scope=Scope.FILE,
    description="The headers of `GET /api/v1/file`.",
    params=examples.CONTENT_BY_QUERY,
    answers=examples.HEAD,
    errors=examples.CONTENT_BY_QUERY_ERRORS,
)
async def head_file() -> Response:
    return await _content(_id_in_query())


@blueprint.get("/api/v1/file")
@operation(
    "getFile",
    "Get attachment file",
    scope=Scope.FILE,
    description="Get an uploaded attachment file by attachment_id.",
    params=examples.CONTENT_BY_QUERY,
    answers=examples.CONTENT,
    errors=examples.CONTENT_BY_QUERY_ERRORS,
)
async def get_file() -> Response:
    return await _content(_id_in_query())


@blueprint.get("/api/v1/files/<attachment_id>")
@operation(
    "getAttachment",
    "Describe an attachment",
    scope=Scope.FILE,
    description="What is known of an attachment, without its bytes.",
    params=[examples.ID_IN_PATH],
    answers={200: examples.ATTACHMENT},
    errors=examples.ERRORS,
)
async def get_attachment(attachment_id: str) -> Response:
    attachment = await service(FileService).get(attachment_id, caller())
    return ok(AttachmentData.of(attachment))


@blueprint.delete("/api/v1/files/<attachment_id>")
@operation(
    "deleteAttachment",
    "Delete an attachment",
    scope=Scope.FILE,
    description="Removes the attachment and its bytes; messages that show it keep its name.",
    params=[examples.ID_IN_PATH],
    answers={200: examples.DELETED},
    errors=examples.ERRORS,
)
async def delete_attachment(attachment_id: str) -> Response:
    await service(FileService).delete(attachment_id, caller())
    return ok(DeletedAttachment(attachment_id))


@blueprint.route("/api/v1/files/<attachment_id>/content", methods=["HEAD"])
@operation(
    "headAttachmentContent",
    "Ask about an attachment's content",
    scope=Scope.FILE,
    description="The headers of `GET /api/v1/files/{attachment_id}/content`.",
    params=examples.CONTENT_BY_PATH,
    answers=examples.HEAD,
    errors=examples.CONTENT_ERRORS,
)
async def head_attachment_content(attachment_id: str) -> Response:
    return await _content(attachment_id)


@blueprint.get("/api/v1/files/<attachment_id>/content")
@operation(
    "getAttachmentContent",
    "Download an attachment",
    scope=Scope.FILE,
    description="The attachment's bytes: the same as `GET /api/v1/file`, by path.",
    params=examples.CONTENT_BY_PATH,
    answers=examples.CONTENT,
    errors=examples.CONTENT_ERRORS,
)
async def get_attachment_content(attachment_id: str) -> Response:
    return await _content(attachment_id)


def _id_in_query() -> str:
    attachment_id = request.args.get("attachment_id", "").strip()
    if not attachment_id:
        raise BadRequest("Missing key: attachment_id", code="missing_key")
    return attachment_id


async def _content(attachment_id: str) -> Response:
    files = service(FileService)
    return await download(files, await files.get(attachment_id, caller()), request)
