"""Wire shapes of message parts, shared by several doors."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_FIELDS = {
    "number": {"type": "integer", "minimum": 1},
    **dict.fromkeys(("collection_id", "document_id", "title"), _TEXT),
    "position": _COUNT,
    "heading": _TEXT,
    "score": {"type": "number", "minimum": 0, "maximum": 1},
    "text": _TEXT,
}
REF: Mapping[str, Any] = {"type": "object", "required": list(_FIELDS), "properties": _FIELDS}


class MessagePart(msgspec.Struct):
    """A part of a message. `plain` has text; media parts name an uploaded attachment; `reply` quotes a message."""

    type: Literal["plain", "reply", "image", "record", "file", "video"]
    text: str | None = None
    message_id: str | int | None = None
    selected_text: str | None = None
    attachment_id: str | None = None
    filename: str | None = None
    path: Annotated[str | None, Meta(description="Never read from a client.")] = None


class MessageRef(msgspec.Struct):
    """A passage of the knowledge base that the model was shown as `[number]`.

    `position` counts the document's passages from 0, `score` is from 0 to 1, `text` is how the passage begins.
    """

    number: int
    collection_id: str
    document_id: str
    title: str
    position: int
    heading: str
    score: float
    text: str
