"""Shapes of OpenAI's API, for the published document; fields of the model server alone are left out."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from app.chat.schemas import REF
from app.edge.schemas import example

_ToolCall = Annotated[
    dict[str, Any],
    Meta(
        title="ChatCompletionToolCall",
        description="A function that the model wants called; in a chunk, a piece of it.",
        extra_json_schema={
            "properties": {
                "index": {"type": ["integer", "null"], "description": "Which call it is, in a chunk."},
                "id": {"type": ["string", "null"]},
                "type": {"type": ["string", "null"], "description": "`function`."},
                "function": {
                    "title": "ChatCompletionFunctionCall",
                    "type": "object",
                    "description": "The function, and its arguments as JSON text.",
                    "properties": {
                        "name": {"type": ["string", "null"]},
                        "arguments": {"type": ["string", "null"], "description": "JSON text, or a piece of it."},
                    },
                },
            },
        },
    ),
]
_TOOL_CALLS: Mapping[str, Any] = {
    "type": ["array", "null"],
    "items": {"$ref": "#/components/schemas/ChatCompletionToolCall"},
    "description": "The functions that the model wants called.",
}
MESSAGE: Mapping[str, Any] = {
    "title": "ChatCompletionMessageParam",
    "type": "object",
    "description": "OpenAI's message; what is not told here is passed on as it is.",
    "required": ["role"],
    "properties": {
        "role": {"type": "string", "minLength": 1, "examples": ["system", "user", "assistant", "tool"]},
        "content": {
            "description": "Text, or a list of parts.",
            "anyOf": [
                {"type": ["string", "null"]},
                {
                    "type": "array",
                    "items": {
                        "title": "ChatCompletionContentPart",
                        "type": "object",
                        "description": "OpenAI's part: text, an image or a file.",
                        "required": ["type"],
                        "properties": {
                            "type": {"type": "string", "examples": ["text", "image_url", "file"]},
                            "text": {},
                            "image_url": {"description": "`url` is an address, or a data URL."},
                            "file": {"description": "`filename`, and `file_data` as a data URL."},
                        },
                    },
                },
            ],
        },
        "name": {},
        "tool_calls": {"description": "The calls of an assistant's message."},
        "tool_call_id": {"description": "The call that a tool's message answers."},
    },
}
PARAMETERS: Mapping[str, Any] = {
    "temperature": {"type": ["number", "null"], "description": "From 0 to 2: how far the model strays."},
    "top_p": {"type": ["number", "null"], "description": "The probability that the tokens considered have together."},
    "max_tokens": {"type": ["integer", "null"], "description": "The most tokens of the reply."},
    "max_completion_tokens": {
        "type": ["integer", "null"],
        "description": "The most tokens of the reply, reasoning included.",
    },
    "stop": {"description": "Where the reply is to end: a text, or a list of texts."},
    "seed": {"type": ["integer", "null"], "description": "The same seed tries for the same reply."},
    "n": {"type": ["integer", "null"], "description": "How many replies to make."},
    "presence_penalty": {"type": ["number", "null"], "description": "Above 0: speaks of new things."},
    "frequency_penalty": {"type": ["number", "null"], "description": "Above 0: repeats itself less."},
    "tools": {
        "type": ["array", "null"],
        "items": {"type": "object", "additionalProperties": True},
        "description": "The functions that the model may call.",
    },
    "tool_choice": {"description": "`auto`, `none`, `required`, or the function to call."},
    "response_format": {
        "type": ["object", "null"],
        "additionalProperties": True,
        "description": "`json_object`, or `json_schema` with a schema.",
    },
    "stream_options": {
        "type": ["object", "null"],
        "additionalProperties": True,
        "description": "`include_usage` adds a last chunk with the tokens.",
    },
    "user": {"type": ["string", "null"], "description": "The end user, for the model server."},
}
"""The usual ones of the fields that reach the model server as they are; it judges them."""
_USAGE: Mapping[str, Any] = {
    "title": "CompletionUsage",
    "type": "object",
    "description": "Tokens as the model server counted them.",
    "properties": {
        "prompt_tokens": {"type": "integer", "description": "Tokens of the request."},
        "completion_tokens": {"type": "integer", "description": "Tokens of the reply."},
        "total_tokens": {"type": "integer", "description": "Both."},
    },
}
_CHOICE: Mapping[str, Any] = {
    "title": "ChatCompletionChoice",
    "type": "object",
    "description": "One reply.",
    "properties": {
        "index": {"type": "integer", "description": "Which one it is, from 0."},
        "message": {
            "title": "ChatCompletionMessage",
            "type": "object",
            "description": "The reply.",
            "properties": {
                "role": {"type": "string", "description": "`assistant`."},
                "content": {"type": ["string", "null"], "description": "The text."},
                "tool_calls": _TOOL_CALLS,
            },
        },
        "finish_reason": {"type": ["string", "null"], "description": "Why it ended: `stop`, `length`, `tool_calls`."},
    },
}
COMPLETION: Mapping[str, Any] = {
    "title": "ChatCompletion",
    "type": "object",
    "description": "OpenAI's completion, as the model server made it.",
    "required": ["id", "object", "created", "model", "choices"],
    "properties": {
        "id": {"type": "string"},
        "object": {"type": "string"},
        "created": {"type": "integer"},
        "model": {"type": "string"},
        "choices": {"type": "array", "items": _CHOICE},
        "usage": {"anyOf": [_USAGE, {"type": "null"}]},
        "refs": {"type": "array", "items": REF},
    },
}


class ChatCompletionDelta(msgspec.Struct):
    """What a chunk adds to a reply."""

    role: str | UnsetType | None = UNSET
    content: Annotated[str | UnsetType | None, Meta(description="The next piece of the text.")] = UNSET
    tool_calls: list[_ToolCall] | UnsetType | None = UNSET


class ChatCompletionChunkChoice(msgspec.Struct):
    """What a chunk says of one reply."""

    index: int | UnsetType = UNSET
    delta: ChatCompletionDelta | UnsetType = UNSET
    finish_reason: Annotated[str | UnsetType | None, Meta(description="Why it ended; null while it goes on.")] = UNSET


class OpenAIModel(msgspec.Struct):
    """A name that requests may give; `owned_by` is a provider's id, or `palaver` for a profile."""

    id: Annotated[str, example("gpt-4.1-mini")]
    owned_by: Annotated[str, example("openai_chat_completion")]
    object: str = "model"
    created: int = 0
