"""The published documentation: `/`, `/openapi.json` and the page at `/docs`."""

from typing import Final

from quart import Blueprint, Response

from app.edge.operation import Answer, Param, refusal
from app.edge.responses import json_response
from app.edge.services import service
from app.errors import NotFound
from app.ops.assets import checked_response, immutable_response
from app.ops.health import ops_operation
from app.ops.publishing import OWN_ASSETS, SWAGGER_UI, Publisher
from app.ops.schemas import Info

# Swagger UI draws with data: images; all else is files of this server, and the page speaks to no other.
DOCS_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

blueprint = Blueprint("documentation", __name__)


def _document_answers(version: str) -> dict[int, Answer]:
    return {
        200: Answer(
            f"OpenAPI {version}",
            {"type": "object", "required": ["openapi", "info", "paths"]},
            {"openapi": version, "info": {"title": "Palaver Open API", "version": "0.1.0"}, "paths": {}},
            headers={"ETag": "Its version, for `If-None-Match`."},
        ),
        304: Answer("It has not changed", headers={"ETag": "Its version."}),
    }


_DOCUMENT: Final = _document_answers("3.1.0")
_FILE: Final = Param("file", "The file's name.", {"type": "string", "enum": [*SWAGGER_UI, *OWN_ASSETS]}, where="path")


@blueprint.get("/")
@ops_operation(
    "getInfo",
    "What is this?",
    description="The server's name and version, how to authenticate, and every path that it has.",
    answers={200: Answer("This", Info)},
)
async def info() -> Response:
    return json_response((await service(Publisher).published()).info)


@blueprint.get("/openapi.json")
@ops_operation(
    "getOpenApiDocument",
    "This document",
    description="The description of every operation, in OpenAPI's form.",
    answers=_DOCUMENT,
)
async def openapi_document() -> Response:
    return await checked_response((await service(Publisher).published()).document, "application/json")


@blueprint.get("/api/v1/openapi.json")
@ops_operation(
    "getOpenApiDocumentBelowApi",
    "This document, below /api/v1",
    description="The same as `/openapi.json`, for those who can reach only this prefix.",
    answers=_DOCUMENT,
)
async def openapi_document_below_api() -> Response:
    return await openapi_document()


@blueprint.get("/openapi-3.0.json")
@ops_operation(
    "getOpenApi30Document",
    "This document in OpenAPI 3.0.3",
    description="For tools that know no 3.1, such as swagger-codegen. What 3.0 cannot say is left out.",
    answers=_document_answers("3.0.3"),
)
async def openapi_3_0_document() -> Response:
    return await checked_response((await service(Publisher).published()).document_3_0, "application/json")


@blueprint.get("/docs")
@ops_operation(
    "getDocs",
    "This document, to read and to try",
    description="Swagger UI, served from here: the page needs no other host.",
    answers={200: Answer("The page", {"type": "string"}, "<!doctype html>...", media_type="text/html")},
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
@ops_operation(
    "getDocsAsset",
    "Part of the page at /docs",
    description="Swagger UI's own files, to be kept for a year.",
    params=[_FILE],
    answers={200: Answer("The file", {"type": "string", "format": "binary"}, media_type="*/*")},
    errors={404: refusal("No such path", "not_found")},
)
async def docs_asset(file: str) -> Response:
    content = (await service(Publisher).published()).assets.get(file)
    if content is None:
        raise NotFound("No such path")
    return immutable_response(content, file)
