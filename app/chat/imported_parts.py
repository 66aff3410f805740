"""The parts of imported messages: what a stored message has, held to its form."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from app.chat.parts import Media, Part, Reply, Text, from_stored
from app.files.names import clean_filename

MAX_PARTS = 1_000


class _Plain(msgspec.Struct, tag="plain", tag_field="type"):
    text: str


class _Image(msgspec.Struct, tag="image", tag_field="type"):
    attachment_id: str
    filename: str | None = None


class _Record(_Image, tag="record", tag_field="type"):
    pass


class _File(_Image, tag="file", tag_field="type"):
    pass


class _Video(_Image, tag="video", tag_field="type"):
    pass


class _Quote(msgspec.Struct, tag="reply", tag_field="type"):
    message_id: int | str
    selected_text: str | None = None


class _CarriedCall(msgspec.Struct):
    id: str
    name: str
    args: Any
    ts: float
    result: str = ""
    finished_ts: float | None = None
    status: Literal["ok", "failed", "refused", "interrupted"] | None = None


class _Calls(msgspec.Struct, tag="tool_call", tag_field="type", omit_defaults=True):
    """The client's own call, or those that Palaver carried out."""

    id: str = ""
    name: str = ""
    arguments: str = ""
    tool_calls: list[_CarriedCall] | None = None


class _Result(msgspec.Struct, tag="tool_result", tag_field="type"):
    tool_call_id: str
    text: str


ImportedPart = _Plain | _Image | _Record | _File | _Video | _Quote | _Calls | _Result


def parts_of(
    imported: Sequence[ImportedPart],
    message_ids: Mapping[int, int] | None = None,
    usable: frozenset[str] | None = None,
) -> list[Part]:
    """Return the parts, with the new `message_ids` in quotations.

    Quotations of other messages are left out; files that are not `usable` become text with their names.
    """
    parts: list[Part] = []
    for part in from_stored(_stored(each) for each in imported):
        if isinstance(part, Media) and usable is not None and part.attachment_id not in usable:
            parts.append(Text(f"[{part.kind}: {clean_filename(part.filename or 'a file')}]"))
        elif isinstance(part, Reply) and message_ids is not None:
            text = str(part.message_id)
            quoted = message_ids.get(int(text)) if text.isascii() and text.isdecimal() and len(text) < 20 else None
            if quoted:
                parts.append(Reply(quoted, part.selected_text))
        else:
            parts.append(part)
    return parts


def _stored(part: ImportedPart) -> Mapping[str, Any]:
    stored: dict[str, Any] = msgspec.to_builtins(part)
    if isinstance(part, _Calls) and part.tool_calls is None:
        return {"type": "tool_call", "id": part.id, "name": part.name, "arguments": part.arguments}
    if isinstance(part, _Calls):
        return {"type": "tool_call", "tool_calls": [msgspec.structs.asdict(call) for call in part.tool_calls or ()]}
    return stored
