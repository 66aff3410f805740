"""Messages to WeCom's AI bots as events: pure functions."""

from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime
from typing import Any

from app.bots.adapters.fields import object_in
from app.bots.adapters.inbound import InboundEvent, InboundMedia, OfferedContext, Quoted
from app.bots.adapters.wecom_events import BLOCK, decryptor_of, unpadded
from app.bots.umo import MessageType
from app.chat.parts import MediaKind

_KINDS: Mapping[str, MediaKind] = {"image": "image", "video": "video", "file": "file"}
_NAMES = {"image": "image.jpg", "video": "video.mp4", "file": "file"}


def event_of(
    body: Mapping[str, Any], bot_name: str, happened_at: datetime, context: OfferedContext | None
) -> InboundEvent | None:
    """Read a message; None for what is none. In groups, WeCom reports those only that mention the bot."""
    message_id, sender = str(body.get("msgid") or ""), str(object_in(body, "from").get("userid") or "")
    items = list(_items_of(body))
    if not message_id or not sender or not items:
        return None
    group = str(body.get("chatid") or "") if body.get("chattype") == "group" else ""
    message_type: MessageType = "GroupMessage" if group else "FriendMessage"
    text = "\n".join(
        str(object_in(item, kind).get("content") or "") for kind, item in items if kind in ("text", "voice")
    )
    if group and bot_name:
        text = text.replace(f"@{bot_name}", "", 1)
    quoted = "\n".join(
        str(object_in(item, kind).get("content") or "")
        for kind, item in _items_of(object_in(body, "quote"))
        if kind in ("text", "voice")
    )
    return InboundEvent(
        dedupe_key=message_id,
        message_type=message_type,
        session_id=group or sender,
        sender_id=sender,
        happened_at=happened_at,
        text=text.strip(),
        media=tuple(_media_of(items)),
        quote=Quoted("", quoted) if quoted else None,
        platform_id=message_id,
        context=context,
    )


async def deciphered(chunks: AsyncIterator[bytes], key: bytes) -> AsyncIterator[bytes]:
    """Decrypt a file while it comes. Raises ValueError."""
    decryptor = decryptor_of(key)
    rest = b""
    async for chunk in chunks:
        rest += decryptor.update(chunk)
        if len(rest) > BLOCK:  # the last block has the padding
            yield rest[:-BLOCK]
            rest = rest[-BLOCK:]
    yield unpadded(rest + decryptor.finalize())


def _items_of(message: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The parts of a message, which is one itself if it is not mixed, with their kinds."""
    items = object_in(message, "mixed").get("msg_item") if message.get("msgtype") == "mixed" else [message]
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and (kind := item.get("msgtype")) in ("text", "voice", *_KINDS):
            yield str(kind), item


def _media_of(items: list[tuple[str, Mapping[str, Any]]]) -> Iterator[InboundMedia]:
    for kind, item in items:
        file = object_in(item, kind)
        if kind in _KINDS and (url := file.get("url")):
            reference = {"url": str(url), "key": str(file.get("aeskey") or "")}
            yield InboundMedia(_KINDS[kind], reference, str(file.get("filename") or _NAMES[kind])[:255])
