"""Errors in Second Me's envelope, with the HTTP status as code."""

from collections.abc import Mapping
from typing import Any

from app.edge.operation import ErrorShape
from app.errors import AppError


def kernel2_error(error: AppError, request_id: str) -> Mapping[str, Any]:
    """Second Me's envelope. The request's id is in the header `X-Request-ID`."""
    return {"success": False, "message": _message(error), "code": error.status}


def _message(error: AppError) -> str:
    """The error's text, with the field at fault; a refusal is in the model server's own words."""
    if error.refusal is not None:
        return error.refusal.message
    param = error.param
    return error.message if param is None or param in error.message else f"{error.message} ({param})"


ERRORS = ErrorShape(
    "Kernel2Error",
    {
        "type": "object",
        "description": "Every error below /api/kernel2, as Second Me has it; `code` is the HTTP status.",
        "required": ["success", "message", "code"],
        "properties": {
            "success": {"type": "boolean", "const": False},
            "message": {"type": "string"},
            "code": {"type": "integer", "minimum": 400, "maximum": 599, "description": "The HTTP status."},
        },
    },
    kernel2_error,
    code_of=lambda _: None,
)
