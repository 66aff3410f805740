"""The OpenAPI document, generated from the routes and from the `Operation` that each view declares."""

import json
from collections.abc import Mapping
from typing import Any, Final

from apispec import APISpec
from quart import Quart

from app import __version__
from app.edge.openapi_components import HEADERS, Schemas
from app.edge.openapi_errors import ErrorWriter
from app.edge.openapi_operations import OperationWriter, description_of
from app.edge.openapi_schemas import rewrite_schemas
from app.edge.operation import Operation
from app.edge.routes import Route, routes

OPENAPI_VERSION: Final = "3.1.0"
_DESCRIPTION: Final = (
    "One dependable door to LLM conversations. Send a key with every request, as `X-API-Key: <key>` or "
    "`Authorization: Bearer <key>`; each operation names the scope that the key needs. Answers come as "
    '`{"status": "ok", "message": null, "data": ...}`, errors with their HTTP status as '
    '`{"status": "error", "message": ..., "data": null, "code": ..., "request_id": ...}`.'
)
_TAGS: Final = {"Open API": "Developer APIs authenticated by API Key"}


def build_document(app: Quart, extra_schemas: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The document of all routes of `app`, the same for the same routes.

    `extra_schemas` are further components by name, each a msgspec type or a JSON Schema; the one named `ChatEvent`
    describes the events of every stream that does not name another schema. Raises ValueError for a route without an
    operation, for an operation id used twice, and for two schemas of one name.
    """
    operations = _operations(app)
    schemas = Schemas([operation for _, operation in operations], extra_schemas or {})
    spec = APISpec(title="Palaver Open API", version=__version__, openapi_version=OPENAPI_VERSION)
    errors = ErrorWriter(schemas)
    writer = OperationWriter(schemas, errors)
    for route, operation in operations:
        if route.method == "WEBSOCKET":
            spec.path(
                route.path,
                operations={"x-websocket": writer.websocket(route, operation)},
                summary=operation.summary,
                description=description_of(operation),
            )
        else:
            spec.path(route.path, operations={route.method.lower(): writer.operation(route, operation)})
    _add_components(spec, schemas, errors)
    document = spec.to_dict()
    rewrite_schemas(document)
    return _in_order(document, {operation.tag for _, operation in operations})


def render(document: Mapping[str, Any]) -> str:
    """The document as it is checked in and served."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _operations(app: Quart) -> list[tuple[Route, Operation]]:
    operations = []
    ids: dict[str, str] = {}
    for route in routes(app):
        name = f"{route.method} {route.rule}"
        if route.operation is None:
            raise ValueError(f"{name} declares no operation")
        if (other := ids.setdefault(route.operation.id, name)) != name:
            raise ValueError(f"the operation id {route.operation.id} is used by {other} and by {name}")
        operations.append((route, route.operation))
    return operations


def _in_order(document: dict[str, Any], tags: set[str]) -> dict[str, Any]:
    components = document["components"]
    tag_names = sorted(tags, key=lambda name: (name not in _TAGS, name))
    return {
        "openapi": document["openapi"],
        "info": {
            **document["info"],
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [
            {"url": "http://localhost:6185", "description": "A server on this machine"},
            {"url": "/", "description": "The server that this document comes from"},
        ],
        "tags": [{"name": name, **({"description": _TAGS[name]} if name in _TAGS else {})} for name in tag_names],
        "paths": document["paths"],
        "components": {section: dict(sorted(components[section].items())) for section in sorted(components)},
    }


def _add_components(spec: APISpec, schemas: Schemas, errors: ErrorWriter) -> None:
    for name, schema in schemas.components.items():
        spec.components.schema(name, schema)
    for name, response in errors.shared_responses().items():
        spec.components.response(name, response)
    for name, (_, description) in HEADERS.items():
        spec.components.header(name, {"description": description, "schema": {"type": "string"}})
    spec.components.security_scheme(
        "ApiKeyHeader",
        {
            "type": "apiKey",
            "in": "header",
            "name": "X-API-Key",
            "description": "Open API key. Authorization: Bearer <api_key> is also accepted.",
        },
    )
    spec.components.security_scheme(
        "BearerAuth", {"type": "http", "scheme": "bearer", "description": "The same key, as a bearer token."}
    )
