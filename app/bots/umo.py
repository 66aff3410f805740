"""The unified message origin: a platform, and a message's destination there, as one string."""

from dataclasses import dataclass
from typing import Literal, cast, get_args

from app.errors import BadRequest
from app.text import CONTROL_CHARACTER

MessageType = Literal["FriendMessage", "GroupMessage", "OtherMessage"]
MESSAGE_TYPES: frozenset[str] = frozenset(get_args(MessageType))
MAX_UMO_CHARS = 640  # fits a platform, a type, and a webchat session with its user
UMO_PATTERN = (
    r"^\s*[^:\s\x00-\x1f\x7f-\x9f][^:\x00-\x1f\x7f-\x9f]*"
    r":[^\S\x00-\x1f\x7f-\x9f]*(FriendMessage|GroupMessage|OtherMessage)[^\S\x00-\x1f\x7f-\x9f]*"
    r":[^\S\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*\Z"
)
"""The form of a umo, for the schema."""


@dataclass(frozen=True, slots=True)
class Umo:
    """`platform_id:message_type:session_id`; the session id may itself contain colons."""

    platform_id: str
    message_type: MessageType
    session_id: str

    def __str__(self) -> str:
        return f"{self.platform_id}:{self.message_type}:{self.session_id}"


def parse_umo(raw: object) -> Umo:
    """Parse a client's umo. Raises BadRequest `Invalid umo: <problem>`."""
    if not isinstance(raw, str):
        raise invalid_umo("must be a string")
    if len(raw) > MAX_UMO_CHARS:
        raise invalid_umo(f"longer than {MAX_UMO_CHARS} characters")
    text = raw.strip()
    if CONTROL_CHARACTER.search(text):
        raise invalid_umo("holds control characters")
    pieces = text.split(":", 2)
    if len(pieces) < 3:
        raise invalid_umo("must be platform_id:message_type:session_id")
    platform_id, message_type, session_id = (piece.strip() for piece in pieces)
    if not platform_id:
        raise invalid_umo("platform_id is empty")
    if message_type not in MESSAGE_TYPES:
        raise invalid_umo(f"message_type must be one of {', '.join(get_args(MessageType))}")
    if not session_id:
        raise invalid_umo("session_id is empty")
    return Umo(platform_id, cast(MessageType, message_type), session_id)


def invalid_umo(problem: str) -> BadRequest:
    return BadRequest(f"Invalid umo: {problem}", code="invalid_umo")
