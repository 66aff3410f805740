"""OneBot's events as ours: pure functions."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from app.bots.adapters.fields import object_in
from app.bots.adapters.inbound import InboundEvent, InboundMedia, Quoted
from app.chat.parts import MediaKind

_CQ_CODE = re.compile(r"\[CQ:(?P<type>[a-z_]+)(?P<data>(,[^,\]]*)*)\]")
_KINDS: Mapping[str, MediaKind] = {"image": "image", "record": "record", "video": "video", "file": "file"}
_SUFFIXES = {"image": ".jpg", "record": ".amr", "video": ".mp4"}
_ESCAPES = (("&#91;", "["), ("&#93;", "]"), ("&#44;", ","), ("&amp;", "&"))


def event_of(value: Mapping[str, Any]) -> InboundEvent | None:
    """Read an event; None for one that is not a message of somebody else."""
    if value.get("post_type") != "message" or value.get("message_type") not in ("private", "group"):
        return None
    own, sender = str(value.get("self_id", "")), str(value.get("user_id", ""))
    if sender == own:
        return None
    is_group = value["message_type"] == "group"
    segments = segments_of(value.get("message"))
    names = object_in(value, "sender")
    message_id, seconds = str(value.get("message_id", "")), int(value.get("time") or 0)
    mentioned = any(kind == "at" and str(data.get("qq")) == own for kind, data in segments)
    quoted = next((str(data.get("id", "")) for kind, data in segments if kind == "reply"), None)
    return InboundEvent(
        # Clients make ids of 32 bits: the time tells two messages with one id apart.
        dedupe_key=f"{own}:{message_id}:{seconds}",
        message_type="GroupMessage" if is_group else "FriendMessage",
        session_id=str(value.get("group_id", "")) if is_group else sender,
        sender_id=sender,
        sender_name=str(names.get("card") or names.get("nickname") or "")[:100],
        happened_at=datetime.fromtimestamp(seconds, UTC),
        text=_text_of(segments, own),
        media=tuple(media for kind, data in segments if (media := _media_of(kind, data)) is not None),
        quote=None if quoted is None else Quoted(quoted),
        addressed=not is_group or mentioned,
        platform_id=message_id,
    )


def segments_of(message: Any) -> Sequence[tuple[str, Mapping[str, Any]]]:
    """The segments of a message, which is a list of them, or a text with CQ codes."""
    if isinstance(message, list):
        return [
            (str(segment.get("type")), data)
            for segment in message
            if isinstance(segment, dict) and isinstance(data := segment.get("data") or {}, dict)
        ]
    if not isinstance(message, str):
        return []
    segments: list[tuple[str, Mapping[str, Any]]] = []
    end = 0
    for code in _CQ_CODE.finditer(message):
        segments.append(("text", {"text": _unescaped(message[end : code.start()])}))
        fields = (field.partition("=") for field in code["data"].split(",") if field)
        segments.append((code["type"], {name: _unescaped(text) for name, _, text in fields}))
        end = code.end()
    return [*segments, ("text", {"text": _unescaped(message[end:])})]


def _unescaped(text: str) -> str:
    for escape, char in _ESCAPES:
        text = text.replace(escape, char)
    return text


def _text_of(segments: Sequence[tuple[str, Mapping[str, Any]]], own: str) -> str:
    words = []
    for kind, data in segments:
        if kind == "text":
            words.append(str(data.get("text", "")))
        elif kind == "at" and str(data.get("qq")) != own:
            words.append(f"@{data.get('name') or data.get('qq')}")
    return "".join(words).strip()


def _media_of(kind: str, data: Mapping[str, Any]) -> InboundMedia | None:
    if kind not in _KINDS:
        return None
    reference = {name: str(data[name]) for name in ("url", "file", "file_id") if data.get(name)}
    size = str(data.get("file_size") or "")
    name = str(data.get("name") or data.get("file") or kind).rpartition("/")[2]
    filename = name if "." in name else name + _SUFFIXES.get(kind, "")
    return InboundMedia(_KINDS[kind], reference, filename[:255], int(size) if size.isdecimal() else None)
