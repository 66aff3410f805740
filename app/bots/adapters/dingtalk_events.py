"""DingTalk's robot callbacks as events: pure functions."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from app.bots.adapters.fields import object_in
from app.bots.adapters.inbound import InboundEvent, InboundMedia, Quoted
from app.chat.parts import MediaKind

_KINDS: Mapping[str, MediaKind] = {"picture": "image", "audio": "record", "video": "video", "file": "file"}
_NAMES = {"picture": "picture.jpg", "audio": "voice.amr", "video": "video.mp4", "file": "file"}


def event_of(data: Mapping[str, Any]) -> InboundEvent:
    """Read a message to the robot. In groups, DingTalk reports those only that mention it."""
    is_group = str(data.get("conversationType")) == "2"
    # Messages can be sent to a staff id only; people of other enterprises have none.
    sender = str(data.get("senderStaffId") or data.get("senderId") or "")
    text, content = object_in(data, "text"), object_in(data, "content")
    return InboundEvent(
        dedupe_key=str(data.get("msgId", "")),
        message_type="GroupMessage" if is_group else "FriendMessage",
        session_id=str(data.get("conversationId", "")) if is_group else sender,
        sender_id=sender,
        sender_name=str(data.get("senderNick") or "")[:100],
        happened_at=datetime.fromtimestamp(int(data.get("createAt", 0)) / 1000, UTC),
        text=_text_of(text, content),
        media=tuple(_media_of(str(data.get("msgtype")), content)),
        quote=_quoted(text),
        platform_id=str(data.get("msgId", "")),
    )


def _text_of(text: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    if "content" in text:
        return str(text["content"]).strip()
    rich = content.get("richText")
    if isinstance(rich, list):
        return "".join(str(each.get("text") or "") for each in rich if isinstance(each, dict)).strip()
    return ""


def _media_of(kind: str, content: Mapping[str, Any]) -> Iterator[InboundMedia]:
    if kind == "richText":
        for each in content.get("richText") or []:
            if isinstance(each, dict) and each.get("type") == "picture":
                yield from _media_of("picture", each)
    elif kind in _KINDS and (code := content.get("downloadCode")):
        yield InboundMedia(_KINDS[kind], {"code": str(code)}, str(content.get("fileName") or _NAMES[kind]))


def _quoted(text: Mapping[str, Any]) -> Quoted | None:
    replied = object_in(text, "repliedMsg")
    if not replied:
        return None
    return Quoted(str(replied.get("msgId", "")), str(object_in(replied, "content").get("text") or ""))
