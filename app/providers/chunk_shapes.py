"""One event of a stream, or a whole completion, as a struct.

Where a member has another type than OpenAI's, all are read one by one: what can be read is used, and the rest does not
cost the reply.
"""

import math
from typing import Any

import msgspec

from app.providers import lenient_json


class Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class ToolCall(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Message(msgspec.Struct, gc=False):
    """A chunk's `delta` or a completion's `message`. Servers disagree on the name of the field for reasoning."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None


class Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: Message | None = None
    message: Message | None = None
    finish_reason: str | None = None


class PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None


class TokenUsage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None


class Chunk(msgspec.Struct, gc=False):
    """A chunk or a whole completion; an `error` can come in place of either."""

    choices: list[Choice] | None = None
    usage: TokenUsage | None = None
    error: Any = None


NO_CHOICE = Choice()

decode_chunk = msgspec.json.Decoder(Chunk).decode
"""Raises MsgspecError, UnicodeDecodeError and RecursionError."""


def read_chunk(value: dict[str, Any]) -> Chunk:
    """A chunk whose members may have any type."""
    choices = value.get("choices")
    if isinstance(choices, dict):
        choices = [choices]
    usage = value.get("usage")
    return Chunk(
        choices=[_read_choice(choice, position) for position, choice in enumerate(choices) if isinstance(choice, dict)]
        if isinstance(choices, list)
        else None,
        usage=_read_usage(usage) if isinstance(usage, dict) else None,
        error=value.get("error"),
    )


def _read_choice(value: dict[str, Any], position: int) -> Choice:
    index = _integer(value.get("index"))
    return Choice(
        index=position if index is None else index,
        delta=_read_message(value.get("delta")),
        message=_read_message(value.get("message")),
        finish_reason=_finish_reason(value.get("finish_reason")),
    )


def _read_message(value: Any) -> Message | None:
    if isinstance(value, str):
        return Message(content=value)
    if not isinstance(value, dict):
        return None
    content = value.get("content")
    calls = value.get("tool_calls")
    calls = [calls] if isinstance(calls, dict) else calls
    return Message(
        content=_text_of(content),
        reasoning_content=_text_of(value.get("reasoning_content")) or _reasoning_in(content),
        reasoning=_text_of(value.get("reasoning")),
        refusal=_text_of(value.get("refusal")),
        tool_calls=[_read_call(call) for call in calls if isinstance(call, dict)] if isinstance(calls, list) else None,
    )


def _read_call(value: dict[str, Any]) -> ToolCall:
    id, function = value.get("id"), value.get("function")
    if not isinstance(function, dict):
        return ToolCall(_integer(value.get("index")), _name(id))
    arguments = function.get("arguments")
    if arguments is not None and not isinstance(arguments, str):
        arguments = lenient_json.encode(arguments).decode()
    return ToolCall(_integer(value.get("index")), _name(id), Function(_name(function.get("name")), arguments))


def _read_usage(value: dict[str, Any]) -> TokenUsage:
    details = value.get("prompt_tokens_details")
    cached = _integer(details.get("cached_tokens")) if isinstance(details, dict) else None
    return TokenUsage(
        _integer(value.get("prompt_tokens")), _integer(value.get("completion_tokens")), PromptDetails(cached)
    )


def _text_of(content: Any) -> str | None:
    """The text in content of any form: text, a number, an object with text, or a list of these."""
    if isinstance(content, list):
        return "".join(_text_of_part(part) for part in content if not _is_reasoning(part))
    return _text_of_part(content) or None


def _text_of_part(part: Any) -> str:
    if isinstance(part, dict):
        values = (_text_in(part.get(name)) for name in ("text", "content", "refusal", "value", "summary"))
        return next(filter(None, values), "")
    return _text_in(part)


def _text_in(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("value") or value.get("text")
    if isinstance(value, list):  # as Mistral's models think
        texts = (part.get("text") if isinstance(part, dict) else part for part in value)
        return "".join(text for text in texts if isinstance(text, str))
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _reasoning_in(content: Any) -> str | None:
    if not isinstance(content, list):
        return None
    return "".join(_text_in(part.get(part["type"])) or _text_of_part(part) for part in content if _is_reasoning(part))


def _is_reasoning(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") in ("thinking", "reasoning")


def _finish_reason(value: Any) -> str | None:
    if isinstance(value, dict):
        value = value.get("type") or value.get("reason") or "stop"
    if isinstance(value, str):
        return value
    return "stop" if value else None


def _name(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _integer(value: Any) -> int | None:
    """A whole number, also from a fraction or from text."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, float):
        return int(value) if math.isfinite(value) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
