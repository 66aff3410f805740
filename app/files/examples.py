"""The published document's parameters, answers, errors and examples for the routes of attachments."""

from app.edge.operation import Answer, Body, Param
from app.files.schemas import AttachmentData, DeletedAttachment, UploadData

_ID = "0b7f6a52-6d3f-4f1f-9d53-0a4f5a1c2e11"
_UPLOAD = {"attachment_id": _ID, "filename": "cat.png", "type": "image", "media_type": "image/png", "size": 48213}
_ATTACHMENT = {**_UPLOAD, "sha256": "9f" * 32, "created_at": "2026-11-21T01:20:58.571438+00:00"}
_BINARY = {"type": "string", "format": "binary"}
_BYTES = "application/octet-stream"
_ANY_TYPE = ("*/*",)  # the attachment's own
_ID_SCHEMA = {"type": "string", "examples": [_ID]}
_ID_DESCRIPTION = "Attachment ID returned by POST /api/v1/file."
_CONDITIONS = [
    Param("Range", "One range of bytes; several are answered with the whole file.", {"type": "string"}, where="header"),
    Param("If-None-Match", "ETags; 304 when one is the file's.", {"type": "string"}, where="header"),
]
_CONTENT_HEADERS = {
    "ETag": "Strong: the SHA-256 of the content.",
    "Content-Disposition": "The original file name; `inline` only for types that browsers show safely.",
    "Accept-Ranges": "`bytes`.",
}
_STORAGE_ERROR = "The storage is not available at the moment"

UPLOAD_BODY = Body(
    {"type": "object", "required": ["file"], "properties": {"file": _BINARY}}, media_type="multipart/form-data"
)
UPLOADED = Answer("What was stored", UploadData, example=_UPLOAD, envelope="ApiResponseUpload")
UPLOAD_ERRORS = {
    400: "Missing key: file",
    404: "Attachment not found",  # of a repeat whose attachment was deleted meanwhile
    408: "The request did not arrive in time",
    413: "The file is larger than 104857600 bytes",
    415: "Content-Type must be multipart/form-data",
    422: "This Idempotency-Key was used with another request body",
    503: _STORAGE_ERROR,
}

ID_IN_PATH = Param("attachment_id", _ID_DESCRIPTION, _ID_SCHEMA, where="path", required=True)
ATTACHMENT = Answer("The attachment", AttachmentData, example=_ATTACHMENT, envelope="ApiResponseAttachment")
DELETED = Answer(
    "It is gone", DeletedAttachment, example={"attachment_id": _ID}, envelope="ApiResponseDeletedAttachment"
)
ERRORS = {404: "Attachment not found", 503: _STORAGE_ERROR}

CONTENT_BY_PATH = [ID_IN_PATH, *_CONDITIONS]
CONTENT_BY_QUERY = [
    Param("attachment_id", _ID_DESCRIPTION, {**_ID_SCHEMA, "pattern": r"\S"}, required=True),
    *_CONDITIONS,
]
CONTENT = {
    200: Answer("The file", _BINARY, media_type=_BYTES, headers=_CONTENT_HEADERS, other_media_types=_ANY_TYPE),
    206: Answer("The range of it", _BINARY, media_type=_BYTES, headers=_CONTENT_HEADERS, other_media_types=_ANY_TYPE),
    304: Answer("The caller has it already"),
}
HEAD = {
    200: Answer("The file is there", headers=_CONTENT_HEADERS),
    304: Answer("The caller has it already"),
}
CONTENT_ERRORS = {
    404: "Attachment not found",
    412: "The attachment is not the one that If-Match names",
    416: "The attachment has 48213 bytes",
    503: _STORAGE_ERROR,
}
CONTENT_BY_QUERY_ERRORS = {400: "Missing key: attachment_id", **CONTENT_ERRORS}
