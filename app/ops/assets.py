"""Static files as they are served: compressed once, with a strong ETag each way."""

import gzip
import hashlib
from dataclasses import dataclass
from typing import Final

from quart import Response, request

YEAR_SECONDS: Final = 31_536_000
TYPES: Final = {
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "png": "image/png",
    "svg": "image/svg+xml",
    "json": "application/json",
    "txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is served: whole, or compressed for those who take it; `etag` is that of the whole."""

    content: bytes
    compressed: bytes
    etag: str

    @classmethod
    def of(cls, content: bytes) -> "File":
        return cls(content, gzip.compress(content, mtime=0), hashlib.sha256(content).hexdigest()[:32])


def file_response(file: File, content_type: str) -> Response:
    """The file, compressed if the caller takes that; either has an ETag of its own."""
    is_compressed = request.accept_encodings["gzip"] > 0
    response = Response(file.compressed if is_compressed else file.content, content_type=content_type)
    response.headers["Vary"] = "Accept-Encoding"
    response.headers["X-Content-Type-Options"] = "nosniff"
    if is_compressed:
        response.headers["Content-Encoding"] = "gzip"
    response.set_etag(f"{file.etag}-gzip" if is_compressed else file.etag)
    return response


async def checked_response(file: File, content_type: str) -> Response:
    """The file, to be asked for again each time; 304 to those who have it."""
    response = file_response(file, content_type)
    response.headers["Cache-Control"] = "no-cache"
    await response.make_conditional(request)
    return response


def immutable_response(file: File, name: str) -> Response:
    """The file `name`, to be kept for a year: another content has another address."""
    response = file_response(file, TYPES[name.rpartition(".")[2]])
    response.headers["Cache-Control"] = f"public, max-age={YEAR_SECONDS}, immutable"
    return response
