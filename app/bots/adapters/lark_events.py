"""Lark's events: how they are signed, encrypted and framed, and what they say. Pure functions."""

import hashlib
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from app.bots.adapters.base import BotIdentity
from app.bots.adapters.inbound import InboundEvent, InboundMedia, Quoted
from app.chat.parts import MediaKind

_KEYS: Mapping[str, tuple[MediaKind, str]] = {
    "image": ("image", "image_key"),
    "file": ("file", "file_key"),
    "audio": ("record", "file_key"),
    "media": ("video", "file_key"),
}
_NAMES = {"image": "image.png", "file": "file", "audio": "voice.opus", "media": "video.mp4"}


def signature_of(timestamp: str, nonce: str, encrypt_key: str, body: bytes) -> str:
    """The signature that Lark puts on a webhook request."""
    return hashlib.sha256(f"{timestamp}{nonce}{encrypt_key}".encode() + body).hexdigest()


def decrypt(text: str, encrypt_key: str) -> bytes:
    """Decrypt the body of an event. Raises ValueError."""
    data = b64decode(text, validate=True)
    cipher = Cipher(algorithms.AES(hashlib.sha256(encrypt_key.encode()).digest()), modes.CBC(data[:16]))
    decryptor, unpadder = cipher.decryptor(), PKCS7(128).unpadder()
    padded = decryptor.update(data[16:]) + decryptor.finalize()
    return unpadder.update(padded) + unpadder.finalize()


def event_of(value: Mapping[str, Any], me: BotIdentity) -> InboundEvent | None:
    """Read an event; None for one that is no message."""
    event = value.get("event")
    if (value.get("header") or {}).get("event_type") != "im.message.receive_v1" or not isinstance(event, dict):
        return None
    message, sender = event["message"], event.get("sender") or {}
    mentions = [each for each in message.get("mentions") or [] if isinstance(each, dict)]
    sender_id = str((sender.get("sender_id") or {}).get("open_id") or "")
    is_private = message.get("chat_type") == "p2p"
    id, kind = str(message["message_id"]), str(message.get("message_type"))
    content = msgspec.json.decode(message.get("content") or "{}", type=dict[str, Any])
    return InboundEvent(
        dedupe_key=f"message:{id}",
        message_type="FriendMessage" if is_private else "GroupMessage",
        session_id=sender_id if is_private else str(message["chat_id"]),
        sender_id=sender_id,
        sender_is_bot=sender.get("sender_type") not in (None, "user"),
        happened_at=datetime.fromtimestamp(int(message.get("create_time", 0)) / 1000, UTC),
        text=_with_names(_text_of(kind, content), mentions, me),
        media=tuple(_media_of(id, kind, content)),
        quote=Quoted(str(message["parent_id"])) if message.get("parent_id") else None,
        addressed=is_private or any(_is_mention_of(each, me) for each in mentions),
        platform_id=id,
    )


def _is_mention_of(mention: Mapping[str, Any], me: BotIdentity) -> bool:
    return (mention.get("id") or {}).get("open_id") == me.id


def _with_names(text: str, mentions: list[dict[str, Any]], me: BotIdentity) -> str:
    """Put names in the place of `@_user_1`, and nothing in that of the bot."""
    for mention in sorted(mentions, key=lambda each: -len(str(each.get("key", "")))):
        name = "" if _is_mention_of(mention, me) else f"@{mention.get('name', '')}"
        text = text.replace(str(mention.get("key") or "\0"), name)
    return text.strip()


def _text_of(kind: str, content: Mapping[str, Any]) -> str:
    if kind != "post":
        return str(content.get("text") or "")
    lines = [str(content.get("title") or "")]
    for line in content.get("content") or []:
        lines.append("".join(str(each.get("text") or "") for each in line if each.get("tag") != "at"))
        lines[-1] += "".join(f"{each.get('user_id')} " for each in line if each.get("tag") == "at")
    return "\n".join(lines).strip()


def _media_of(message_id: str, kind: str, content: Mapping[str, Any]) -> Iterator[InboundMedia]:
    if kind == "post":
        for line in content.get("content") or []:
            for each in line:
                if each.get("tag") == "img":
                    yield from _media_of(message_id, "image", each)
    elif kind in _KEYS and (key := content.get(_KEYS[kind][1])):
        reference = {"message_id": message_id, "key": str(key), "type": "image" if kind == "image" else "file"}
        yield InboundMedia(_KEYS[kind][0], reference, str(content.get("file_name") or _NAMES[kind]))


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of the long connection, which is a protobuf message; `method` is 0 for control and 1 for data."""

    seq: int = 0
    log: int = 0
    service: int = 0
    method: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    payload: bytes = b""


def encode(frame: Frame) -> bytes:
    """Write a frame."""
    numbers = [(1, frame.seq), (2, frame.log), (3, frame.service), (4, frame.method)]
    written = b"".join(_varint(number << 3) + _varint(value) for number, value in numbers)
    for name, value in frame.headers.items():
        written += _bytes(5, _bytes(1, name.encode()) + _bytes(2, value.encode()))
    return written + _bytes(8, frame.payload)


def decode(data: bytes) -> Frame:
    """Read a frame. Raises ValueError."""
    numbers: dict[int, int] = {}
    headers: dict[str, str] = {}
    payload = b""
    for number, value in _fields(data):
        if isinstance(value, int):
            numbers[number] = value
        elif number == 5:
            pair = {key: text.decode() for key, text in _fields(value) if isinstance(text, bytes)}
            headers[pair.get(1, "")] = pair.get(2, "")
        elif number == 8:
            payload = value
    get = numbers.get
    return Frame(get(1, 0), get(2, 0), get(3, 0), get(4, 0), headers, payload)


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        value, at = _read_varint(data, at)
        if tag & 7 == 0:
            yield tag >> 3, value
        elif tag & 7 == 2 and at + value <= len(data):
            yield tag >> 3, data[at : at + value]
            at += value
        else:
            raise ValueError("the frame cannot be read")


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value, at
    raise ValueError("the frame cannot be read")
