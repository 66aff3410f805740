"""OpenAI's wire shapes, as a model server sends them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

CREATED = 1_790_000_000

Json = dict[str, Any]


def event(value: Mapping[str, Any]) -> bytes:
    """One event of a stream."""
    return b"data: %b\n\n" % json.dumps(value, ensure_ascii=False).encode()


def chunk(model: str, delta: Mapping[str, Any], finish_reason: str | None = None) -> Json:
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }


def completion(
    model: str,
    text: str,
    reasoning: str = "",
    tool_calls: Sequence[Mapping[str, Any]] = (),
    finish_reason: str = "stop",
    tokens: tuple[int, int, int] = (10, 0, 3),
) -> Json:
    """A whole completion; `tool_calls` have id, name, arguments; `tokens` are the prompt's, cached, the reply's."""
    message: Json = {"role": "assistant", "content": text}
    if reasoning:
        message["reasoning_content"] = reasoning
    if tool_calls:
        message["tool_calls"] = [
            {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
            for call in tool_calls
        ]
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return {**chunk(model, {}), "object": "chat.completion", "choices": [choice], "usage": usage(*tokens)}


def tool_call_pieces(index: int, call: Mapping[str, Any]) -> list[Json]:
    """A call as two deltas, its arguments cut in the middle."""
    arguments = call["arguments"]
    middle = len(arguments) // 2
    function = {"name": call["name"], "arguments": arguments[:middle]}
    return [
        {"index": index, "id": call["id"], "type": "function", "function": function},
        {"index": index, "function": {"arguments": arguments[middle:]}},
    ]


def usage(prompt: int, cached: int, reply: int) -> Json:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": reply,
        "total_tokens": prompt + reply,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def models(*ids: str) -> Json:
    data = [{"id": id, "object": "model", "created": CREATED, "owned_by": "tests"} for id in ids]
    return {"object": "list", "data": data}
