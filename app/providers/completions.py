"""The JSON of `chat.completion` and `chat.completion.chunk`, and its conversion to `Delta`."""

from collections.abc import Iterable
from typing import Any

import msgspec

from app.providers.models import Delta, ToolCallDelta, Usage


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Message(msgspec.Struct, gc=False):
    """A chunk's `delta` or a completion's `message`. Servers disagree on the name of the field for reasoning."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Message | None = None
    message: _Message | None = None
    finish_reason: str | None = None


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None


class Chunk(msgspec.Struct, gc=False):
    """A chunk or a whole completion; an `error` can come in place of either."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


_NO_CHOICE = _Choice()

decode_chunk = msgspec.json.Decoder(Chunk).decode
"""Raises MsgspecError, UnicodeDecodeError and RecursionError."""


def to_delta(chunk: Chunk, raw: bytes | None) -> Delta | None:
    """The chunk's part of the first choice; None when that is nothing and there is no `raw` to keep."""
    usage = None if chunk.usage is None else _to_usage(chunk.usage)
    choices = chunk.choices
    choice = choices[0] if choices and choices[0].index == 0 else _first(choices or ())
    finish_reason = choice.finish_reason or None
    message = choice.delta or choice.message
    text = reasoning = ""
    calls: tuple[ToolCallDelta, ...] = ()
    if message is not None:
        text = message.content or message.refusal or ""
        reasoning = message.reasoning_content or message.reasoning or ""
        if message.tool_calls:
            calls = tuple(_to_tool_call(index, call) for index, call in enumerate(message.tool_calls))
    if text or raw is not None or reasoning or calls or finish_reason or usage:
        return Delta(text, reasoning, calls, finish_reason, usage, raw)
    return None


def size_of(delta: Delta) -> int:
    """The bytes of the delta's text in UTF-8; a tool call has a size even without arguments."""
    text = delta.text
    size = len(text) if text.isascii() else len(text.encode())
    if delta.reasoning:
        size += len(delta.reasoning.encode())
    if delta.tool_calls:
        size += sum(1 + len(call.arguments.encode()) for call in delta.tool_calls)
    return size


def _first(choices: Iterable[_Choice]) -> _Choice:
    """The choice with index 0, wherever it stands; an empty one when there is none."""
    return next((choice for choice in choices if choice.index == 0), _NO_CHOICE)


def _to_tool_call(position: int, call: _ToolCall) -> ToolCallDelta:
    function = call.function or _Function()
    index = position if call.index is None else call.index
    return ToolCallDelta(index, call.id or None, function.name or None, function.arguments or "")


def _to_usage(usage: _Usage) -> Usage:
    details = usage.prompt_tokens_details
    return Usage(usage.prompt_tokens or 0, (details.cached_tokens or 0) if details else 0, usage.completion_tokens or 0)
