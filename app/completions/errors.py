"""Errors as OpenAI has them, so that its clients raise their own exceptions for them."""

import math
from collections.abc import Mapping
from typing import Any

from app.chat.runs.events import Failed
from app.edge.operation import ErrorShape
from app.errors import AppError
from app.providers.models import Refusal, UpstreamError

INVALID = "invalid_request_error"
_TYPES = {429: "rate_limit_error"}
_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded", 504: "timeout"}
"""OpenAI's own words for what has another in the Open API."""


class InvalidRequest(AppError):
    """Something in the request that cannot be; `param` names the field."""

    status = 400
    code = "invalid_request"

    def __init__(self, message: str, param: str | None = None, *, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.param = param


class ModelNotFound(AppError):
    status = 404
    code = "model_not_found"
    param = "model"

    def __init__(self, model: str) -> None:
        super().__init__(f"The model `{model[:200]}` does not exist or you do not have access to it.")


class ReplyFailed(AppError):
    """There is no reply; `refusal` is the model server's own account of a request that it refused."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.message, code=failed.code)
        self.status = failed.status or 502
        self.refusal = failed.refusal
        if self.status in (429, 503):
            self.headers["Retry-After"] = str(math.ceil(failed.retry_after or 1))

    def with_headers(self, headers: Mapping[str, str]) -> "ReplyFailed":
        self.headers |= headers
        return self


def failure_of(error: UpstreamError) -> ReplyFailed:
    """What a caller is told of a call that failed without a run."""
    return ReplyFailed(Failed("upstream_error", error.message, error.gateway_status, error.retry_after, error.refusal))


def openai_error(error: AppError, request_id: str) -> Mapping[str, Any]:
    """OpenAI's envelope. The request's id stands in the header `X-Request-ID`, as it does there."""
    refusal = getattr(error, "refusal", None)
    if isinstance(refusal, Refusal):
        said = {"message": refusal.message, "type": refusal.type or INVALID}
        return {"error": {**said, "param": refusal.param, "code": refusal.code}}
    return {
        "error": {
            "message": error.message,
            "type": _TYPES.get(error.status, INVALID if error.status < 500 else "server_error"),
            "param": getattr(error, "param", None),
            "code": _CODES.get(error.status, error.code),
        }
    }


def _example(status: int, message: str) -> Mapping[str, Any]:
    error = AppError(message, code={404: "model_not_found"}.get(status, "invalid_request" if status < 500 else None))
    error.status = status
    return openai_error(error, "")


ERRORS = ErrorShape(
    "OpenAIError",
    {
        "type": "object",
        "description": "Every error below /v1, as OpenAI has it.",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "null"]},
                },
            }
        },
    },
    _example,
)
