"""`/api/v1/file` and `/api/v1/files`: attachments over HTTP."""

from collections.abc import Mapping
from functools import partial

from quart import Blueprint, Response, request

from app.auth.guards import caller
from app.auth.scopes import Scope
from app.edge.operation import IDEMPOTENCY_KEY, Answer, Body, Param, operation, refusal
from app.edge.paging import CURSOR, LIMIT, cursor_of, limit_in, place_in
from app.edge.responses import ok
from app.edge.services import service
from app.errors import BadRequest, PayloadTooLarge
from app.files.downloads import download
from app.files.forms import MAX_OVERHEAD_BYTES, FormFile
from app.files.models import AttachmentFilter, Kind
from app.files.schemas import (
    BINARY,
    EXAMPLE_ID,
    FILE_FORM,
    AttachmentData,
    AttachmentItem,
    AttachmentPage,
    DeletedAttachment,
    UploadData,
)
from app.files.service import FileService
from app.text import CONTROL_CHARACTER

MAX_CHARS = 255
_LIST_CODES = ("invalid_search", "invalid_username", "invalid_cursor", "invalid_limit", "username_reserved")

blueprint = Blueprint("files", __name__)
file_operation = partial(operation, scope=Scope.FILE)

_NOT_FOUND = {404: refusal("Attachment not found", "attachment_not_found")}
_NO_STORAGE = {
    503: refusal("The storage is not available at the moment", "storage_unavailable", "database_unavailable")
}


_UPLOADED = {200: Answer("What was stored", UploadData, envelope="ApiResponseUpload")}
_UPLOAD_ERRORS = {
    400: refusal("Missing key: file", "missing_key"),
    **_NOT_FOUND,  # of a repeat whose attachment was deleted meanwhile
    413: refusal("The file is larger than 104857600 bytes", "payload_too_large", "storage_quota_exceeded"),
    **_NO_STORAGE,
}
_FORM = Body(FILE_FORM, media_type="multipart/form-data")


@blueprint.post("/api/v1/files")
@file_operation(
    "uploadFileToFiles",
    "Upload attachment file",
    description="The same as `POST /api/v1/file`, as AstrBot spells it later.",
    body=_FORM,
    params=[IDEMPOTENCY_KEY],
    answers=_UPLOADED,
    errors=_UPLOAD_ERRORS,
)
async def upload_to_files() -> Response:
    return await upload_file()


@blueprint.post("/api/v1/file")
@file_operation(
    "uploadFile",
    "Upload attachment file",
    description="Upload a file and get attachment_id for later use in chat/message APIs.",
    body=_FORM,
    params=[IDEMPOTENCY_KEY],
    answers=_UPLOADED,
    errors=_UPLOAD_ERRORS,
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


_ID_DESCRIPTION = "Attachment ID returned by POST /api/v1/file."
_ID_SCHEMA = {"type": "string", "examples": [EXAMPLE_ID]}
_ID = Param("attachment_id", _ID_DESCRIPTION, _ID_SCHEMA, where="path")
_ID_IN_QUERY = Param("attachment_id", _ID_DESCRIPTION, {**_ID_SCHEMA, "pattern": r"\S"}, required=True)
_CONDITIONS = [
    Param("Range", "One range of bytes; several are answered with the whole file.", {"type": "string"}, where="header"),
    Param("If-None-Match", "ETags; 304 when one is the file's.", {"type": "string"}, where="header"),
]
_CONTENT_HEADERS = {
    "ETag": "Strong: the SHA-256 of the content.",
    "Content-Disposition": "The original file name; `inline` only for types that browsers show safely.",
    "Accept-Ranges": "`bytes`.",
}
_CONTENT_ERRORS = {
    **_NOT_FOUND,
    412: refusal("The attachment is not the one that If-Match names", "precondition_failed"),
    416: refusal("The attachment has 48213 bytes", "range_not_satisfiable"),
    **_NO_STORAGE,
}
_CACHED = Answer("The caller has it already")
_HEAD = {200: Answer("The file is there", headers=_CONTENT_HEADERS), 304: _CACHED}


def _bytes(description: str) -> Answer:
    """An answer of the attachment's own media type, whichever that is."""
    return Answer(
        description,
        BINARY,
        media_type="application/octet-stream",
        headers=_CONTENT_HEADERS,
        other_media_types=("*/*",),
    )


_CONTENT = {200: _bytes("The file"), 206: _bytes("The range of it"), 304: _CACHED}


# HEAD has views of its own, before GET's (which would answer it too), for the published document.


@blueprint.route("/api/v1/file", methods=["HEAD"])
@file_operation(
    "headFile",
    "Ask about an attachment file",
    description="The headers of `GET /api/v1/file`.",
    params=[_ID_IN_QUERY, *_CONDITIONS],
    answers=_HEAD,
    errors={400: refusal("Missing key: attachment_id", "missing_key"), **_CONTENT_ERRORS},
)
async def head_file() -> Response:
    return await _content(_id_in_query())


@blueprint.get("/api/v1/file")
@file_operation(
    "getFile",
    "Get attachment file",
    description="Get an uploaded attachment file by attachment_id.",
    params=[_ID_IN_QUERY, *_CONDITIONS],
    answers=_CONTENT,
    errors={400: refusal("Missing key: attachment_id", "missing_key"), **_CONTENT_ERRORS},
)
async def get_file() -> Response:
    return await _content(_id_in_query())


@blueprint.get("/api/v1/files")
@file_operation(
    "listAttachments",
    "List attachments",
    description="The attachments that the key sees, the newest first: those of its user, or all if it has none.",
    params=[
        Param("username", "Only those that were uploaded as this user.", {"type": "string", "maxLength": MAX_CHARS}),
        Param("search", "Only those whose name contains this.", {"type": "string", "maxLength": MAX_CHARS}),
        Param("type", "Only those of this kind.", {"type": "string", "enum": [kind.value for kind in Kind]}),
        CURSOR,
        LIMIT,
    ],
    answers={200: Answer("One page", AttachmentPage, envelope="ApiResponseAttachments")},
    errors={
        400: refusal("type must be image, record, video or file", "invalid_type", *_LIST_CODES),
        403: refusal("The API key is bound to another username", "username_not_allowed"),
    },
)
async def list_attachments() -> Response:
    args, limit = request.args, limit_in(request.args)
    attachments = await service(FileService).list_files(
        caller(), _filter_of(args), before=place_in(args), limit=limit + 1
    )
    page = attachments[:limit]
    next_cursor = cursor_of(page[-1].created_at, page[-1].id) if len(attachments) > limit else None
    return ok(AttachmentPage([AttachmentItem.of(each) for each in page], next_cursor))


def _filter_of(args: Mapping[str, str]) -> AttachmentFilter:
    """Raises BadRequest, Forbidden."""
    username, kind = args.get("username") or None, args.get("type") or None
    search = args.get("search", "").strip()
    for name, text in (("username", username or ""), ("search", search)):
        if len(text) > MAX_CHARS or CONTROL_CHARACTER.search(text):
            raise BadRequest(f"{name} must be at most {MAX_CHARS} printable characters", code=f"invalid_{name}")
    if username is not None:
        caller().check_user(username)
    if kind is not None and kind not in set(Kind):
        raise BadRequest("type must be image, record, video or file", code="invalid_type")
    return AttachmentFilter(username, search or None, None if kind is None else Kind(kind))


@blueprint.get("/api/v1/files/<attachment_id>")
@file_operation(
    "getAttachment",
    "Describe an attachment",
    description="What is known of an attachment, without its bytes.",
    params=[_ID],
    answers={200: Answer("The attachment", AttachmentData, envelope="ApiResponseAttachment")},
    errors={**_NOT_FOUND, **_NO_STORAGE},
)
async def get_attachment(attachment_id: str) -> Response:
    attachment = await service(FileService).get(attachment_id, caller())
    return ok(AttachmentData.of(attachment))


@blueprint.delete("/api/v1/files/<attachment_id>")
@file_operation(
    "deleteAttachment",
    "Delete an attachment",
    description="Removes the attachment and its bytes; messages that show it keep its name.",
    params=[_ID],
    answers={200: Answer("It is gone", DeletedAttachment, envelope="ApiResponseDeletedAttachment")},
    errors={**_NOT_FOUND, **_NO_STORAGE},
)
async def delete_attachment(attachment_id: str) -> Response:
    await service(FileService).delete(attachment_id, caller())
    return ok(DeletedAttachment(attachment_id))


@blueprint.route("/api/v1/files/<attachment_id>/content", methods=["HEAD"])
@file_operation(
    "headAttachmentContent",
    "Ask about an attachment's content",
    description="The headers of `GET /api/v1/files/{attachment_id}/content`.",
    params=[_ID, *_CONDITIONS],
    answers=_HEAD,
    errors=_CONTENT_ERRORS,
)
async def head_attachment_content(attachment_id: str) -> Response:
    return await _content(attachment_id)


@blueprint.get("/api/v1/files/<attachment_id>/content")
@file_operation(
    "getAttachmentContent",
    "Download an attachment",
    description="The attachment's bytes: the same as `GET /api/v1/file`, by path.",
    params=[_ID, *_CONDITIONS],
    answers=_CONTENT,
    errors=_CONTENT_ERRORS,
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
