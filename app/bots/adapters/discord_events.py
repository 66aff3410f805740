"""Discord's messages as events: pure functions."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from app.bots.adapters.base import BotIdentity
from app.bots.adapters.inbound import InboundEvent, InboundMedia, Quoted
from app.chat.parts import MediaKind

_MESSAGES, _REPLIES = 0, 19


def event_of(message: Mapping[str, Any], me: BotIdentity) -> InboundEvent | None:
    """Read a MESSAGE_CREATE; None for what is not said by somebody, such as a new member's welcome."""
    author = message.get("author")
    if not isinstance(author, dict) or message.get("type", _MESSAGES) not in (_MESSAGES, _REPLIES):
        return None
    is_group = bool(message.get("guild_id"))
    replied = message.get("referenced_message")
    mentioned = any(isinstance(each, dict) and str(each.get("id")) == me.id for each in message.get("mentions") or [])
    text = re.sub(rf"<@!?{re.escape(me.id)}>", "", str(message.get("content") or ""))
    return InboundEvent(
        dedupe_key=f"message:{message.get('id')}",
        message_type="GroupMessage" if is_group else "FriendMessage",
        session_id=str(message.get("channel_id", "")),
        sender_id=str(author.get("id", "")),
        sender_name=str(author.get("global_name") or author.get("username") or "")[:100],
        sender_is_bot=bool(author.get("bot")) or bool(message.get("webhook_id")),
        happened_at=datetime.fromisoformat(str(message["timestamp"])).astimezone(UTC),
        text=text.strip(),
        media=tuple(_media_of(each) for each in message.get("attachments") or [] if isinstance(each, dict)),
        quote=Quoted(str(replied.get("id", "")), str(replied.get("content") or ""))
        if isinstance(replied, dict)
        else None,
        addressed=not is_group or mentioned or _is_by(replied, me),
        platform_id=str(message.get("id", "")),
    )


def _is_by(message: Any, me: BotIdentity) -> bool:
    return isinstance(message, dict) and str((message.get("author") or {}).get("id")) == me.id


def _media_of(attachment: Mapping[str, Any]) -> InboundMedia:
    major = str(attachment.get("content_type") or "").partition("/")[0]
    kinds: Mapping[str, MediaKind] = {"image": "image", "audio": "record", "video": "video"}
    size = attachment.get("size")
    return InboundMedia(
        kinds.get(major, "file"),
        {"url": str(attachment.get("url", ""))},
        str(attachment.get("filename", ""))[:255],
        size if isinstance(size, int) else None,
    )
