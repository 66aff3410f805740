"""Shapes of Second Me's chat, for the published document: OpenAI's, with Second Me's own fields."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.chat.fields import MAX_COLLECTIONS, MAX_NAME_CHARS
from app.chat.schemas import MessageRef
from app.completions.requests import MAX_MESSAGES
from app.completions.schemas import COMPLETION, MESSAGE, PARAMETERS, ChatCompletionChunkChoice
from app.text import LINE_PATTERN, NAME_PATTERN

_FLAG = {"type": ["boolean", "null"], "description": "Puts passages of the knowledge base before the model."}
_ROLE_ID = {
    "type": ["string", "null"],
    "maxLength": MAX_NAME_CHARS,
    "pattern": LINE_PATTERN,
    "description": "The uuid, or the name, of the role that answers.",
}
_COLLECTION = {"type": "string", "maxLength": MAX_NAME_CHARS, "pattern": NAME_PATTERN}
METADATA: Mapping[str, Any] = {
    "title": "Kernel2Metadata",
    "type": "object",
    "description": "A role, and the knowledge base.",
    "properties": {
        "enable_l0_retrieval": _FLAG,
        "role_id": _ROLE_ID,
        "collections": {
            "type": ["array", "null"],
            "maxItems": MAX_COLLECTIONS,
            "items": _COLLECTION,
            "description": "Ids or names of the collections to look in; Palaver's own.",
        },
    },
}
CHAT_REQUEST: Mapping[str, Any] = {
    "title": "Kernel2ChatRequest",
    "type": "object",
    "description": "OpenAI's request; fields that are not told here reach the model server as they are. `messages` is "
    "required, or `message` of earlier clients, whose other fields are `history`, `system_prompt`, `role_id` and "
    "`enable_l0_retrieval`.",
    "properties": {
        "messages": {"type": ["array", "null"], "minItems": 1, "maxItems": MAX_MESSAGES, "items": MESSAGE},
        "metadata": {"description": "A role, and the knowledge base.", "anyOf": [METADATA, {"type": "null"}]},
        "stream": {
            "type": ["boolean", "null"],
            "default": True,
            "description": "Answers with chunks. Clients that are generated want false: they read one answer.",
        },
        **PARAMETERS,
        "model": {"type": ["string", "null"], "description": "As on /v1; a name that is not known is the default."},
        "temperature": {**PARAMETERS["temperature"], "default": 0.1},
        "max_tokens": {
            "type": ["integer", "null"],
            "default": 2000,
            "description": "No default where `max_completion_tokens` is given.",
        },
        "message": {"type": ["string", "null"], "description": "The message; not with `messages`."},
        "history": {
            "type": ["array", "null"],
            "description": "What was said before `message`.",
            "items": {
                "title": "Kernel2HistoryMessage",
                "type": "object",
                "description": "A message of the history.",
                "required": ["role", "content"],
                "properties": {
                    "role": {"type": "string", "minLength": 1},
                    "content": {"type": "string", "description": "The text."},
                },
            },
        },
        "system_prompt": {"type": ["string", "null"], "description": "A system message, unless there is one."},
        "role_id": _ROLE_ID,
        "enable_l0_retrieval": _FLAG,
        "enable_l1_retrieval": {"description": "Not read."},
    },
}
CHAT_COMPLETION: Mapping[str, Any] = {
    **COMPLETION,
    "title": "Kernel2Completion",
    "required": [*COMPLETION["required"], "system_fingerprint"],
    "properties": {**COMPLETION["properties"], "system_fingerprint": {"type": "string"}},
}


class Kernel2Chunk(msgspec.Struct):
    """The JSON in a `data:` line: OpenAI's chunk. One with `success` false ends a reply that failed; the last of all
    others is `[DONE]`."""

    id: str
    object: str
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatCompletionChunkChoice]
    usage: dict[str, Any] | UnsetType | None = UNSET
    refs: list[MessageRef] | UnsetType = UNSET
    success: Annotated[bool | UnsetType, Meta(description="False in the last chunk of a reply that failed.")] = UNSET
    message: Annotated[str | UnsetType, Meta(description="Why it failed, for people.")] = UNSET
    code: Annotated[int | UnsetType, Meta(description="The HTTP status that the failure would have had.")] = UNSET
    error: Annotated[dict[str, Any] | UnsetType, Meta(description="The failure, as in OpenAI's errors.")] = UNSET
