"""Mattermost's posts as events: pure functions."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from app.bots.adapters.base import BotIdentity
from app.bots.adapters.fields import object_in
from app.bots.adapters.inbound import InboundEvent, InboundMedia, Quoted
from app.chat.parts import MediaKind


def event_of(
    post: Mapping[str, Any], me: BotIdentity, *, is_direct: bool, sender_name: str = ""
) -> InboundEvent | None:
    """Read a post; None for the bot's own, and for those that the system makes."""
    if post.get("user_id") == me.id or post.get("type"):
        return None
    properties = object_in(post, "props")
    root = str(post.get("root_id") or "")
    text, is_mentioned = _without_mention(str(post.get("message") or ""), me)
    return InboundEvent(
        dedupe_key=str(post.get("id", "")),
        message_type="FriendMessage" if is_direct else "GroupMessage",
        session_id=str(post.get("channel_id", "")),
        sender_id=str(post.get("user_id", "")),
        sender_name=sender_name.removeprefix("@")[:100],
        sender_is_bot=any(str(properties.get(name)).lower() == "true" for name in ("from_bot", "from_webhook")),
        happened_at=datetime.fromtimestamp(int(post.get("create_at", 0)) / 1000, UTC),
        text=text,
        media=_media_of(post),
        quote=Quoted(root) if root else None,
        addressed=is_direct or is_mentioned,
        platform_id=str(post.get("id", "")),
    )


def _without_mention(text: str, me: BotIdentity) -> tuple[str, bool]:
    """Take the mention of the bot out of a text, and tell whether there was one."""
    found, count = re.subn(rf"(?<![\w@])@{re.escape(me.name)}(?![\w.-]*\w)[:,]?\s*", "", text, flags=re.IGNORECASE)
    return found.strip(), count > 0


def _media_of(post: Mapping[str, Any]) -> tuple[InboundMedia, ...]:
    metadata = post.get("metadata")
    files = metadata.get("files") if isinstance(metadata, dict) else None
    return tuple(
        InboundMedia(
            _kind_of(str(file.get("mime_type"))), {"id": str(file["id"])}, str(file.get("name", "")), file.get("size")
        )
        for file in files or []
        if isinstance(file, dict) and "id" in file
    )


def _kind_of(media_type: str) -> MediaKind:
    kinds: Mapping[str, MediaKind] = {"image": "image", "audio": "record", "video": "video"}
    return kinds.get(media_type.partition("/")[0], "file")
