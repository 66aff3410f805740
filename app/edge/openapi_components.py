"""The components of the OpenAPI document, which operations refer to: schemas, errors and headers."""

from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec

from app import errors
from app.edge.operation import ErrorShape, Operation

JsonSchema = dict[str, Any]

_SCHEMA_REFERENCE: Final = "#/components/schemas/{name}"
_CODES: Final = {
    kind.status: kind.code
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.AppError)
}
_API_ERROR: Final[JsonSchema] = {
    "type": "object",
    "description": "Every error: a sentence for people, a stable word for programs, and the request's id.",
    "required": ["status", "message", "data", "code", "request_id"],
    "properties": {
        "status": {"type": "string", "enum": ["error"], "example": "error"},
        "message": {"type": "string"},
        "data": {"type": "null"},
        "code": {"type": "string", "pattern": "^[a-z0-9_]+$"},
        "request_id": {"type": "string"},
    },
}

# Errors that are the same wherever they occur: the component's name, and its example messages by name.
SHARED_ERRORS: Final[dict[int, tuple[str, dict[str, str]]]] = {
    401: ("Unauthorized", {"missing": "Missing API key", "wrong": "Invalid API key"}),
    403: ("Forbidden", {"scope": "Insufficient API key scope"}),
    400: ("InvalidJson", {"json": "The body is not valid JSON"}),
    413: ("PayloadTooLarge", {"size": "The request body is larger than 4194304 bytes"}),
    415: ("UnsupportedMediaType", {"type": "Content-Type must be application/json"}),
}
HEADERS: Final = {
    "RequestId": ("X-Request-ID", "The request's id: the caller's own, if it sent one, and on every log line."),
    "RetryAfter": ("Retry-After", "Seconds to wait before the next try."),
    "WwwAuthenticate": ("WWW-Authenticate", "How to authenticate."),
}
_ERROR_HEADERS: Final = {401: ("WwwAuthenticate",), 429: ("RetryAfter",), 503: ("RetryAfter",)}


class Schemas:
    """The component schemas, and references to them."""

    def __init__(self, operations: Iterable[Operation], extra: Mapping[str, Any]) -> None:
        schemas = [*_schemas_of(operations), *extra.values()]
        types = list(dict.fromkeys(schema for schema in schemas if not isinstance(schema, Mapping)))
        # All in one call, so that msgspec tells apart types of one name.
        references, components = msgspec.json.schema_components(types, ref_template=_SCHEMA_REFERENCE)
        self._references = dict(zip(types, references, strict=True))
        self.components: dict[str, JsonSchema] = {"ApiError": _API_ERROR, **components}
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
                "required": ["status", "message", "data"],
                "properties": {
                    "status": {"type": "string", "enum": ["ok"], "example": "ok"},
                    "message": {"type": ["string", "null"]},
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


def reference_to(name: str) -> JsonSchema:
    return {"$ref": _SCHEMA_REFERENCE.format(name=name)}


def header_references(*names: str) -> dict[str, Any]:
    return {HEADERS[name][0]: {"$ref": f"#/components/headers/{name}"} for name in names}


def error_response(status: int, messages: Mapping[str, str]) -> dict[str, Any]:
    """An error's response; one message is its example, several are named examples."""
    content: dict[str, Any] = {"schema": reference_to("ApiError")}
    examples = {name: _error_example(status, message) for name, message in messages.items()}
    if len(examples) == 1:
        (content["example"],) = examples.values()
    else:
        content["examples"] = {name: {"value": value} for name, value in examples.items()}
    return error_with_headers(status, content)


def error_with_headers(status: int, content: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": HTTPStatus(status).phrase,
        "headers": header_references("RequestId", *_ERROR_HEADERS.get(status, ())),
        "content": {"application/json": content},
    }


def _error_example(status: int, message: str) -> dict[str, Any]:
    return {
        "status": "error",
        "message": message,
        "data": None,
        "code": _CODES.get(status, "http_error"),
        "request_id": "5f0c6f3e-8a51-4a3e-9d0b-1f5f0c6f3e8a",
    }
