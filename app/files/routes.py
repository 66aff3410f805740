"""`/api/v1/file` and `/api/v1/files`: attachments over HTTP."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from quart import Blueprint, Response, request
from werkzeug.http import http_date, quote_etag

from app.auth.guards import caller
from app.auth.scopes import Scope
from app.clock import iso
from app.edge.operation import IDEMPOTENCY_KEY, Answer, Body, Param, operation
from app.edge.responses import ok
from app.edge.services import service
from app.errors import BadRequest, PayloadTooLarge
from app.files.models import Attachment
from app.files.multipart import MAX_OVERHEAD_BYTES, FormFile
from app.files.names import content_disposition
from app.files.ranges import Representation, select
from app.files.service import FileService

blueprint = Blueprint("files", __name__)

# What browsers show without running anything in it. All else is handed over as a download.
SHOWN_INLINE: Final = frozenset(
    {
        "application/pdf", "audio/aac", "audio/flac", "audio/mp4", "audio/mpeg", "audio/ogg", "audio/wav", "audio/webm",
        "image/avif", "image/gif", "image/jpeg", "image/png", "image/webp", "text/plain", "video/mp4", "video/ogg",
        "video/quicktime", "video/webm",
    }
)  # fmt: skip
# An attachment never changes, but it can be deleted and keys can be revoked: a day in the caller's own cache.
CACHE_CONTROL: Final = "private, max-age=86400, immutable"

_EXAMPLE_ID: Final = "0b7f6a52-6d3f-4f1f-9d53-0a4f5a1c2e11"
_UPLOADED: Final = {
    "attachment_id": _EXAMPLE_ID, "filename": "cat.png", "type": "image", "media_type": "image/png", "size": 48213
}  # fmt: skip
_ATTACHMENT_ID: Final = {"type": "string", "examples": [_EXAMPLE_ID]}
_ID_IN_PATH: Final = Param(
    "attachment_id", "Attachment ID returned by POST /api/v1/file.", _ATTACHMENT_ID, where="path", required=True
)
_CONDITIONS: Final = [
    Param("Range", "One range of bytes; several are answered with the whole file.", {"type": "string"}, where="header"),
    Param("If-None-Match", "ETags; 304 when one is the file's.", {"type": "string"}, where="header"),
]
_BINARY: Final = {"type": "string", "format": "binary"}
_CONTENT_HEADERS: Final = {
    "ETag": "Strong: the SHA-256 of the content.",
    "Content-Disposition": "The original file name; `inline` only for types that browsers show safely.",
    "Accept-Ranges": "`bytes`.",
}
_BYTES: Final = "application/octet-stream"
_ANY_TYPE: Final = ("*/*",)  # the attachment's own
_CONTENT_ANSWERS: Final = {
    200: Answer("The file", _BINARY, media_type=_BYTES, headers=_CONTENT_HEADERS, other_media_types=_ANY_TYPE),
    206: Answer("The range of it", _BINARY, media_type=_BYTES, headers=_CONTENT_HEADERS, other_media_types=_ANY_TYPE),
    304: Answer("The caller has it already"),
}
_HEAD_ANSWERS: Final = {
    200: Answer("The file is there", headers=_CONTENT_HEADERS),
    304: Answer("The caller has it already"),
}
_CONTENT_ERRORS: Final = {
    404: "Attachment not found",
    412: "The attachment is not the one that If-Match names",
    416: "The attachment has 48213 bytes",
    503: "The storage is not available at the moment",
}
_BY_QUERY: Final = [
    Param(
        "attachment_id",
        "Attachment ID returned by POST /api/v1/file.",
        {**_ATTACHMENT_ID, "pattern": r"\S"},
        required=True,
    ),
    *_CONDITIONS,
]
_BY_QUERY_ERRORS: Final = {400: "Missing key: attachment_id", **_CONTENT_ERRORS}


class UploadData(msgspec.Struct):
    """What was stored; `type` and `media_type` come from the content, `size` is in bytes."""

    attachment_id: str
    filename: str
    type: str
    media_type: str
    size: int


class AttachmentData(UploadData):
    """An attachment; `sha256` is hexadecimal and is also its ETag."""

    sha256: str
    created_at: str


class DeletedAttachment(msgspec.Struct):
    """The attachment that is gone."""

    attachment_id: str


@blueprint.post("/api/v1/file")
@operation(
    "uploadFile",
    "Upload attachment file",
    scope=Scope.FILE,
    description="Upload a file and get attachment_id for later use in chat/message APIs.",
    body=Body(
        {"type": "object", "required": ["file"], "properties": {"file": _BINARY}}, media_type="multipart/form-data"
    ),
    params=[IDEMPOTENCY_KEY],
    answers={200: Answer("What was stored", UploadData, example=_UPLOADED, envelope="ApiResponseUpload")},
    errors={
        400: "Missing key: file",
        404: "Attachment not found",  # of a repeat whose attachment was deleted meanwhile
        408: "The request did not arrive in time",
        413: "The file is larger than 104857600 bytes",
        415: "Content-Type must be multipart/form-data",
        422: "This Idempotency-Key was used with another request body",
        503: "The storage is not available at the moment",
    },
)
async def upload_file() -> Response:
    files = service(FileService)
    limit = files.max_upload_bytes
    if (request.content_length or 0) > limit + MAX_OVERHEAD_BYTES:
        raise PayloadTooLarge(f"The file is larger than {limit} bytes")
    form_file = FormFile("file", request.headers.get("Content-Type"), request.body, limit)
    filename = await form_file.open()
    attachment = await files.save(filename, form_file.chunks(), caller(), request.headers.get("Idempotency-Key"))
    return ok(UploadData(**_upload_fields(attachment)))


# HEAD has views of its own, before GET's (which would answer it too), so that the document tells of it.


@blueprint.route("/api/v1/file", methods=["HEAD"])
@operation(
    "headFile",
    "Ask about an attachment file",
    scope=Scope.FILE,
    description="The headers of `GET /api/v1/file`.",
    params=_BY_QUERY,
    answers=_HEAD_ANSWERS,
    errors=_BY_QUERY_ERRORS,
)
async def head_file() -> Response:
    return await _content(_id_in_query())


@blueprint.get("/api/v1/file")
@operation(
    "getFile",
    "Get attachment file",
    scope=Scope.FILE,
    description="Get an uploaded attachment file by attachment_id.",
    params=_BY_QUERY,
    answers=_CONTENT_ANSWERS,
    errors=_BY_QUERY_ERRORS,
)
async def get_file() -> Response:
    return await _content(_id_in_query())


@blueprint.get("/api/v1/files/<attachment_id>")
@operation(
    "getAttachment",
    "Describe an attachment",
    scope=Scope.FILE,
    description="What is known of an attachment, without its bytes.",
    params=[_ID_IN_PATH],
    answers={
        200: Answer(
            "The attachment",
            AttachmentData,
            example={**_UPLOADED, "sha256": "9f" * 32, "created_at": "2026-11-21T01:20:58.571438+00:00"},
            envelope="ApiResponseAttachment",
        )
    },
    errors={404: "Attachment not found", 503: "The storage is not available at the moment"},
)
async def get_attachment(attachment_id: str) -> Response:
    attachment = await service(FileService).get(attachment_id, caller())
    return ok(
        AttachmentData(**_upload_fields(attachment), sha256=attachment.sha256, created_at=iso(attachment.created_at))
    )


@blueprint.delete("/api/v1/files/<attachment_id>")
@operation(
    "deleteAttachment",
    "Delete an attachment",
    scope=Scope.FILE,
    description="Removes the attachment and its bytes; messages that show it keep its name.",
    params=[_ID_IN_PATH],
    answers={
        200: Answer(
            "It is gone",
            DeletedAttachment,
            example={"attachment_id": _EXAMPLE_ID},
            envelope="ApiResponseDeletedAttachment",
        )
    },
    errors={404: "Attachment not found", 503: "The storage is not available at the moment"},
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
    params=[_ID_IN_PATH, *_CONDITIONS],
    answers=_HEAD_ANSWERS,
    errors=_CONTENT_ERRORS,
)
async def head_attachment_content(attachment_id: str) -> Response:
    return await _content(attachment_id)


@blueprint.get("/api/v1/files/<attachment_id>/content")
@operation(
    "getAttachmentContent",
    "Download an attachment",
    scope=Scope.FILE,
    description="The attachment's bytes: the same as `GET /api/v1/file`, by path.",
    params=[_ID_IN_PATH, *_CONDITIONS],
    answers=_CONTENT_ANSWERS,
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
    attachment = await files.get(attachment_id, caller())
    present = Representation(attachment.sha256, attachment.created_at, attachment.size)
    selection = select(request.method, request.headers, present)
    headers = _caching_headers(attachment)
    if selection.status == 304:
        return Response(b"", status=304, headers=headers)
    headers |= _content_headers(attachment)
    if selection.status == 206:
        headers["Content-Range"] = selection.content_range(attachment.size)
    if request.method == "HEAD":
        response = Response(b"", status=selection.status, headers=headers)
    else:
        blocks = await files.open_stream(attachment, selection.start, selection.end)
        response = Response(blocks, status=selection.status, headers=headers)
    response.timeout = None  # a slow receiver may take as long as it needs
    response.headers["Content-Length"] = str(selection.end - selection.start)
    return response


def _caching_headers(attachment: Attachment) -> dict[str, str]:
    return {
        "ETag": quote_etag(attachment.sha256),
        "Last-Modified": http_date(attachment.created_at),
        "Cache-Control": CACHE_CONTROL,
        "Vary": "Authorization, X-API-Key",
    }


def _content_headers(attachment: Attachment) -> Mapping[str, str]:
    disposition = "inline" if attachment.media_type in SHOWN_INLINE else "attachment"
    charset = f"; charset={attachment.charset}" if attachment.charset else ""
    return {
        "Content-Type": f"{attachment.media_type}{charset}",
        "Content-Disposition": content_disposition(disposition, attachment.filename),
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
        # Whatever a browser may yet make of it, it runs nothing and belongs to no origin.
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }


def _upload_fields(attachment: Attachment) -> dict[str, Any]:
    return {
        "attachment_id": attachment.id,
        "filename": attachment.filename,
        "type": attachment.type.value,
        "media_type": attachment.media_type,
        "size": attachment.size,
    }
