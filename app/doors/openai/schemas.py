"""Shapes of `/v1`, for the published document; fields of the model server alone are left out."""

from collections.abc import Mapping
from typing import Any

import msgspec

from app.chat.commands import OnBusy
from app.chat.fields import MAX_COLLECTIONS
from app.chat.schemas import MessageRef
from app.completions.requests import MAX_MESSAGES, MAX_NAME_CHARS
from app.completions.schemas import MESSAGE, OpenAIModel
from app.text import LINE_PATTERN

_NAME = {"type": ["string", "null"], "maxLength": MAX_NAME_CHARS, "pattern": LINE_PATTERN}
_SESSION = {
    "session_id": {**_NAME, "description": "The session to go on with; the key's own."},
    "thread_id": {
        "description": "The same, by another name; a number or a string.",
        "anyOf": [_NAME, {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}],
    },
    "knowledge": {
        "description": "Search the knowledge base for the last message: in all collections, or in these.",
        "anyOf": [
            {"type": ["boolean", "null"]},
            {"type": "array", "maxItems": MAX_COLLECTIONS, "items": {"type": "string", "pattern": r"\S"}},
        ],
    },
    "on_busy": {"description": "What to do while the session answers another.", "enum": [*OnBusy, None]},
}
COMPLETION_REQUEST: Mapping[str, Any] = {
    "type": "object",
    "description": "OpenAI's request. Fields that are not told here reach the model server as they are.",
    "required": ["messages"],
    "properties": {
        "messages": {"type": "array", "minItems": 1, "maxItems": MAX_MESSAGES, "items": MESSAGE},
        "model": {
            "type": ["string", "null"],
            "description": "One of /v1/models, or `role:<name>`; left out, the default profile's.",
        },
        "stream": {"type": ["boolean", "null"], "default": False},
        **_SESSION,
    },
}
COMPLETION_FORM: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "message": {"type": "string", "description": "The user's message."},
        "files": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "description": "Images and documents, up to 10 MiB each.",
        },
        "system": {"type": "string"},
        "messages": {"type": "string", "description": "JSON: messages that stand before `message`."},
        "session_id": {"type": "string"},
        "thread_id": {"type": "string"},
        "model": {"type": "string"},
        "stream": {"type": "string", "enum": ["true", "false"]},
        "temperature": {"type": "number"},
        "response_format": {"type": "string", "description": "JSON, or a type alone, such as json_object."},
    },
}
EMBEDDINGS_REQUEST: Mapping[str, Any] = {
    "type": "object",
    "required": ["model", "input"],
    "properties": {
        "model": {"type": "string", "minLength": 1},
        "input": {"description": "Text, or a list of texts or tokens."},
    },
}
EMBEDDINGS: Mapping[str, Any] = {"type": "object", "description": "As the model server made it."}


class OpenAIModelList(msgspec.Struct):
    data: list[OpenAIModel]
    object: str = "list"


class CompletionChunk(msgspec.Struct):
    """The JSON in a `data:` line: OpenAI's chunk as the model server made it, or `error`. The last is `[DONE]`."""

    id: str | None = None
    object: str | None = None
    created: int | None = None
    model: str | None = None
    choices: list[dict[str, Any]] | None = None
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    refs: list[MessageRef] | None = None
