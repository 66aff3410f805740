"""WeCom's callbacks: how they are signed and encrypted, and what they say. Pure functions."""

import hashlib
import hmac
import struct
from base64 import b64decode
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from xml.etree.ElementTree import Element, ParseError

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from defusedxml import DefusedXmlException, ElementTree

from app.bots.adapters.inbound import InboundEvent, InboundMedia
from app.chat.parts import MediaKind

_KINDS: Mapping[str, MediaKind] = {"image": "image", "voice": "record", "video": "video", "file": "file"}
_NAMES = {"image": "image.jpg", "voice": "voice.amr", "video": "video.mp4", "file": "file"}
BLOCK = 32


def signature_of(token: str, timestamp: str, nonce: str, encrypted: str) -> str:
    """The signature that WeCom puts on a callback."""
    return hashlib.sha1("".join(sorted((token, timestamp, nonce, encrypted))).encode()).hexdigest()  # noqa: S324


def key_of(encoding_aes_key: str) -> bytes:
    """The key of callbacks. Raises ValueError."""
    key = b64decode(encoding_aes_key + "=" * (-len(encoding_aes_key) % 4), validate=True)
    if len(key) != BLOCK:
        raise ValueError("it must have 43 characters of Base64")
    return key


def open_envelope(query: Mapping[str, str], encrypted: str, token: str, key: bytes, receiver: str) -> bytes | None:
    """Check the signature of a callback, and decrypt it; None if it is signed by somebody else. Raises ValueError."""
    signature = signature_of(token, query.get("timestamp", ""), query.get("nonce", ""), encrypted)
    if not hmac.compare_digest(query.get("msg_signature", "").encode(), signature.encode()):
        return None
    return decrypt(encrypted, key, receiver)


def decrypt(encrypted: str, key: bytes, receiver: str) -> bytes:
    """Decrypt a callback: 16 random bytes, a length, the message, its receiver. Raises ValueError."""
    decryptor = decryptor_of(key)
    data = unpadded(decryptor.update(b64decode(encrypted, validate=True)) + decryptor.finalize())
    if len(data) < 20:
        raise ValueError("the message cannot be read")
    (length,) = struct.unpack(">I", data[16:20])
    if data[20 + length :] != receiver.encode():
        raise ValueError("the message is for another receiver")
    return data[20 : 20 + length]


def decryptor_of(key: bytes) -> CipherContext:
    """The decryption of callbacks and files."""
    return Cipher(algorithms.AES(key), modes.CBC(key[:16])).decryptor()


def unpadded(data: bytes) -> bytes:
    """Take off the padding, which is up to a block long. Raises ValueError."""
    pad = data[-1] if data else 0
    if not 1 <= pad <= BLOCK or len(data) < pad:
        raise ValueError("the padding is wrong")
    return data[:-pad]


def fields_of(xml: bytes) -> dict[str, str]:
    """The elements of a callback. Raises ValueError."""
    try:
        root: Element = ElementTree.fromstring(xml)
    except (ParseError, DefusedXmlException) as error:
        raise ValueError("the message is no XML") from error
    return {each.tag: each.text or "" for each in root}


def event_of(fields: Mapping[str, str]) -> InboundEvent | None:
    """Read a callback; None for one that is no message of a member."""
    kind, sender = fields.get("MsgType", ""), fields.get("FromUserName", "")
    if not sender or not fields.get("MsgId") or kind == "event":
        return None
    text = fields.get("Content", "")
    if kind == "location":
        text = f"📍 {fields.get('Label', '')} ({fields.get('Location_X')}, {fields.get('Location_Y')})"
    elif kind == "link":
        text = f"{fields.get('Title', '')} {fields.get('Url', '')}"
    return InboundEvent(
        dedupe_key=fields["MsgId"],
        message_type="FriendMessage",
        session_id=sender,
        sender_id=sender,
        happened_at=datetime.fromtimestamp(int(fields.get("CreateTime") or 0), UTC),
        text=text.strip(),
        media=tuple(_media_of(kind, fields)),
        platform_id=fields["MsgId"],
    )


def _media_of(kind: str, fields: Mapping[str, str]) -> Iterator[InboundMedia]:
    if kind in _KINDS and (id := fields.get("MediaId")):
        yield InboundMedia(_KINDS[kind], {"media_id": id}, fields.get("FileName") or _NAMES[kind])
