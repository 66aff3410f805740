"""An attachment's bytes as an HTTP answer: whole, in part, or not at all."""

from collections.abc import Mapping
from typing import Final

from quart import Request, Response
from werkzeug.http import http_date, quote_etag

from app.files.models import Attachment
from app.files.names import content_disposition
from app.files.ranges import select
from app.files.service import FileService

# What browsers show without running anything in it. All else is handed over as a download.
INLINE_TYPES: Final = frozenset(
    {
        "application/pdf", "audio/aac", "audio/flac", "audio/mp4", "audio/mpeg", "audio/ogg", "audio/wav", "audio/webm",
        "image/avif", "image/gif", "image/jpeg", "image/png", "image/webp", "text/plain", "video/mp4", "video/ogg",
        "video/quicktime", "video/webm",
    }
)  # fmt: skip
# An attachment never changes, but it can be deleted and keys can be revoked: a day in the caller's own cache.
CACHE_CONTROL: Final = "private, max-age=86400, immutable"


async def download(files: FileService, attachment: Attachment, request: Request) -> Response:
    """The answer to a GET or HEAD with the request's conditions and range.

    Raises PreconditionFailed, RangeNotSatisfiable, Unavailable.
    """
    selection = select(request.method, request.headers, attachment)
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
    disposition = "inline" if attachment.media_type in INLINE_TYPES else "attachment"
    # Another encoding was guessed by the first bytes.
    charset = "; charset=utf-8" if attachment.charset == "utf-8" else ""
    return {
        "Content-Type": f"{attachment.media_type}{charset}",
        "Content-Disposition": content_disposition(disposition, attachment.filename),
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
        # Whatever a browser may yet make of it, it runs nothing and belongs to no origin.
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
