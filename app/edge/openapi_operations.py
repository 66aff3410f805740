"""The operations of the OpenAPI document."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec

from app.edge.openapi_components import (
    SHARED_ERRORS,
    JsonSchema,
    Schemas,
    error_response,
    error_with_headers,
    header_references,
    reference_to,
)
from app.edge.operation import PUBLIC, Answer, Body, ErrorShape, Operation, Param
from app.edge.routes import CONVERTER, Route
from app.edge.schemas import example_of

EVENT_STREAM: Final = "text/event-stream"
EVENT_COMPONENT: Final = "ChatEvent"
_PATH_SCHEMAS: Final[dict[str, JsonSchema]] = {
    "int": {"type": "integer", "minimum": 0},
    "uuid": {"type": "string", "format": "uuid"},
}
_KEY_ERRORS: Final = (401, 403)
_JSON_BODY_ERRORS: Final = (400, 413, 415)


class OperationWriter:
    """Writes operations; `shared_errors` are the statuses whose shared error was referred to."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        self.shared_errors: dict[int, None] = dict.fromkeys(_KEY_ERRORS)

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
        responses |= self._errors(operation)
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

    def _errors(self, operation: Operation) -> dict[int, dict[str, Any]]:
        common: tuple[int, ...] = () if operation.scope == PUBLIC else _KEY_ERRORS
        if operation.body is not None and operation.body.media_type == "application/json":
            common += _JSON_BODY_ERRORS
        if operation.error_shape is not None:
            return self._own_errors(operation.error_shape, common, operation.errors)
        responses = {status: self._shared_error(status, None) for status in common if status not in operation.errors}
        for status, message in operation.errors.items():
            # These two are references in the seed's document, and stay so.
            is_shared = status in _KEY_ERRORS
            responses[status] = (
                self._shared_error(status, message) if is_shared else error_response(status, {"": message})
            )
        return responses

    def _own_errors(
        self, shape: ErrorShape, common: Iterable[int], errors: Mapping[int, str]
    ) -> dict[int, dict[str, Any]]:
        """Errors in a door's own shape, which shares none of the Open API's."""
        messages = {status: next(iter(SHARED_ERRORS[status][1].values())) for status in common} | dict(errors)
        reference = self._schemas.error_of(shape)
        return {
            status: error_with_headers(status, {"schema": reference, "example": dict(shape.example(status, message))})
            for status, message in messages.items()
        }

    def _shared_error(self, status: int, message: str | None) -> dict[str, Any]:
        self.shared_errors[status] = None
        name, _ = SHARED_ERRORS[status]
        reference = {"$ref": f"#/components/responses/{name}"}
        return reference if message is None else {**reference, "description": f"{HTTPStatus(status).phrase}: {message}"}


def description_of(operation: Operation) -> str:
    """The operation's description, with the scope that it needs."""
    access = "No key is needed." if operation.scope == PUBLIC else f"Required scope: `{operation.scope}`."
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
