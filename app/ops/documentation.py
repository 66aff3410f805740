"""The published documentation: `/`, `/openapi.json` and the page at `/docs`."""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any, Final

import msgspec
from quart import Blueprint, Quart, Response, request

from app import __version__
from app.edge.openapi import build_document, render
from app.edge.operation import PUBLIC, Answer, Param, operation
from app.edge.responses import json_response
from app.edge.services import service
from app.errors import NotFound
from app.ops.health import TAG

YEAR_SECONDS: Final = 31_536_000
# Swagger UI draws with data: images; all else is files of this server, and the page speaks to no other.
DOCS_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ASSET_TYPES: Final = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "png": "image/png"}
_SWAGGER_UI: Final = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png")
_OURS: Final = ("docs.js", "docs.css")

blueprint = Blueprint("documentation", __name__)


@dataclass(frozen=True, slots=True)
class Published:
    """What is served of the documentation: the document, what `/` says, and the page at `/docs`."""

    document: bytes
    etag: str
    info: "Info"
    page: bytes
    assets: Mapping[str, bytes]


class Publisher:
    """Makes the documentation when it is first asked for, once, in a thread: the start need not wait for it."""

    def __init__(self, app: Quart, extra_schemas: Mapping[str, Any] | None = None) -> None:
        self._make = partial(_publish, app, extra_schemas)
        self._lock = asyncio.Lock()
        self._published: Published | None = None

    async def published(self) -> Published:
        async with self._lock:
            if self._published is None:
                self._published = await asyncio.to_thread(self._make)
            return self._published


def _publish(app: Quart, extra_schemas: Mapping[str, Any] | None = None) -> Published:
    """The documentation of all routes that `app` has now; see `app.edge.openapi.build_document` for `extra_schemas`."""
    document = build_document(app, extra_schemas)
    text = render(document).encode()
    swagger_ui, ours = files("flask_swagger_ui") / "dist", files("app") / "static"
    assets = {name: (swagger_ui / name).read_bytes() for name in _SWAGGER_UI}
    assets |= {name: (ours / name).read_bytes() for name in _OURS}
    # Browsers keep the assets for a year: others are asked for by another address.
    version = hashlib.sha256(b"".join(assets.values())).hexdigest()[:16]
    return Published(
        document=text,
        etag=hashlib.sha256(text).hexdigest()[:32],
        info=_info(document),
        page=(ours / "docs.html").read_bytes().replace(b"@VERSION@", version.encode()),
        assets=assets,
    )


class Info(msgspec.Struct):
    """`endpoints` names each path, with its methods and what they do."""

    name: str
    message: str
    version: str
    description: str
    authentication: str
    endpoints: dict[str, str]


def _info(document: Mapping[str, Any]) -> Info:
    endpoints = {
        path: "; ".join(
            f"{'WebSocket' if method == 'x-websocket' else method.upper()} - {each.get('summary', item.get('summary'))}"
            for method, each in item.items()
            if isinstance(each, dict)
        )
        for path, item in document["paths"].items()
    }
    return Info(
        name="Palaver",
        message="Palaver Open API",
        version=__version__,
        description="A self-hosted Open API for chat bots: one dependable door to LLM conversations.",
        authentication="Bearer Token (API Key), or the same key in the header X-API-Key",
        endpoints=endpoints,
    )


@blueprint.get("/")
@operation(
    "getInfo",
    "What is this?",
    scope=PUBLIC,
    description="The server's name and version, how to authenticate, and every path that it has.",
    answers={
        200: Answer(
            "This",
            Info,
            example={
                "name": "Palaver",
                "message": "Palaver Open API",
                "version": "0.1.0",
                "description": "A self-hosted Open API for chat bots: one dependable door to LLM conversations.",
                "authentication": "Bearer Token (API Key), or the same key in the header X-API-Key",
                "endpoints": {"/health": "GET - Is the process alive?"},
            },
        )
    },
    tag=TAG,
)
async def info() -> Response:
    return json_response((await service(Publisher).published()).info)


_DOCUMENT_ANSWERS: Final = {
    200: Answer(
        "OpenAPI 3.1",
        {"type": "object", "required": ["openapi", "info", "paths"]},
        example={"openapi": "3.1.0", "info": {"title": "Palaver Open API", "version": "0.1.0"}, "paths": {}},
        headers={"ETag": "Its version, for `If-None-Match`."},
    ),
    304: Answer("It has not changed", headers={"ETag": "Its version."}),
}


@blueprint.get("/openapi.json")
@operation(
    "getOpenApiDocument",
    "This document",
    scope=PUBLIC,
    description="The description of every operation, in OpenAPI's form.",
    answers=_DOCUMENT_ANSWERS,
    tag=TAG,
)
async def openapi_document() -> Response:
    published = await service(Publisher).published()
    response = Response(published.document, content_type="application/json", headers={"Cache-Control": "no-cache"})
    response.set_etag(published.etag)
    await response.make_conditional(request)
    return response


@blueprint.get("/api/v1/openapi.json")
@operation(
    "getOpenApiDocumentBelowApi",
    "This document, below /api/v1",
    scope=PUBLIC,
    description="The same as `/openapi.json`, for those who can reach only this prefix.",
    answers=_DOCUMENT_ANSWERS,
    tag=TAG,
)
async def openapi_document_below_api() -> Response:
    return await openapi_document()


@blueprint.get("/docs")
@operation(
    "getDocs",
    "This document, to read and to try",
    scope=PUBLIC,
    description="Swagger UI, served from here: the page needs no other host.",
    answers={200: Answer("The page", {"type": "string"}, example="<!doctype html>...", media_type="text/html")},
    tag=TAG,
)
async def docs() -> Response:
    return Response(
        (await service(Publisher).published()).page,
        content_type="text/html; charset=utf-8",
        headers={
            "Content-Security-Policy": DOCS_POLICY,
            "Cache-Control": "no-cache",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        },
    )


@blueprint.get("/docs/assets/<string:file>")
@operation(
    "getDocsAsset",
    "Part of the page at /docs",
    scope=PUBLIC,
    description="Swagger UI's own files, to be kept for a year.",
    params=[Param("file", "The file's name.", {"type": "string", "enum": [*_SWAGGER_UI, *_OURS]}, where="path")],
    answers={200: Answer("The file", {"type": "string", "format": "binary"}, media_type="*/*")},
    errors={404: "No such path"},
    tag=TAG,
)
async def docs_asset(file: str) -> Response:
    content = (await service(Publisher).published()).assets.get(file)
    if content is None:
        raise NotFound("No such path")
    return Response(
        content,
        content_type=_ASSET_TYPES[file.rpartition(".")[2]],
        headers={
            "Cache-Control": f"public, max-age={YEAR_SECONDS}, immutable",
            "X-Content-Type-Options": "nosniff",
        },
    )
