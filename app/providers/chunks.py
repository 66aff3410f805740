"""A whole completion as the chunks of a stream, for callers of a server that does not stream."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

_REPLACED_FIELDS = frozenset({"message", "finish_reason"})


def chunks_of(completion: bytes) -> bytes:
    """The events of the equivalent stream with its `[DONE]`; empty for anything but a completion."""
    try:
        value = msgspec.json.decode(completion)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return b""
    choices = value.get("choices") if isinstance(value, dict) else None
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        return b""
    events = [b"data: %b\n\n" % msgspec.json.encode(chunk) for chunk in _chunks(value, choices)]
    return b"".join([*events, b"data: [DONE]\n\n"])


def _chunks(completion: Mapping[str, Any], choices: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    envelope = {name: value for name, value in completion.items() if name not in ("choices", "usage")}
    envelope["object"] = "chat.completion.chunk"
    for position, choice in enumerate(choices):
        index = choice.get("index", position)
        message = choice.get("message")
        delta = dict(message) if isinstance(message, dict) else {}
        calls = delta.get("tool_calls")
        if isinstance(calls, list):
            delta["tool_calls"] = [
                {"index": number, **call} for number, call in enumerate(calls) if isinstance(call, dict)
            ]
        rest = {name: value for name, value in choice.items() if name not in _REPLACED_FIELDS}
        first = {**rest, "index": index, "delta": {"role": "assistant", **delta}, "finish_reason": None}
        yield {**envelope, "choices": [first]}
        last = {"index": index, "delta": {}, "finish_reason": choice.get("finish_reason") or "stop"}
        yield {**envelope, "choices": [last]}
    if completion.get("usage") is not None:
        yield {**envelope, "choices": [], "usage": completion["usage"]}
