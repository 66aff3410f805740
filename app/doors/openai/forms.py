"""Multipart forms as the equivalent JSON bodies."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from app.chat.commands import INSTRUCTIONS
from app.completions.errors import InvalidRequest
from app.edge.bodies import parse_json_object
from app.files.forms import Form


def body_from_form(form: Form) -> dict[str, Any]:
    """The request's body, with the form's files among the parts of the last message. Raises InvalidRequest."""
    body: dict[str, Any] = {}
    for name, text in form.fields.items():
        if name not in ("message", "messages", "system"):
            body[name] = _READERS.get(name, _as_text)(name, text)
    messages: list[Any] = _messages(form.fields["messages"]) if form.fields.get("messages", "").strip() else []
    if system := form.fields.get("system", ""):
        messages.insert(0, {"role": "system", "content": system})
    message = form.fields.get("message", "")
    if message.strip() and not form.files:
        messages.append({"role": "user", "content": message})
    elif message.strip() or form.files:
        text_parts = [{"type": "text", "text": message}] if message.strip() else []
        messages.append({"role": "user", "content": [*text_parts, *form.files]})
    if not any(item.get("role") not in INSTRUCTIONS for item in messages if isinstance(item, dict)):
        raise InvalidRequest("Missing key: message", "message", code="missing_key")
    body["messages"] = messages
    return body


def _messages(text: str) -> list[Any]:
    value = _as_json("messages", text)
    if not isinstance(value, list):
        raise InvalidRequest("messages must be a JSON list", "messages")
    return value


def _as_text(name: str, text: str) -> Any:
    return text


def _as_json(name: str, text: str) -> Any:
    # As a member of an object, to apply the depth limit of JSON bodies.
    return parse_json_object(b'{"value":%b}' % text.encode()).get("value") if text.strip() else None


def _as_number(name: str, text: str) -> Any:
    try:
        return msgspec.json.decode(text, type=int | float)
    except (msgspec.MsgspecError, UnicodeEncodeError):
        raise InvalidRequest(f"{name} must be a number", name) from None


def _as_boolean(name: str, text: str) -> bool:
    word = text.strip().lower()
    if word not in _BOOLEANS:
        raise InvalidRequest(f"{name} must be true or false", name)
    return _BOOLEANS[word]


def _as_json_or_text(name: str, text: str) -> Any:
    return _as_json(name, text) if text.lstrip().startswith(("{", "[", '"')) else text


def _as_response_format(name: str, text: str) -> Any:
    value = _as_json_or_text(name, text)
    return {"type": value} if isinstance(value, str) else value


_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_READERS: Mapping[str, Callable[[str, str], Any]] = {
    **dict.fromkeys(
        (
            "temperature",
            "top_p",
            "n",
            "max_tokens",
            "max_completion_tokens",
            "presence_penalty",
            "frequency_penalty",
            "seed",
            "top_logprobs",
        ),
        _as_number,
    ),
    **dict.fromkeys(("stream", "store", "logprobs", "parallel_tool_calls"), _as_boolean),
    **dict.fromkeys(
        ("tools", "stream_options", "metadata", "logit_bias", "modalities", "audio", "prediction"), _as_json
    ),
    **dict.fromkeys(("tool_choice", "stop"), _as_json_or_text),
    "response_format": _as_response_format,
}
