"""QQ's events as ours, and the proof of its requests: pure functions."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.bots.adapters.fields import object_in
from app.bots.adapters.inbound import InboundEvent, InboundMedia, OfferedContext
from app.chat.parts import MediaKind

_PRIVATE = "C2C_MESSAGE_CREATE"
_GROUP = ("GROUP_AT_MESSAGE_CREATE", "GROUP_MESSAGE_CREATE")
_CHANNEL = "AT_MESSAGE_CREATE"
# How long a message can be answered, and how often: a little less than QQ grants.
_PRIVATE_RIGHT = (timedelta(minutes=58), 4)
_GROUP_RIGHT = (timedelta(minutes=4, seconds=40), 5)


def signing_key(secret: str) -> Ed25519PrivateKey:
    """Make the key that QQ and the bot share: its seed is the secret, repeated to 32 bytes."""
    seed = secret.encode()
    return Ed25519PrivateKey.from_private_bytes((seed * (32 // len(seed) + 1))[:32])


def is_signed(key: Ed25519PrivateKey, timestamp: str, body: bytes, signature: str) -> bool:
    """Check the signature of a request."""
    try:
        key.public_key().verify(bytes.fromhex(signature), timestamp.encode() + body)
    except (InvalidSignature, ValueError):
        return False
    return True


def event_of(kind: str, data: Any) -> InboundEvent | None:
    """Read an event of the gateway or of a webhook; None for one that is not a message."""
    if not isinstance(data, dict) or kind not in (_PRIVATE, *_GROUP, _CHANNEL):
        return None
    author = object_in(data, "author")
    id, text = str(data.get("id", "")), str(data.get("content") or "")
    addressed = True
    if kind == _PRIVATE:
        session = sender = str(author.get("user_openid") or author.get("id") or "")
    elif kind == _CHANNEL:
        session, sender = str(data.get("channel_id", "")), str(author.get("id", ""))
        text = re.sub(r"^\s*<@!?[0-9]+>", "", text)
    else:
        session = str(data.get("group_openid", ""))
        sender = str(author.get("member_openid") or author.get("id") or "")
        mentions = data.get("mentions") or []
        addressed = kind == _GROUP[0] or any(isinstance(each, dict) and each.get("is_you") for each in mentions)
    happened_at = datetime.fromisoformat(str(data["timestamp"])).astimezone(UTC)
    lifetime, uses = _PRIVATE_RIGHT if kind == _PRIVATE else _GROUP_RIGHT
    return InboundEvent(
        dedupe_key=id,
        message_type="FriendMessage" if kind == _PRIVATE else "GroupMessage",
        session_id=session,
        sender_id=sender,
        sender_name=str(author.get("username") or "")[:100],
        sender_is_bot=bool(author.get("bot")),
        happened_at=happened_at,
        text=text.strip(),
        media=tuple(_media_of(each) for each in data.get("attachments") or [] if isinstance(each, dict)),
        addressed=addressed,
        platform_id=id,
        context=OfferedContext(id, happened_at + lifetime, uses),
    )


def _media_of(attachment: Mapping[str, Any]) -> InboundMedia:
    major = str(attachment.get("content_type") or "").partition("/")[0]
    kinds: Mapping[str, MediaKind] = {"image": "image", "voice": "record", "audio": "record", "video": "video"}
    url = str(attachment.get("url") or "")
    size = attachment.get("size")
    return InboundMedia(
        kinds.get(major, "file"),
        {"url": url if "://" in url else f"https://{url}"},
        str(attachment.get("filename") or "file")[:255],
        size if isinstance(size, int) else None,
    )
