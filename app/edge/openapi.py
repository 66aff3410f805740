"""The OpenAPI document, made by walking the routes: it says what each view's `Operation` says, and nothing else."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
from quart import Quart

from app import __version__, errors
from app.edge.errors import open_api_error
from app.edge.operation import PUBLIC, Answer, Body, ErrorShape, Operation, Param
from app.edge.routes import CONVERTER, Route, routes
from app.edge.schemas import example_of

JsonSchema = dict[str, Any]

OPENAPI_VERSION: Final = "3.1.0"
EVENT_STREAM: Final = "text/event-stream"
EVENT_COMPONENT: Final = "ChatEvent"
_COMPONENT: Final = "#/components/schemas/{name}"
_PATH_SCHEMAS: Final[dict[str, JsonSchema]] = {
    "int": {"type": "integer", "minimum": 0},
    "uuid": {"type": "string", "format": "uuid"},
}
_CODES: Final = {
    kind.status: kind.code
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.AppError)
}
_DESCRIPTION: Final = (
    "One dependable door to LLM conversations. Send a key with every request, as `X-API-Key: <key>` or "
    "`Authorization: Bearer <key>`; each operation names the scope that the key needs. Answers come as "
    '`{"status": "ok", "message": null, "data": ...}`, errors with their HTTP status as '
    '`{"status": "error", "message": ..., "data": null, "code": ..., "request_id": ...}`.'
)
_TAGS: Final = {"Open API": "Developer APIs authenticated by API Key"}
_SECURITY_SCHEMES: Final = {
    "ApiKeyHeader": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "Open API key. Authorization: Bearer <api_key> is also accepted.",
    },
    "BearerAuth": {"type": "http", "scheme": "bearer", "description": "The same key, as a bearer token."},
}

# Answers that are the same wherever they occur: the component's name, and its examples by name.
_SHARED: Final[dict[int, tuple[str, dict[str, str]]]] = {
    401: ("Unauthorized", {"missing": "Missing API key", "wrong": "Invalid API key"}),
    403: ("Forbidden", {"scope": "Insufficient API key scope"}),
    400: ("InvalidJson", {"json": "The body is not valid JSON"}),
    413: ("PayloadTooLarge", {"size": "The request body is larger than 4194304 bytes"}),
    415: ("UnsupportedMediaType", {"type": "Content-Type must be application/json"}),
}
_OF_EVERY_KEY: Final = (401, 403)
_OF_EVERY_JSON_BODY: Final = (400, 413, 415)
_ERROR_HEADERS: Final = {401: ("WwwAuthenticate",), 429: ("RetryAfter",), 503: ("RetryAfter",)}
_HEADERS: Final = {
    "RequestId": ("X-Request-ID", "The request's id: the caller's own, if it sent one, and on every log line."),
    "RetryAfter": ("Retry-After", "Seconds to wait before the next try."),
    "WwwAuthenticate": ("WWW-Authenticate", "How to authenticate."),
}


def build_document(app: Quart, extra_schemas: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The document of all routes of `app`, the same for the same routes.

    `extra_schemas` are further components by name, each a type that msgspec knows or a JSON Schema; the one named
    `ChatEvent` describes the events of every stream that does not say otherwise. Raises ValueError for a route that
    declares nothing, for an operation id used twice, and for two schemas that claim one name.
    """
    declared = _declared(app)
    schemas = _Schemas([operation for _, operation in declared], extra_schemas or {})
    writer = _Writer(schemas)
    paths: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for route, operation in declared:
        if route.method == "WEBSOCKET":
            paths[route.path]["x-websocket"] = writer.websocket(route, operation)
            paths[route.path] |= {"summary": operation.summary, "description": _with_scope(operation)}
        else:
            paths[route.path][route.method.lower()] = writer.operation(route, operation)
    tags = sorted({operation.tag for _, operation in declared}, key=lambda name: (name not in _TAGS, name))
    shared_errors = {name: _error(status, _SHARED[status][1]) for name, status in sorted(writer.shared_errors)}
    return {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": "Palaver Open API",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [
            {"url": "/", "description": "The server that this document comes from"},
            {"url": "http://localhost:6185", "description": "A server on this machine"},
        ],
        "tags": [{"name": name, **({"description": _TAGS[name]} if name in _TAGS else {})} for name in tags],
        "paths": dict(paths),
        "components": {
            "headers": {
                name: {"description": description, "schema": {"type": "string"}}
                for name, (_, description) in sorted(_HEADERS.items())
            },
            "responses": shared_errors,
            "schemas": dict(sorted(schemas.components.items())),
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


def render(document: Mapping[str, Any]) -> str:
    """The document as it is checked in and served."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _declared(app: Quart) -> list[tuple[Route, Operation]]:
    found = []
    ids: dict[str, str] = {}
    for route in routes(app):
        where = f"{route.method} {route.rule}"
        if route.operation is None:
            raise ValueError(f"{where} declares no operation")
        if (other := ids.setdefault(route.operation.id, where)) != where:
            raise ValueError(f"the operation id {route.operation.id} is used by {other} and by {where}")
        found.append((route, route.operation))
    return found


class _Schemas:
    """The component schemas, and how to refer to them."""

    def __init__(self, operations: Iterable[Operation], extra: Mapping[str, Any]) -> None:
        given = [*_schemas_of(operations), *extra.values()]
        types = list(dict.fromkeys(each for each in given if not isinstance(each, Mapping)))
        # All in one call, so that msgspec tells apart types of one name.
        references, components = msgspec.json.schema_components(types, ref_template=_COMPONENT)
        self._references = dict(zip(types, references, strict=True))
        self.components: dict[str, JsonSchema] = {"ApiError": _API_ERROR, **components}
        for name, schema in extra.items():
            described = self.of(schema)
            # A type that goes by its own name is there already.
            if described != _reference(name):
                self._add(name, described)

    def error_of(self, shape: ErrorShape) -> JsonSchema:
        """A reference to a door's own errors, which become a component."""
        self._add(shape.name, dict(shape.schema))
        return _reference(shape.name)

    def of(self, schema: Any) -> JsonSchema:
        """The JSON Schema of a type (as a rule a reference), or that which is one already."""
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
        return _reference(name)

    def _add(self, name: str, schema: JsonSchema) -> None:
        if self.components.setdefault(name, schema) != schema:
            raise ValueError(f"two different schemas are named {name}")


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


def _reference(name: str) -> JsonSchema:
    return {"$ref": _COMPONENT.format(name=name)}


def _schemas_of(operations: Iterable[Operation]) -> Iterator[Any]:
    for operation in operations:
        if operation.body is not None:
            yield operation.body.schema
        for answer in operation.answers.values():
            for each in (answer, answer.stream):
                if each is not None and each.schema is not None:
                    yield each.schema


class _Writer:
    """Operations as the document has them; `shared_errors` are the names and statuses of shared answers in use."""

    def __init__(self, schemas: _Schemas) -> None:
        self._schemas = schemas
        self.shared_errors = {(_SHARED[status][0], status) for status in _OF_EVERY_KEY}

    def operation(self, route: Route, declared: Operation) -> dict[str, Any]:
        written: dict[str, Any] = {
            "tags": [declared.tag],
            "operationId": declared.id,
            "summary": declared.summary,
            "description": _with_scope(declared),
            "x-required-scope": declared.scope,
            "security": [] if declared.scope == PUBLIC else [{"ApiKeyHeader": []}, {"BearerAuth": []}],
        }
        if parameters := _parameters(route, declared.params):
            written["parameters"] = parameters
        if declared.body is not None:
            written["requestBody"] = {
                "required": declared.body.required,
                "content": {
                    declared.body.media_type: self._body(declared.body),
                    **{name: {"schema": dict(schema)} for name, schema in declared.body.other_media_types.items()},
                },
            }
        answers = {status: self._answer(answer) for status, answer in declared.answers.items()}
        written["responses"] = {
            str(status): answer for status, answer in sorted((answers | self._errors(declared)).items())
        }
        return written

    def websocket(self, route: Route, declared: Operation) -> dict[str, Any]:
        """OpenAPI has no word for WebSockets: what is known of one stands beside the operations."""
        written: dict[str, Any] = {
            "operationId": declared.id,
            "tags": [declared.tag],
            "x-required-scope": declared.scope,
        }
        if parameters := _parameters(route, declared.params):
            written["parameters"] = parameters
        if declared.body is not None:
            written["receives"] = self._body(declared.body)
        sent = [self._answer(answer) for answer in declared.answers.values() if answer.schema is not None]
        if sent:
            written["sends"] = sent
        elif EVENT_COMPONENT in self._schemas.components:
            written["sends"] = [{"schema": _reference(EVENT_COMPONENT)}]
        return written

    def _body(self, body: Body) -> dict[str, Any]:
        content: dict[str, Any] = {"schema": self._schemas.of(body.schema)}
        if body.examples:
            content["examples"] = {name: {"value": value} for name, value in body.examples.items()}
        return content

    def _answer(self, answer: Answer) -> dict[str, Any]:
        written: dict[str, Any] = {"description": answer.description, "headers": _header_references("RequestId")}
        for name, description in answer.headers.items():
            written["headers"][name] = {"description": description, "schema": {"type": "string"}}
        if content := self._content(answer):
            written["content"] = dict.fromkeys((answer.media_type, *answer.other_media_types), content)
        if answer.stream is not None:
            written["content"][answer.stream.media_type] = self._content(answer.stream)
        return written

    def _content(self, answer: Answer) -> dict[str, Any]:
        if answer.media_type == EVENT_STREAM:
            return self._event_stream(answer)
        if answer.envelope is not None:
            return {
                "schema": self._schemas.envelope(answer.envelope, answer.schema),
                "example": {"status": "ok", "message": None, "data": _example_of(answer)},
            }
        if answer.schema is None:
            return {}
        content: dict[str, Any] = {"schema": self._schemas.of(answer.schema)}
        if (example := _example_of(answer)) is not None:
            content["example"] = example
        return content

    def _event_stream(self, answer: Answer) -> dict[str, Any]:
        content: dict[str, Any] = {"schema": {"type": "string"}}
        if answer.example is not None:
            content["example"] = _as_frames(answer.example)
        if answer.schema is not None and not isinstance(answer.schema, Mapping):
            content["x-event-schema"] = self._schemas.of(answer.schema)
        elif EVENT_COMPONENT in self._schemas.components:
            content["x-event-schema"] = _reference(EVENT_COMPONENT)
        return content

    def _errors(self, declared: Operation) -> dict[int, dict[str, Any]]:
        expected: tuple[int, ...] = () if declared.scope == PUBLIC else _OF_EVERY_KEY
        if declared.body is not None and declared.body.media_type == "application/json":
            expected += _OF_EVERY_JSON_BODY
        if declared.error_shape is not None:
            return self._own_errors(declared.error_shape, expected, declared.errors)
        written = {status: self._shared_error(status, None) for status in expected if status not in declared.errors}
        for status, message in declared.errors.items():
            # These two are references in the seed's document, and stay so.
            shared = status in _OF_EVERY_KEY
            written[status] = self._shared_error(status, message) if shared else _error(status, {"": message})
        return written

    def _own_errors(
        self, shape: ErrorShape, expected: Iterable[int], errors: Mapping[int, str]
    ) -> dict[int, dict[str, Any]]:
        """Errors in a door's own shape, which shares none of the Open API's answers."""
        messages = {status: next(iter(_SHARED[status][1].values())) for status in expected} | dict(errors)
        reference = self._schemas.error_of(shape)
        return {
            status: _with_headers(status, {"schema": reference, "example": dict(shape.example(status, message))})
            for status, message in messages.items()
        }

    def _shared_error(self, status: int, message: str | None) -> dict[str, Any]:
        name, _ = _SHARED[status]
        self.shared_errors.add((name, status))
        reference = {"$ref": f"#/components/responses/{name}"}
        return reference if message is None else {**reference, "description": f"{HTTPStatus(status).phrase}: {message}"}


def _example_of(answer: Answer) -> Any:
    if answer.example is None and isinstance(answer.schema, type) and issubclass(answer.schema, msgspec.Struct):
        return example_of(answer.schema)
    return answer.example


def _error(status: int, messages: Mapping[str, str]) -> dict[str, Any]:
    """An error's answer; one message is its example, several are named examples."""
    content: dict[str, Any] = {"schema": _reference("ApiError")}
    examples = {name: _error_example(status, message) for name, message in messages.items()}
    if len(examples) == 1:
        (content["example"],) = examples.values()
    else:
        content["examples"] = {name: {"value": value} for name, value in examples.items()}
    return _with_headers(status, content)


def _with_headers(status: int, content: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": HTTPStatus(status).phrase,
        "headers": _header_references("RequestId", *_ERROR_HEADERS.get(status, ())),
        "content": {"application/json": content},
    }


def _error_example(status: int, message: str) -> Mapping[str, Any]:
    error = errors.AppError(message, code=_CODES.get(status, "http_error"))
    return open_api_error(error, "5f0c6f3e-8a51-4a3e-9d0b-1f5f0c6f3e8a")


def _header_references(*names: str) -> dict[str, Any]:
    return {_HEADERS[name][0]: {"$ref": f"#/components/headers/{name}"} for name in names}


def _with_scope(declared: Operation) -> str:
    access = "No key is needed." if declared.scope == PUBLIC else f"Required scope: `{declared.scope}`."
    return f"{declared.description}\n\n{access}"


def _parameters(route: Route, params: Iterable[Param]) -> list[dict[str, Any]]:
    by_place: dict[str, dict[str, Param]] = defaultdict(dict)
    for param in params:
        by_place[param.where][param.name] = param
    in_path = by_place.pop("path", {})
    written = []
    for found in CONVERTER.finditer(route.rule):
        name = found["name"]
        schema = _PATH_SCHEMAS.get(found["kind"] or "string", {"type": "string"})
        described = in_path.pop(name, None) or Param(name, f"The {name.replace('_', ' ')}.", schema, where="path")
        written.append(_parameter(described))
    if in_path:
        raise ValueError(f"{route.method} {route.rule} has no path parameter {', '.join(in_path)}")
    return written + [_parameter(param) for place in by_place.values() for param in place.values()]


def _parameter(param: Param) -> dict[str, Any]:
    return {
        "name": param.name,
        "in": param.where,
        "required": param.required or param.where == "path",
        "description": param.description,
        "schema": dict(param.schema),
    }


def _as_frames(example: Any) -> str:
    """A stream's example: text as it is, or a list of events as the frames that carry them."""
    if isinstance(example, str):
        return example
    return "".join(f"data: {json.dumps(event, ensure_ascii=False)}\n\n" for event in example)
