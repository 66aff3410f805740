"""The published document's answer and errors of a completion, shared by the doors to completions."""

from collections.abc import Mapping
from typing import Any

from app.completions.respond import RUN_ID_HEADER
from app.edge.operation import Answer, Schema

UPSTREAM_ERRORS = {
    429: "Too many replies at once",
    500: "Internal server error",
    502: "The model server failed",
    503: "The database is not available at the moment; nothing was changed",
    504: "The model server did not answer in time",
}


def completion_answer(
    description: str, completion: Schema, chunk: type, delta: Mapping[str, Any], **members: Any
) -> Answer:
    """A completion, or as a stream the chunks of one; `members` are the door's own in the example of either."""
    common = {
        "id": "chatcmpl-6f1c2d1e-4c2b-4d57-9f0c-0a4d1d1f2a3b",
        "object": "chat.completion",
        "created": 1790000000,
        "model": "gpt-4.1-mini",
        **members,
    }
    message = {"role": "assistant", "content": "Hello!"}
    whole = {
        **common,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13},
    }
    part = {
        **common,
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta, "finish_reason": None}],
    }
    return Answer(
        description,
        completion,
        whole,
        headers={RUN_ID_HEADER: "The run that makes the reply, for `/api/v1/chat/runs/{run_id}`."},
        stream=Answer("Chunks", chunk, [part], media_type="text/event-stream"),
    )
