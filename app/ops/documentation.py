"""The published documentation: `/`, `/openapi.json` and the page at `/docs`."""

from typing import Final

from quart import Blueprint, Response, request

from app.edge.operation import PUBLIC, operation
from app.edge.responses import json_response
from app.edge.services import service
from app.errors import NotFound
from app.ops import examples
from app.ops.health import TAG
from app.ops.publishing import Publisher

YEAR_SECONDS: Final = 31_536_000
# Swagger UI draws with data: images; all else is files of this server, and the page speaks to no other.
DOCS_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ASSET_TYPES: Final = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "png": "image/png"}

blueprint = Blueprint("documentation", __name__)


@blueprint.get("/")
@operation(
    "getInfo",
    "What is this?",
    scope=PUBLIC,
    description="The server's name and version, how to authenticate, and every path that it has.",
    answers=examples.INFO,
    tag=TAG,
)
async def info() -> Response:
    return json_response((await service(Publisher).published()).info)


@blueprint.get("/openapi.json")
@operation(
    "getOpenApiDocument",
    "This document",
    scope=PUBLIC,
    description="The description of every operation, in OpenAPI's form.",
    answers=examples.DOCUMENT,
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
    answers=examples.DOCUMENT,
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
    answers=examples.PAGE,
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
    params=[examples.FILE],
    answers=examples.ASSET,
    errors=examples.ASSET_ERRORS,
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
