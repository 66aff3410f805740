"""Slack's events as ours, and the proof of its requests: pure functions."""

import hashlib
import hmac
import html
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from app.bots.adapters.base import BotIdentity
from app.bots.adapters.fields import object_in
from app.bots.adapters.inbound import InboundEvent, InboundMedia
from app.chat.parts import MediaKind

MAX_AGE_SECONDS = 300
_SUBTYPES = (None, "file_share", "thread_broadcast")
_MARK = re.compile(r"<(?P<sign>[@#!]?)(?P<id>[^<>|]+)(\|(?P<label>[^<>]*))?>")


def is_signed(secret: str, timestamp: str, body: bytes, signature: str, now: float) -> bool:
    """Check the signature of a request, and that it is fresh: an old one may be somebody's copy."""
    if not timestamp.isdecimal() or abs(now - int(timestamp)) > MAX_AGE_SECONDS:
        return False
    expected = "v0=" + hmac.new(secret.encode(), b"v0:" + timestamp.encode() + b":" + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), signature.encode())


def event_of(payload: Mapping[str, Any], me: BotIdentity) -> InboundEvent | None:
    """Read the payload of an event; None for what is not a new message."""
    event = payload.get("event")
    if not isinstance(event, dict) or event.get("type") not in ("message", "app_mention"):
        return None
    if event.get("subtype") not in _SUBTYPES:
        return None
    channel, timestamp, user = (str(event.get(name) or "") for name in ("channel", "ts", "user"))
    is_private = event.get("channel_type") == "im" or channel.startswith("D")
    thread = str(event.get("thread_ts") or "")
    session = user if is_private else channel
    text = str(event.get("text") or "")
    return InboundEvent(
        # A mention is told of twice, as a message and as a mention, with two ids.
        dedupe_key=f"{channel}:{timestamp}",
        message_type="FriendMessage" if is_private else "GroupMessage",
        session_id=f"{session}#{thread}" if thread and thread != timestamp else session,
        sender_id=user,
        sender_name=_name_of(event),
        sender_is_bot=bool(event.get("bot_id")) or user == me.id,
        happened_at=datetime.fromtimestamp(float(timestamp or 0), UTC),
        text=_shown(text.replace(f"<@{me.id}>", "")).strip(),
        media=tuple(_media_of(file) for file in event.get("files") or [] if isinstance(file, dict)),
        addressed=is_private or f"<@{me.id}>" in text or event.get("parent_user_id") == me.id,
        # Without an id of the message: its answer is no thread of its own, but stands in the channel.
    )


def _name_of(event: Mapping[str, Any]) -> str:
    names = object_in(event, "user_profile")
    return str(names.get("display_name") or names.get("real_name") or event.get("username") or "")[:100]


def _shown(text: str) -> str:
    """A text of Slack's as people see it."""

    def mark(found: re.Match[str]) -> str:
        sign, id, label = found["sign"], found["id"], found["label"]
        if sign:
            return {"@": "@", "#": "#", "!": "@"}[sign] + (label or id).lstrip("@#")
        return f"{label} ({id})" if label and label != id else id

    return html.unescape(_MARK.sub(mark, text))


def _media_of(file: Mapping[str, Any]) -> InboundMedia:
    major = str(file.get("mimetype") or "").partition("/")[0]
    kinds: Mapping[str, MediaKind] = {"image": "image", "audio": "record", "video": "video"}
    url = str(file.get("url_private_download") or file.get("url_private") or "")
    size = file.get("size")
    name = str(file.get("name") or file.get("title") or "file")[:255]
    return InboundMedia(kinds.get(major, "file"), {"url": url}, name, size if isinstance(size, int) else None)
