"""Events of Matrix rooms: pure functions."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from app.bots.adapters.base import BotIdentity
from app.bots.adapters.fields import object_in
from app.bots.adapters.inbound import InboundEvent, InboundMedia, Quoted
from app.chat.parts import MediaKind

_KINDS: Mapping[str, MediaKind] = {"m.image": "image", "m.file": "file", "m.audio": "record", "m.video": "video"}
_TEXTS = ("m.text", "m.notice", "m.emote")


def event_of(room: str, event: Mapping[str, Any], me: BotIdentity, *, is_direct: bool) -> InboundEvent | None:
    """Read an event of a room's timeline; None for one that is no message, or is the bot's own, or an edit."""
    content, sender = event.get("content"), str(event.get("sender", ""))
    if event.get("type") != "m.room.message" or not isinstance(content, dict) or sender == me.id:
        return None
    relation = object_in(content, "m.relates_to")
    kind = str(content.get("msgtype"))
    if relation.get("rel_type") == "m.replace" or (kind not in _TEXTS and kind not in _KINDS):
        return None
    replied = relation.get("m.in_reply_to")
    text, quoted = _without_fallback(_text_of(content), isinstance(replied, dict))
    text, is_named = _without_name(text, me)
    mentions = content.get("m.mentions")
    mentioned = mentions.get("user_ids") if isinstance(mentions, dict) else None
    is_mentioned = me.id in mentioned if isinstance(mentioned, list) else is_named
    return InboundEvent(
        dedupe_key=str(event.get("event_id", "")),
        message_type="FriendMessage" if is_direct else "GroupMessage",
        session_id=room,
        sender_id=sender,
        sender_name=sender[1:].partition(":")[0][:100],
        sender_is_bot=kind == "m.notice",  # which bots must not answer
        happened_at=datetime.fromtimestamp(int(event.get("origin_server_ts", 0)) / 1000, UTC),
        text=text,
        media=_media_of(content),
        quote=Quoted(str(replied.get("event_id", "")), quoted) if isinstance(replied, dict) else None,
        addressed=is_direct or is_mentioned,
        platform_id=str(event.get("event_id", "")),
    )


def _text_of(content: Mapping[str, Any]) -> str:
    body = str(content.get("body") or "")
    if content.get("msgtype") in _TEXTS:
        return body
    # The body of a file is its name, unless the name is given: then it is the caption.
    return body if content.get("filename") not in (None, body) else ""


def _without_fallback(text: str, is_reply: bool) -> tuple[str, str]:
    """Part a reply's text from the quotation that older clients put before it."""
    lines = text.split("\n")
    if not is_reply or not lines[0].startswith("> "):
        return text, ""
    count = next((index for index, line in enumerate(lines) if not line.startswith(">")), len(lines))
    quoted = "\n".join(line.removeprefix(">").strip() for line in lines[:count])
    return "\n".join(lines[count:]).strip(), re.sub(r"^<@[^>]*>\s*", "", quoted)


def _without_name(text: str, me: BotIdentity) -> tuple[str, bool]:
    """Take the bot's name from the beginning of a text, where clients put it for a mention."""
    names = sorted({me.id, me.name, me.id[1:].partition(":")[0]} - {""}, key=len, reverse=True)
    match = re.match(rf"\s*@?(?:{'|'.join(map(re.escape, names))})(?:[:,]\s*|\s+|$)", text, re.IGNORECASE)
    return (text[match.end() :].strip(), True) if match else (text.strip(), False)


def _media_of(content: Mapping[str, Any]) -> tuple[InboundMedia, ...]:
    kind, url = _KINDS.get(str(content.get("msgtype"))), content.get("url")
    match = re.fullmatch(r"mxc://([^/\s]+)/([A-Za-z0-9_-]+)", str(url))
    if kind is None or match is None:
        return ()
    info = content.get("info")
    size = info.get("size") if isinstance(info, dict) else None
    name = str(content.get("filename") or content.get("body") or "file")
    return (InboundMedia(kind, {"server": match[1], "id": match[2]}, name, size if isinstance(size, int) else None),)
