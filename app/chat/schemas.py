"""Wire shapes of message parts, shared by several doors."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

REF: Mapping[str, Any] = {"$ref": "#/components/schemas/MessageRef"}
"""MessageRef, in a schema that is written by hand; its document has it by a struct's field, too."""


class MessagePart(msgspec.Struct):
    """A part of a message. `plain` has text; media parts name an uploaded attachment; `reply` quotes a message."""

    type: Literal["plain", "reply", "image", "record", "file", "video"]
    text: str | None = None
    message_id: str | int | None = None
    selected_text: str | None = None
    attachment_id: str | None = None
    filename: str | None = None
    path: Annotated[str | None, Meta(description="Never read from a client.")] = None


MessageContent = Annotated[
    Annotated[str, Meta(min_length=1, pattern=r"\S")] | Annotated[list[MessagePart], Meta(min_length=1)],
    Meta(title="MessageContent", description="Text, or a list of parts."),
]
StoredPart = Annotated[
    dict[str, Any],
    Meta(
        title="StoredPart",
        description="A part of a stored message; parts of other kinds may have further fields.",
        extra_json_schema={
            "required": ["type"],
            "properties": {
                "type": {
                    "type": "string",
                    "description": "As in requests, or `tool_call` or `tool_result`.",
                },
                "text": {"type": "string", "description": "The text of `plain` and `tool_result`."},
                "attachment_id": {"type": "string", "description": "The file of a media part."},
                "filename": {"type": "string", "description": "The file's name, where the sender gave one."},
                "message_id": {"type": ["string", "integer"], "description": "The message that `reply` quotes."},
                "selected_text": {"type": "string"},
                "id": {"type": "string", "description": "The id of a `tool_call` of the client's."},
                "name": {"type": "string", "description": "The function of a `tool_call` of the client's."},
                "arguments": {"type": "string", "description": "The arguments of a `tool_call`, as JSON text."},
                "tool_calls": {
                    "type": "array",
                    "description": "The calls of a step that Palaver carried out, with their results.",
                    "items": {
                        "title": "StoredToolCall",
                        "type": "object",
                        "description": "A call and its result.",
                        "required": ["id", "name", "args", "ts", "result", "finished_ts", "status"],
                        "properties": {
                            "id": {"type": "string", "description": "The call's id."},
                            "name": {"type": "string", "description": "The tool."},
                            "args": {"description": "The arguments: an object, or text where the model wrote none."},
                            "ts": {"type": "number", "description": "When it began, in seconds since 1970."},
                            "result": {"type": "string", "description": "The result, as the model was shown it."},
                            "finished_ts": {"type": ["number", "null"], "description": "When it ended."},
                            "status": {
                                "type": ["string", "null"],
                                "enum": ["ok", "failed", "refused", "interrupted", None],
                                "description": "How it ended.",
                            },
                        },
                    },
                },
                "tool_call_id": {"type": "string", "description": "The call of a `tool_result`."},
            },
        },
    ),
]
"""Not a struct: what is stored is shown whole."""


class MessageRef(msgspec.Struct):
    """A passage of the knowledge base that the model was shown as `[number]`.

    `position` counts the document's passages from 0, `score` is from 0 to 1, `text` is how the passage begins.
    """

    number: Annotated[int, Meta(ge=1)]
    collection_id: str
    document_id: str
    title: str
    position: Annotated[int, Meta(ge=0)]
    heading: str
    score: Annotated[float, Meta(ge=0, le=1)]
    text: str
