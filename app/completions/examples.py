"""Examples for the published document, shared by the doors to completions."""

from collections.abc import Mapping
from typing import Any

UPSTREAM_ERRORS = {
    429: "Too many replies at once",
    500: "Internal server error",
    502: "The model server failed",
    503: "The database is not available at the moment; nothing was changed",
    504: "The model server did not answer in time",
}


def chunk_example(delta: Mapping[str, Any], members: Mapping[str, Any]) -> Mapping[str, Any]:
    """A chunk, with the door's own `members`."""
    return {
        "id": "chatcmpl-6f1c2d1e-4c2b-4d57-9f0c-0a4d1d1f2a3b",
        "object": "chat.completion.chunk",
        "created": 1790000000,
        "model": "gpt-4.1-mini",
        **members,
        "choices": [{"index": 0, "delta": delta, "finish_reason": None}],
    }


def completion_example(members: Mapping[str, Any]) -> Mapping[str, Any]:
    """A whole completion, with the door's own `members`."""
    message = {"role": "assistant", "content": "Hello!"}
    return {
        **chunk_example({}, members),
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13},
    }
