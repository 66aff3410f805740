"""The errors that reach a caller, each with its HTTP status and its stable code, and those that reach the operator.

A service raises one of these; each door maps it to its own envelope, once (`app.edge.errors.install_errors`).
Messages are written for the caller: they never hold a secret, a path or another system's raw text.
"""

from collections.abc import Mapping
from typing import Protocol


class OperatorError(Exception):
    """A problem for the operator to correct; the text is one line."""


class Refusal(Protocol):
    """What a model server says of a request that it refuses, in OpenAI's words."""

    @property
    def message(self) -> str: ...
    @property
    def type(self) -> str | None: ...
    @property
    def param(self) -> str | None: ...
    @property
    def code(self) -> str | None: ...


class AppError(Exception):
    """An error with the HTTP status and the code that the caller gets.

    `status` is the HTTP status, `code` a snake_case word for programs, `message` a sentence for people, and
    `headers` what must go with the answer (`Retry-After`, `WWW-Authenticate`). `data` is what else the caller needs.
    `param` is the field at fault, `refusal` a model server's own account of a refused request.
    """

    status = 500
    code = "internal_error"
    data: Mapping[str, str] | None = None
    param: str | None = None
    refusal: "Refusal | None" = None

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.headers = dict(headers or {})
        if status is not None:
            self.status = status
        if code is not None:
            self.code = code


class BadRequest(AppError):
    status = 400
    code = "bad_request"


class Unauthorized(AppError):
    status = 401
    code = "unauthorized"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message, code=code, headers={"WWW-Authenticate": 'Bearer realm="palaver"'})


class Forbidden(AppError):
    status = 403
    code = "forbidden"


class NotFound(AppError):
    status = 404
    code = "not_found"


class Conflict(AppError):
    status = 409
    code = "conflict"


class PreconditionFailed(AppError):
    """A precondition of the request does not hold."""

    status = 412
    code = "precondition_failed"


class PreconditionRequired(AppError):
    status = 428
    code = "precondition_required"


class PayloadTooLarge(AppError):
    status = 413
    code = "payload_too_large"


class UnsupportedMediaType(AppError):
    status = 415
    code = "unsupported_media_type"


class RangeNotSatisfiable(AppError):
    status = 416
    code = "range_not_satisfiable"


class Unprocessable(AppError):
    status = 422
    code = "unprocessable"


class TooManyRequests(AppError):
    """A request over a limit; `retry_after` is in seconds."""

    status = 429
    code = "too_many_requests"

    def __init__(self, message: str, *, retry_after: int = 1, code: str | None = None) -> None:
        super().__init__(message, code=code, headers={"Retry-After": str(retry_after)})


class Unavailable(AppError):
    """A request that Palaver cannot serve now; `retry_after` is in seconds."""

    status = 503
    code = "unavailable"

    def __init__(self, message: str, *, retry_after: int = 5, code: str | None = None) -> None:
        super().__init__(message, code=code, headers={"Retry-After": str(retry_after)})
