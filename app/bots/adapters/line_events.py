"""LINE's webhook events: pure functions."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from app.bots.adapters.fields import object_in
from app.bots.adapters.inbound import InboundEvent, InboundMedia, OfferedContext, Quoted
from app.chat.parts import MediaKind

REPLY_TIME = timedelta(seconds=50)
"""How long a reply token is used; LINE says about a minute."""

_KINDS: Mapping[str, MediaKind] = {"image": "image", "video": "video", "audio": "record", "file": "file"}
_SUFFIXES = {"image": ".jpg", "video": ".mp4", "audio": ".m4a", "file": ""}


def event_of(event: Mapping[str, Any]) -> InboundEvent:
    """Read an event; one that is no message has another kind."""
    source, message = object_in(event, "source"), object_in(event, "message")
    user, group = str(source.get("userId", "")), source.get("groupId") or source.get("roomId")
    happened_at = datetime.fromtimestamp(int(event.get("timestamp", 0)) / 1000, UTC)
    text, addressed = _text_of(message)
    token = event.get("replyToken")
    what = event.get("type")
    is_message = what == "message" and event.get("mode", "active") == "active"
    return InboundEvent(
        dedupe_key=str(event.get("webhookEventId", "")),
        message_type="FriendMessage" if group is None else "GroupMessage",
        session_id=str(group or user or "unknown"),
        sender_id=user,
        happened_at=happened_at,
        kind="message" if is_message else "left" if what in ("leave", "unfollow") else "other",
        text=text,
        media=_media_of(message),
        quote=Quoted(str(message["quotedMessageId"])) if "quotedMessageId" in message else None,
        addressed=group is None or addressed,
        platform_id=str(message.get("id", "")),
        context=OfferedContext(str(token), happened_at + REPLY_TIME) if token and is_message else None,
    )


def _text_of(message: Mapping[str, Any]) -> tuple[str, bool]:
    """The text without the mention of the bot, and whether there was one. Offsets count UTF-16 units."""
    kind = message.get("type")
    if kind == "location":
        return f"📍 {message.get('title') or ''} {message.get('address') or ''}".strip(), False
    if kind == "sticker":
        return str(message.get("text") or ", ".join(message.get("keywords") or []) or "🙂"), False
    units = str(message.get("text") or "").encode("utf-16-le")
    mentionees = object_in(message, "mention").get("mentionees") or []
    own = [each for each in mentionees if each.get("isSelf") is True]
    for mention in sorted(own, key=lambda each: -int(each.get("index", 0))):
        start, length = 2 * int(mention.get("index", 0)), 2 * int(mention.get("length", 0))
        units = units[:start] + units[start + length :]
    return re.sub(r"[ \t]{2,}", " ", units.decode("utf-16-le", "replace")).strip(), bool(own)


def _media_of(message: Mapping[str, Any]) -> tuple[InboundMedia, ...]:
    kind = str(message.get("type"))
    if kind not in _KINDS:
        return ()
    provider = object_in(message, "contentProvider").get("type", "line")
    if provider != "line":  # the file is on another server, which we do not know
        return ()
    name = str(message.get("fileName") or f"{kind}{_SUFFIXES[kind]}")
    return (
        InboundMedia(_KINDS[kind], {"id": str(message.get("id", "")), "type": kind}, name, message.get("fileSize")),
    )
