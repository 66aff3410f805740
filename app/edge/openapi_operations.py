"""The operations of the OpenAPI document."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from app.edge.openapi_components import Schemas, header_references
from app.edge.openapi_errors import ErrorWriter
from app.edge.openapi_schemas import JsonSchema, reference_to
from app.edge.operation import ANY_KEY, PUBLIC, Answer, Body, Operation, Param
from app.edge.routes import CONVERTER, Route
from app.edge.schemas import example_of

EVENT_STREAM: Final = "text/event-stream"
EVENT_COMPONENT: Final = "ChatEvent"
_ACCESS: Final = {PUBLIC: "No key is needed.", ANY_KEY: "Every key may call it."}
_PATH_SCHEMAS: Final[dict[str, JsonSchema]] = {
    "int": {"type": "integer", "minimum": 0},
    "uuid": {"type": "string", "format": "uuid"},
}


class OperationWriter:
    """Writes operations."""

    def __init__(self, schemas: Schemas, errors: ErrorWriter) -> None:
        self._schemas = schemas
        self._errors = errors

    def operation(self, route: Route, operation: Operation) -> dict[str, Any]:
        members: dict[str, Any] = {
            "tags": [operation.tag],
            "operationId": operation.id,
            "summary": operation.summary,
            "description": description_of(operation),
            "x-required-scope": operation.scope,
            "security": [] if operation.scope == PUBLIC else [{"ApiKeyHeader": []}, {"BearerAuth": []}],
        }
        if parameters := _parameters(route, operation.params):
            members["parameters"] = parameters
        if (body := operation.body) is not None:
            members["requestBody"] = {
                "required": body.required,
                "content": {
                    body.media_type: self._body(body),
                    **{name: {"schema": dict(schema)} for name, schema in body.other_media_types.items()},
                },
            }
        responses = {status: self._answer(answer) for status, answer in operation.answers.items()}
        responses |= self._errors.errors(operation)
        members["responses"] = dict(sorted(responses.items()))
        return members

    def websocket(self, route: Route, operation: Operation) -> dict[str, Any]:
        """A WebSocket, which OpenAPI has no word for, as an extension beside the operations."""
        members: dict[str, Any] = {
            "operationId": operation.id,
            "tags": [operation.tag],
            "x-required-scope": operation.scope,
        }
        if parameters := _parameters(route, operation.params):
            members["parameters"] = parameters
        if operation.body is not None:
            members["receives"] = self._body(operation.body)
        messages = [self._answer(answer) for answer in operation.answers.values() if answer.schema is not None]
        if messages:
            members["sends"] = messages
        elif EVENT_COMPONENT in self._schemas.components:
            members["sends"] = [{"schema": reference_to(EVENT_COMPONENT)}]
        return members

    def _body(self, body: Body) -> dict[str, Any]:
        content: dict[str, Any] = {"schema": self._schemas.of(body.schema)}
        if body.examples:
            content["examples"] = {name: {"value": value} for name, value in body.examples.items()}
        return content

    def _answer(self, answer: Answer) -> dict[str, Any]:
        members: dict[str, Any] = {"description": answer.description, "headers": header_references("RequestId")}
        for name, description in answer.headers.items():
            members["headers"][name] = {"description": description, "schema": {"type": "string"}}
        if content := self._content(answer):
            members["content"] = dict.fromkeys((answer.media_type, *answer.other_media_types), content)
        if answer.stream is not None:
            members["content"][answer.stream.media_type] = self._content(answer.stream)
        return members

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
            content["x-event-schema"] = reference_to(EVENT_COMPONENT)
        return content


def description_of(operation: Operation) -> str:
    """The operation's description, with the scope that it needs."""
    access = _ACCESS.get(operation.scope, f"Required scope: `{operation.scope}`.")
    return f"{operation.description}\n\n{access}"


def _parameters(route: Route, params: Iterable[Param]) -> list[dict[str, Any]]:
    by_place: dict[str, dict[str, Param]] = defaultdict(dict)
    for param in params:
        by_place[param.where][param.name] = param
    path_params = by_place.pop("path", {})
    parameters = []
    for converter in CONVERTER.finditer(route.rule):
        name = converter["name"]
        schema = _PATH_SCHEMAS.get(converter["kind"] or "string", {"type": "string"})
        default = Param(name, f"The {name.replace('_', ' ')}.", schema, where="path")
        parameters.append(_parameter(path_params.pop(name, default)))
    if path_params:
        raise ValueError(f"{route.method} {route.rule} has no path parameter {', '.join(path_params)}")
    return parameters + [_parameter(param) for place in by_place.values() for param in place.values()]


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


def _example_of(answer: Answer) -> Any:
    if answer.example is None and isinstance(answer.schema, type) and issubclass(answer.schema, msgspec.Struct):
        return example_of(answer.schema)
    return answer.example
