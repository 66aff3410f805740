"""Telegram's updates as events: pure functions."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from app.bots.adapters.base import BotIdentity
from app.bots.adapters.fields import object_in
from app.bots.adapters.inbound import InboundEvent, InboundMedia, Quoted
from app.bots.umo import MessageType
from app.clock import utc_now

UPDATES = ["message", "stopped_message_generation"]
"""The kinds of updates that are asked for."""
_MEDIA = (
    ("document", "file"),
    ("voice", "record"),
    ("audio", "record"),
    ("video", "video"),
    ("video_note", "video"),
    ("animation", "video"),
    ("sticker", "image"),
)


def event_of(update: Mapping[str, Any], me: BotIdentity) -> InboundEvent:
    """Read an update; one that is no message has the kind `other`."""
    key = f"update:{update.get('update_id')}"
    if isinstance(stopped := update.get("stopped_message_generation"), dict):
        return _stop(key, stopped)
    message = update.get("message")
    if not isinstance(message, dict) or not isinstance(message.get("chat"), dict):
        return InboundEvent(
            dedupe_key=key,
            message_type="OtherMessage",
            session_id="0",
            sender_id="",
            happened_at=utc_now(),
            kind="other",
        )
    sender = message.get("from") or message.get("sender_chat") or {}
    is_private = message["chat"].get("type") == "private"
    text = str(message.get("text") or message.get("caption") or "")
    entities = message.get("entities") or message.get("caption_entities") or []
    replied = message.get("reply_to_message")
    if isinstance(replied, dict) and replied.get("message_id") == message.get("message_thread_id"):
        replied = None  # the beginning of the topic, which every message in it refers to
    text, is_mentioned = _without_mention(text, entities, me)
    is_reply = isinstance(replied, dict) and str((replied.get("from") or {}).get("id")) == me.id
    return InboundEvent(
        dedupe_key=key,
        message_type=_type_of(message["chat"]),
        session_id=_session_of(message),
        sender_id=str(sender.get("id", "")),
        sender_name=str(sender.get("first_name") or sender.get("title") or sender.get("username") or "")[:100],
        sender_is_bot=bool(sender.get("is_bot")),
        happened_at=datetime.fromtimestamp(int(message.get("date", 0)), UTC),
        text=text,
        media=_media_of(message),
        quote=_quoted(message, replied) if isinstance(replied, dict) else None,
        addressed=is_private or is_mentioned or is_reply,
        platform_id=str(message.get("message_id", "")),
        album=message.get("media_group_id"),
    )


def _type_of(chat: Mapping[str, Any]) -> MessageType:
    return "FriendMessage" if chat.get("type") == "private" else "GroupMessage"


def _session_of(message: Mapping[str, Any]) -> str:
    chat_id = str(message["chat"].get("id"))
    thread = message.get("message_thread_id")
    return f"{chat_id}#{thread}" if message.get("is_topic_message") and thread is not None else chat_id


def _stop(key: str, stopped: Mapping[str, Any]) -> InboundEvent:
    chat = object_in(stopped, "chat")
    user = stopped.get("from") or chat
    return InboundEvent(
        dedupe_key=key,
        message_type=_type_of(chat),
        session_id=str(chat.get("id", "")),
        sender_id=str(user.get("id", "")),
        happened_at=utc_now(),
        kind="stop",
    )


def _quoted(message: Mapping[str, Any], replied: Mapping[str, Any]) -> Quoted:
    part = message.get("quote")
    text = part.get("text") if isinstance(part, dict) else replied.get("text") or replied.get("caption")
    return Quoted(str(replied.get("message_id", "")), str(text or ""))


def _without_mention(text: str, entities: Any, me: BotIdentity) -> tuple[str, bool]:
    """Take the mention of the bot out of a text, and tell whether there was one.

    Offsets of entities count UTF-16 units: an emoji is two.
    """
    units = text.encode("utf-16-le")
    names = {f"@{name.lower()}" for name in me.mentions}
    is_mentioned = False
    for entity in sorted(entities if isinstance(entities, list) else [], key=lambda each: -int(each.get("offset", 0))):
        start, length = 2 * int(entity.get("offset", 0)), 2 * int(entity.get("length", 0))
        words = units[start : start + length].decode("utf-16-le", "replace")
        kind = entity.get("type")
        if (kind == "mention" and words.lower() in names) or (
            kind == "text_mention" and str((entity.get("user") or {}).get("id")) == me.id
        ):
            units = units[:start] + units[start + length :]
            is_mentioned = True
        elif kind == "bot_command" and "@" in words and f"@{words.partition('@')[2].lower()}" in names:
            units = units[:start] + words.partition("@")[0].encode("utf-16-le") + units[start + length :]
            is_mentioned = True
    return re.sub(r"[ \t]{2,}", " ", units.decode("utf-16-le", "replace")).strip(), is_mentioned


def _media_of(message: Mapping[str, Any]) -> tuple[InboundMedia, ...]:
    photos = message.get("photo")
    if isinstance(photos, list) and photos:
        largest = photos[-1]
        return (InboundMedia("image", {"file_id": largest.get("file_id")}, "photo.jpg", largest.get("file_size")),)
    for field, kind in _MEDIA:
        file = message.get(field)
        if isinstance(file, dict) and "file_id" in file:
            name = str(file.get("file_name") or f"{field}{_suffix(file, field)}")
            return (InboundMedia(kind, {"file_id": file["file_id"]}, name, file.get("file_size")),)  # type: ignore[arg-type]
    return ()


def _suffix(file: Mapping[str, Any], field: str) -> str:
    if field == "sticker":
        return ".webm" if file.get("is_video") else ".tgs" if file.get("is_animated") else ".webp"
    return {"voice": ".ogg", "audio": ".mp3"}.get(field, ".mp4")
