"""Shapes of OpenAI's API, for the published document; fields of the model server alone are left out."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from app.chat.schemas import REF
from app.edge.schemas import example

MESSAGE: Mapping[str, Any] = {
    "type": "object",
    "description": "OpenAI's message; what is not told here is passed on as it is.",
    "required": ["role"],
    "properties": {
        "role": {"type": "string", "minLength": 1, "examples": ["system", "user", "assistant", "tool"]},
        "content": {
            "anyOf": [
                {"type": ["string", "null"]},
                {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["type"],
                        "properties": {"type": {"type": "string", "examples": ["text", "image_url", "file"]}},
                    },
                },
            ]
        },
    },
}
COMPLETION: Mapping[str, Any] = {
    "type": "object",
    "description": "OpenAI's completion, as the model server made it.",
    "required": ["id", "object", "created", "model", "choices"],
    "properties": {
        "id": {"type": "string"},
        "object": {"type": "string"},
        "created": {"type": "integer"},
        "model": {"type": "string"},
        "choices": {"type": "array", "items": {"type": "object"}},
        "usage": {"type": ["object", "null"]},
        "refs": {"type": "array", "items": REF},
    },
}


class OpenAIModel(msgspec.Struct):
    """A name that requests may give; `owned_by` is a provider's id, or `palaver` for a profile."""

    id: Annotated[str, example("gpt-4.1-mini")]
    owned_by: Annotated[str, example("openai_chat_completion")]
    object: str = "model"
    created: int = 0
