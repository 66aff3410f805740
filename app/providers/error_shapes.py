"""Errors in the words of a model server, in any of the shapes that servers have for them."""

from typing import Any

from app.providers import lenient_json
from app.providers.models import ErrorObject

MAX_REASON_CHARS = 2000
_MAX_ITEMS = 10
_MAX_DEPTH = 6

_REASON_NAMES = (
    "message", "msg", "detail", "details", "error_message", "error_msg", "errorMessage", "error_description",
    "description", "status_msg", "reason", "errors", "title", "text",
)  # fmt: skip
_CODE_NAMES = ("code", "status_code", "error_code", "statusCode", "http_code", "status")
_SUCCESSES: tuple[Any, ...] = (None, False, 0, 200, "", "0", "200", "ok", "OK", "success", "Success")
_STATUSES = {
    "invalid_request_error": 400,
    "BadRequestError": 400,
    "not_found_error": 404,
    "NotFoundError": 404,
    "rate_limit_error": 429,
    "RateLimitError": 429,
    "overloaded_error": 503,
}
"""The HTTP statuses that stand for a `type`."""


def parse_error(body: bytes) -> ErrorObject | None:
    """The error in the body of a response with an error status: JSON of any shape, or plain text; None for others."""
    text = body.removeprefix(b"\xef\xbb\xbf").strip()
    if not text or text.startswith(b"<") or b"\0" in text:
        return None
    try:
        value = lenient_json.decode(text)
    except (ValueError, RecursionError):
        value = text[: MAX_REASON_CHARS * 4].decode(errors="replace")
    return error_object(value)


def error_object(value: Any) -> ErrorObject | None:
    """OpenAI's form of an error in any other; None if it gives no reason."""
    reason = _reason(value)
    if reason is None:
        return None
    error = _innermost(value)
    metadata = error.get("metadata")  # where a router quotes the server behind it
    quotation = _reason(metadata.get("raw")) if isinstance(metadata, dict) else None
    if quotation is not None and quotation not in reason:
        reason = f"{reason}: {quotation}"
    code = error.get("code")
    return ErrorObject(
        reason[:MAX_REASON_CHARS],
        _text(error.get("type")),
        _text(error.get("param")),
        _text(code) or _text(error.get("status")),
    )


def error_status(value: Any) -> int | None:
    """The HTTP status that an error names, by number or by type."""
    error = _innermost(value)
    for name in _CODE_NAMES:
        code = error.get(name)
        if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) == 3:
            code = int(code)
        if isinstance(code, int) and 400 <= code < 600:
            return code
    return _STATUSES.get(_text(error.get("type")) or "")


def is_error(value: Any) -> bool:
    """Whether an event is an error. Events without choices that are none, such as pings, mean nothing."""
    if isinstance(value, list):
        return any(isinstance(item, dict) and is_error(item) for item in value[:_MAX_ITEMS])
    if not isinstance(value, dict):
        return False
    if value.get("error") or "error" in (value.get("object"), value.get("type"), value.get("status")):
        return True
    if value.get("choices"):
        return False
    response = value.get("base_resp")
    if isinstance(response, dict) and response.get("status_code") not in _SUCCESSES:
        return True
    if value.get("detail") or value.get("errors") or value.get("success") is False:
        return True
    has_reason = any(value.get(name) for name in _REASON_NAMES)
    is_failure = any(value.get(name) not in _SUCCESSES for name in ("code", "error_code", "status_code"))
    status = value.get("status")
    return has_reason and (is_failure or status == "failed" or (isinstance(status, int) and status >= 400))


def _innermost(value: Any) -> dict[str, Any]:
    """The object that describes the error."""
    for _ in range(_MAX_DEPTH):
        if isinstance(value, list):
            value = next((item for item in value[:_MAX_ITEMS] if isinstance(item, dict)), None)
        elif isinstance(value, dict) and isinstance(value.get("error"), dict | list) and value["error"]:
            value = value["error"]
        elif isinstance(value, dict) and isinstance(value.get("base_resp"), dict):
            value = value["base_resp"]
        else:
            break
    return value if isinstance(value, dict) else {}


def _reason(value: Any, depth: int = 0) -> str | None:
    if isinstance(value, str):
        return _reason_in_text(value, depth)
    if depth > _MAX_DEPTH:
        return None
    if isinstance(value, list):
        reasons = [reason for item in value[:_MAX_ITEMS] if (reason := _reason(item, depth + 1))]
        return "; ".join(reasons) or None
    return _reason_in_object(value, depth) if isinstance(value, dict) else None


def _reason_in_text(text: str, depth: int) -> str | None:
    """The text; a text that holds an error as JSON is read too."""
    text = text.strip()
    if text.startswith(("{", "[")) and depth <= _MAX_DEPTH:
        try:
            reason = _reason(lenient_json.decode(text.encode(errors="replace")), depth + 1)
        except (ValueError, RecursionError):
            reason = None
        if reason is not None:
            return reason
    return text[:MAX_REASON_CHARS] or None


def _reason_in_object(value: dict[str, Any], depth: int) -> str | None:
    error = value.get("error")
    is_nested = isinstance(error, dict | list)
    candidates = [
        error if is_nested else None,
        *(value.get(name) for name in _REASON_NAMES),
        None if is_nested else error,
        value.get("base_resp"),
    ]
    reason = next((reason for each in candidates if (reason := _reason(each, depth + 1))), None)
    if reason is None and depth:  # messages by the field that they are about
        members = list(value.items())[:_MAX_ITEMS]
        reasons = [f"{name}: {text}" for name, each in members if (text := _reason(each, depth + 1))]
        return "; ".join(reasons) or None
    location = value.get("loc")
    if reason is not None and isinstance(location, list) and location:
        return f"{'.'.join(str(part) for part in location[:_MAX_ITEMS])}: {reason}"
    return reason


def _text(value: Any) -> str | None:
    return value[:MAX_REASON_CHARS] if isinstance(value, str) and value else None
