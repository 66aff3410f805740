"""Rows of sessions and messages, as they are first written."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from app.chat import statements
from app.chat.parts import Media, Part, plain_text, to_stored
from app.chat.values import KEYS_PREFIX, WEBCHAT, MessageRole, MessageStatus
from app.errors import BadRequest

TITLE_CHARS = 60


def add_session(
    connection: Connection,
    session_id: str,
    creator: str,
    parts: Sequence[Part],
    config_id: str | None,
    now: datetime,
    platform_id: str = WEBCHAT,
) -> None:
    if platform_id == WEBCHAT and session_id.startswith(KEYS_PREFIX):
        raise BadRequest(f"session ids that begin with {KEYS_PREFIX} are kept for /v1", code="invalid_session_id")
    statements.ADD_SESSION.change(
        connection,
        id=session_id,
        platform_id=platform_id,
        creator=creator,
        display_name=title_of(parts),
        is_group=0,
        config_id=config_id,
        created_at=now,
        updated_at=now,
    )


def message_values(
    session_id: str, run_id: str | None, role: MessageRole, status: MessageStatus, parts: Sequence[Part], now: datetime
) -> dict[str, Any]:
    return {
        "session_id": session_id,
        "run_id": run_id,
        "role": role.value,
        "status": status.value,
        "parts": to_stored(parts),
        "reasoning": "",
        "created_at": now,
    }


def title_of(parts: Sequence[Part]) -> str | None:
    """A session's first name: the beginning of its first message, or of its first file's name."""
    text = " ".join(plain_text(parts)[: 4 * TITLE_CHARS].split())
    if not text:
        text = next((part.filename for part in parts if isinstance(part, Media) and part.filename), "")
    if len(text) <= TITLE_CHARS:
        return text or None
    shortened = text[: TITLE_CHARS - 1]
    # Cut between words where there are words, which not every script parts by spaces.
    head, space, _ = shortened.rpartition(" ")
    return (head if space and len(head) > TITLE_CHARS // 2 else shortened) + "…"
