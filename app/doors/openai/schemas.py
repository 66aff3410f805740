"""Shapes of `/v1`, for the published document; fields of the model server alone are left out."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.chat.commands import OnBusy
from app.chat.fields import MAX_COLLECTIONS
from app.chat.schemas import MessageRef
from app.completions.requests import MAX_MESSAGES, MAX_NAME_CHARS
from app.completions.schemas import MESSAGE, PARAMETERS, ChatCompletionChunkChoice, OpenAIModel
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
            {"type": "array", "maxItems": MAX_COLLECTIONS, "items": {"type": "string"}},
        ],
    },
    "on_busy": {"description": "What to do while the session answers another.", "enum": [*map(str, OnBusy), None]},
}
COMPLETION_REQUEST: Mapping[str, Any] = {
    "title": "ChatCompletionRequest",
    "type": "object",
    "description": "OpenAI's request. Fields that are not told here reach the model server as they are.",
    "required": ["messages"],
    "properties": {
        "messages": {"type": "array", "minItems": 1, "maxItems": MAX_MESSAGES, "items": MESSAGE},
        "model": {
            "type": ["string", "null"],
            "description": "One of /v1/models, or `role:<name>`; left out, the default profile's.",
        },
        "stream": {
            "type": ["boolean", "null"],
            "default": False,
            "description": "Answers with chunks. Clients that are generated want false: they read one answer.",
        },
        **PARAMETERS,
        **_SESSION,
    },
}
COMPLETION_FORM: Mapping[str, Any] = {
    "title": "ChatCompletionForm",
    "description": "The same request as a form, with files.",
    "type": "object",
    "properties": {
        "message": {"type": "string", "description": "The user's message."},
        "files": {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "description": "Images and documents, up to 10 MiB each.",
        },
        "system": {"type": "string", "description": "A system message."},
        "messages": {"type": "string", "description": "JSON: messages that stand before `message`."},
        "session_id": {"type": "string"},
        "thread_id": {"type": "string", "description": "The session's id, by another name."},
        "model": {"type": "string"},
        "stream": {"type": "string", "enum": ["true", "false"], "description": "Answers with chunks."},
        "temperature": {"type": "number", "description": "From 0 to 2: how far the model strays."},
        "response_format": {"type": "string", "description": "JSON, or a type alone, such as json_object."},
    },
}
EMBEDDINGS_REQUEST: Mapping[str, Any] = {
    "title": "EmbeddingsRequest",
    "type": "object",
    "description": "OpenAI's request; fields that are not told here reach the model server as they are.",
    "required": ["model", "input"],
    "properties": {
        "model": {"type": "string", "minLength": 1},
        "input": {"description": "Text, or a list of texts or tokens."},
    },
}
EMBEDDINGS: Mapping[str, Any] = {
    "title": "Embeddings",
    "type": "object",
    "description": "OpenAI's list of embeddings, as the model server made it.",
    "properties": {
        "object": {"type": "string"},
        "data": {
            "type": "array",
            "description": "The embeddings, in the order of the texts.",
            "items": {
                "title": "Embedding",
                "type": "object",
                "description": "The vector of one text.",
                "properties": {
                    "object": {"type": "string"},
                    "index": {"type": "integer", "description": "Which text it is of, from 0."},
                    "embedding": {"description": "The vector: numbers, or base64 where the request asks for it."},
                },
            },
        },
        "model": {"type": "string"},
        "usage": {"type": "object", "additionalProperties": True},
    },
}


class OpenAIModelList(msgspec.Struct):
    data: list[OpenAIModel]
    object: str = "list"


class CompletionChunk(msgspec.Struct):
    """The JSON in a `data:` line: OpenAI's chunk as the model server made it, or `error`. The last is `[DONE]`."""

    id: str | UnsetType = UNSET
    object: str | UnsetType = UNSET
    created: int | UnsetType = UNSET
    model: str | UnsetType = UNSET
    choices: list[ChatCompletionChunkChoice] | UnsetType = UNSET
    usage: dict[str, Any] | UnsetType | None = UNSET
    error: Annotated[dict[str, Any] | UnsetType, Meta(description="Why the reply failed, as in OpenAI's errors.")] = (
        UNSET
    )
    refs: list[MessageRef] | UnsetType = UNSET
