"""The errors of the OpenAPI document: each status once, with all the codes that it is sent with."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from app.edge.errors import open_api_error
from app.edge.openapi_components import Schemas, header_references
from app.edge.openapi_schemas import reference_to
from app.edge.operation import PUBLIC, Body, ErrorShape, Operation, Refusal, refusal
from app.errors import AppError

Refusals = dict[int, Refusal]

_KEY_ERRORS: Final[Refusals] = {
    401: refusal("Missing API key", "missing_api_key", "invalid_api_key", "browser_session_ended"),
    403: refusal(
        "Insufficient API key scope",
        "insufficient_scope",
        "origin_not_allowed",
        "browser_header_missing",
        "key_blocked",
        "address_not_allowed",
    ),
}
_JSON_ERRORS: Final[Refusals] = {
    400: refusal("The body is not valid JSON", "invalid_json", "invalid_request"),
    413: refusal("The request body is larger than 4194304 bytes", "payload_too_large"),
    415: refusal("Content-Type must be application/json", "unsupported_media_type"),
}
_FORM_ERRORS: Final[Refusals] = {
    400: refusal("The form cannot be read: it ends too early", "invalid_form"),
    408: refusal("The request did not arrive in time", "request_timeout"),
    413: refusal("The request body is too large", "payload_too_large"),
    415: refusal("Content-Type must be multipart/form-data", "unsupported_media_type"),
}
_IDEMPOTENCY_ERRORS: Final[Refusals] = {
    400: refusal("Idempotency-Key must be 1 to 255 printable characters", "invalid_idempotency_key"),
    422: refusal("This Idempotency-Key was used with another request body", "idempotency_key_reused"),
}
_SHARED: Final = {
    400: "InvalidJson",
    401: "Unauthorized",
    403: "Forbidden",
    413: "PayloadTooLarge",
    415: "UnsupportedMediaType",
}
"""Names of the responses that are components; the seed's document has the first of them."""
_HEADERS: Final = {401: ("WwwAuthenticate",), 429: ("RetryAfter",), 503: ("RetryAfter",)}
_FORM_TYPE: Final = "multipart/form-data"


class ErrorWriter:
    """Writes the error responses of operations, and those that operations share."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        self._shared: dict[int, None] = dict.fromkeys(_KEY_ERRORS)

    def errors(self, operation: Operation) -> dict[int, dict[str, Any]]:
        """The operation's error responses by status."""
        refusals = _refusals_of(operation)
        if (shape := operation.error_shape) is not None:
            reference = self._schemas.error_of(shape)
            return {status: _response(status, each, reference, shape) for status, each in refusals.items()}
        return {status: self._response(status, each, operation.errors) for status, each in refusals.items()}

    def shared_responses(self) -> dict[str, dict[str, Any]]:
        """The shared responses that operations refer to, by name."""
        common = {**_JSON_ERRORS, **_KEY_ERRORS}
        reference = reference_to("ErrorResponse")
        return {_SHARED[status]: _response(status, common[status], reference) for status in self._shared}

    def _response(self, status: int, each: Refusal, own: Mapping[int, Refusal]) -> dict[str, Any]:
        is_common = each == {**_JSON_ERRORS, **_KEY_ERRORS}.get(status)
        if not is_common and status not in _KEY_ERRORS:
            return _response(status, each, reference_to("ErrorResponse"))
        # Those of keys are references in the seed's document, and stay so.
        self._shared[status] = None
        reference = {"$ref": f"#/components/responses/{_SHARED[status]}"}
        if is_common or status not in own:
            return reference
        return {**reference, "description": f"{HTTPStatus(status).phrase}: {each.message}. {_codes(each.codes)}"}


def _refusals_of(operation: Operation) -> Refusals:
    """The operation's own refusals, and those that come with its key, its body and its parameters."""
    refusals = dict(operation.errors)
    for common in _common_refusals(operation):
        for status, each in common.items():
            own = refusals.get(status)
            if own is None:
                refusals[status] = each
            else:
                refusals[status] = Refusal(own.message, tuple(dict.fromkeys(own.codes + each.codes)))
    return refusals


def _common_refusals(operation: Operation) -> Iterable[Refusals]:
    if operation.scope != PUBLIC:
        yield _KEY_ERRORS
    if operation.body is not None:
        media_types = _media_types(operation.body)
        if "application/json" in media_types:
            yield _JSON_ERRORS
        if _FORM_TYPE in media_types:
            yield _FORM_ERRORS
    if any(param.name == "Idempotency-Key" for param in operation.params):
        yield _IDEMPOTENCY_ERRORS


def _media_types(body: Body) -> set[str]:
    return {body.media_type, *body.other_media_types}


def _response(status: int, each: Refusal, schema: dict[str, Any], shape: ErrorShape | None = None) -> dict[str, Any]:
    def error(code: str) -> AppError:
        return AppError(each.message, status=status, code=code)

    example_error = error(each.codes[0])
    if shape is None:
        codes: Iterable[str | None] = each.codes
        example = open_api_error(example_error, "5f0c6f3e-8a51-4a3e-9d0b-1f5f0c6f3e8a")
    else:
        codes = dict.fromkeys(shape.code_of(error(code)) for code in each.codes)
        example = shape.envelope(example_error, "")
    described = _codes([code for code in codes if code is not None])
    return {
        "description": f"{HTTPStatus(status).phrase}. {described}".rstrip(),
        "headers": header_references("RequestId", *_HEADERS.get(status, ())),
        "content": {"application/json": {"schema": schema, "example": dict(example)}},
    }


def _codes(codes: Iterable[str]) -> str:
    text = ", ".join(f"`{code}`" for code in codes)
    return f"Codes: {text}." if text else ""
