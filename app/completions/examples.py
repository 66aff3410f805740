"""The published document's answer and errors of a completion, shared by the doors to completions."""

from collections.abc import Mapping
from typing import Any

from app.auth.limits import BUDGET_EXCEEDED, NOT_ALLOWED_CODES
from app.completions.respond import RUN_ID_HEADER
from app.edge.operation import Answer, Schema, refusal
from app.files.refusals import DOCUMENT_CODES, IMAGE_CODES

INVALID_CODES = (
    "invalid_request",
    "missing_key",
    "message_too_long",
    "too_many_images",
    "invalid_base64",
    "config_not_found",
    "collection_not_found",
    "collection_ambiguous",
)
"""The codes of refused requests, those of the model server's own refusals aside."""
TOO_LARGE = (
    "file_too_large",
    "payload_too_large",
    "document_too_large",
    "documents_too_long",
    "image_too_large",
    "storage_quota_exceeded",
)
UNREADABLE = ("document_encrypted", *DOCUMENT_CODES, *IMAGE_CODES, "upstream_error", "idempotency_key_reused")
UPSTREAM_ERRORS = {
    403: refusal("The API key may not use the model gpt-5", *NOT_ALLOWED_CODES),
    429: refusal("Too many replies at once", "rate_limit_exceeded", BUDGET_EXCEEDED),
    500: refusal("Internal server error", "internal_error"),
    502: refusal("The model server failed", "upstream_error"),
    503: refusal(
        "The database is not available at the moment; nothing was changed",
        "database_unavailable",
        "document_workers_unavailable",
        "shutting_down",
        "storage_unavailable",
        "upstream_error",
    ),
    504: refusal("The model server did not answer in time", "timeout"),
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
