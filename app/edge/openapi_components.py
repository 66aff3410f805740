"""The components of the OpenAPI document, which operations refer to: schemas and headers."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from app.edge.openapi_schemas import JsonSchema, reference_to
from app.edge.operation import ErrorShape, Operation

_SCHEMA_REFERENCE: Final = "#/components/schemas/{name}"
_ERROR_RESPONSE: Final[JsonSchema] = {
    "type": "object",
    "description": "Every error: a sentence for people, a stable word for programs, and the request's id.",
    "required": ["status", "message", "data", "code", "request_id"],
    "properties": {
        "status": {"type": "string", "const": "error", "example": "error", "description": "Always `error`."},
        "message": {"type": "string"},
        "data": {"type": ["object", "null"], "description": "Null, unless the operation says what it holds."},
        "code": {"type": "string", "pattern": "^[a-z0-9_]+$"},
        "request_id": {"type": "string"},
    },
}

HEADERS: Final = {
    "RequestId": ("X-Request-ID", "The request's id: the caller's own, if it sent one, and on every log line."),
    "RetryAfter": ("Retry-After", "Seconds to wait before the next try."),
    "WwwAuthenticate": ("WWW-Authenticate", "How to authenticate."),
}


class Schemas:
    """The component schemas, and references to them."""

    def __init__(self, operations: Iterable[Operation], extra: Mapping[str, Any]) -> None:
        schemas = [*_schemas_of(operations), *extra.values()]
        types = list(dict.fromkeys(schema for schema in schemas if not isinstance(schema, Mapping)))
        # All in one call, so that msgspec tells apart types of one name.
        references, components = msgspec.json.schema_components(types, ref_template=_SCHEMA_REFERENCE)
        self._references = dict(zip(types, references, strict=True))
        self.components: dict[str, JsonSchema] = {"ErrorResponse": _ERROR_RESPONSE, **components}
        for name, schema in extra.items():
            component = self.of(schema)
            # A type with the component's own name is there already.
            if component != reference_to(name):
                self._add(name, component)

    def error_of(self, shape: ErrorShape) -> JsonSchema:
        """A reference to a door's own errors, which become a component."""
        self._add(shape.name, dict(shape.schema))
        return reference_to(shape.name)

    def of(self, schema: Any) -> JsonSchema:
        """The JSON Schema of a type (as a rule a reference), or a JSON Schema as it is."""
        return dict(schema) if isinstance(schema, Mapping) else dict(self._references[schema])

    def envelope(self, name: str, data: Any) -> JsonSchema:
        """A reference to the Open API's envelope around `data`, which becomes the component `name`."""
        self._add(
            name,
            {
                "type": "object",
                "description": "The Open API's envelope.",
                "required": ["status", "message", "data"],
                "properties": {
                    "status": {"type": "string", "const": "ok", "example": "ok", "description": "Always `ok`."},
                    "message": {"type": ["string", "null"], "description": "For people; as a rule null."},
                    "data": {"type": "null"} if data is None else self.of(data),
                },
            },
        )
        return reference_to(name)

    def _add(self, name: str, schema: JsonSchema) -> None:
        if self.components.setdefault(name, schema) != schema:
            raise ValueError(f"two different schemas are named {name}")


def _schemas_of(operations: Iterable[Operation]) -> Iterator[Any]:
    for operation in operations:
        if operation.body is not None:
            yield operation.body.schema
        for answer in operation.answers.values():
            for form in (answer, answer.stream):
                if form is not None and form.schema is not None:
                    yield form.schema


def header_references(*names: str) -> dict[str, Any]:
    return {HEADERS[name][0]: {"$ref": f"#/components/headers/{name}"} for name in names}
