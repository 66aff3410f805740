"""Errors in OpenAI's envelope, as its clients expect them."""

import math
from collections.abc import Mapping
from typing import Any

from app.auth.limits import BUDGET_EXCEEDED
from app.chat.runs.events import Failed
from app.edge.operation import ErrorShape
from app.errors import AppError
from app.providers.models import UpstreamError

INVALID = "invalid_request_error"
_QUOTA = "insufficient_quota"
"""OpenAI's word for a budget that is spent."""
_TYPES = {429: "rate_limit_error"}
_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded", 504: "timeout"}
"""OpenAI's codes, where the Open API has others."""


class InvalidRequest(AppError):
    """An invalid request; `param` names the field."""

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


class CompletionFailed(AppError):
    """A failed reply; `refusal` is the model server's own account of a refused request."""

    def __init__(self, failure: Failed, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(failure.message, status=failure.status or 502, code=failure.code, headers=headers)
        self.refusal = failure.refusal
        if self.status in (429, 503):
            self.headers["Retry-After"] = str(math.ceil(failure.retry_after or 1))

    @classmethod
    def from_upstream(cls, error: UpstreamError) -> "CompletionFailed":
        """The failure of a call without a run."""
        return cls(Failed("upstream_error", error.message, error.gateway_status, error.retry_after, error.refusal))


def openai_error(error: AppError, request_id: str) -> Mapping[str, Any]:
    """OpenAI's envelope. The request's id is in the header `X-Request-ID`, as in OpenAI's own answers."""
    if (refusal := error.refusal) is not None:
        kind = refusal.type or INVALID
        return _envelope(refusal.message, kind, refusal.param, refusal.code)
    if error.code == BUDGET_EXCEEDED:
        return _envelope(error.message, _QUOTA, None, _QUOTA)
    kind = _TYPES.get(error.status, INVALID if error.status < 500 else "server_error")
    return _envelope(error.message, kind, error.param, _CODES.get(error.status, error.code))


def _envelope(message: str, kind: str, param: str | None, code: str | None) -> Mapping[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _code_of(error: AppError) -> str | None:
    code: str | None = openai_error(error, "")["error"]["code"]
    return code


ERRORS = ErrorShape(
    "OpenAIError",
    {
        "type": "object",
        "description": "Every error below /v1, as OpenAI has it.",
        "required": ["error"],
        "properties": {
            "error": {
                "title": "OpenAIErrorObject",
                "type": "object",
                "description": "What is wrong, and with which field.",
                "required": ["message", "type", "param", "code"],
                "properties": {
                    "message": {"type": "string"},
                    "type": {"type": "string", "description": "OpenAI's class of the error."},
                    "param": {"type": ["string", "null"], "description": "The field at fault."},
                    "code": {"type": ["string", "null"]},
                },
            }
        },
    },
    openai_error,
    _code_of,
)
