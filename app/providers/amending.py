"""Chunks and completions of replies that took several requests to the model."""

from collections.abc import Sequence
from typing import Any

from app.providers import lenient_json
from app.providers.models import Usage

ToolCall = tuple[str, str, str]
"""A call's id, name and arguments."""


def with_usage(data: bytes, usage: Usage) -> bytes:
    """Replace the usage in a chunk or a completion; one without usage stays as it is."""
    value = lenient_json.decode(data)
    return data if value.get("usage") is None else lenient_json.encode({**value, "usage": _usage(usage)})


def with_text(completion: bytes, text: str) -> bytes:
    """Replace the text of a completion's first choice, which has a message."""
    value = lenient_json.decode(completion)
    value["choices"][0]["message"]["content"] = text
    return lenient_json.encode(value)


def calls_chunks(calls: Sequence[ToolCall], usage: Usage, *, text: str | None) -> list[bytes]:
    """Return the end of a reply that calls the client's tools: as chunks, or as a completion with its whole text."""
    functions = [
        {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for id, name, arguments in calls
    ]
    end = {"index": 0, "finish_reason": "tool_calls"}
    if text is not None:
        message = {"role": "assistant", "content": text or None, "tool_calls": functions}
        return [lenient_json.encode({"choices": [{**end, "message": message}], "usage": _usage(usage)})]
    delta = {"tool_calls": [{"index": index, **function} for index, function in enumerate(functions)]}
    return [
        lenient_json.encode({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}),
        lenient_json.encode({"choices": [{**end, "delta": {}}]}),
        lenient_json.encode({"choices": [], "usage": _usage(usage)}),
    ]


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }
