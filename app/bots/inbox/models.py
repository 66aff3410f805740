"""What came from platforms, and the bots' connections, as they are stored."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import JSON, Boolean, Index, Integer, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.bots.umo import MAX_UMO_CHARS
from app.database.tables import Base, BigId, UtcDateTime

LISTENER_LEASE = timedelta(seconds=15)
EVENT_LEASE = timedelta(seconds=60)
"""An event that its server has not dealt with by then is another's."""


class EventState(StrEnum):
    NEW = "new"
    DONE = "done"
    IGNORED = "ignored"
    DEAD = "dead"


class EventRow(Base):
    """One event; `reason` says why it was ignored or is dead, `run_id` what came of it."""

    __tablename__ = "im_inbox"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    bot_id: Mapped[str] = mapped_column(String(64))
    dedupe_key: Mapped[str] = mapped_column(String(255))
    target: Mapped[str] = mapped_column(String(MAX_UMO_CHARS))
    platform_id: Mapped[str] = mapped_column(String(255))
    event: Mapped[dict[str, Any]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(String(64))
    run_id: Mapped[str | None] = mapped_column(String(36))
    attempts: Mapped[int] = mapped_column(Integer)
    owner: Mapped[str] = mapped_column(String(36))
    leased_until: Mapped[datetime] = mapped_column(UtcDateTime)
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (
        UniqueConstraint("bot_id", "dedupe_key", name="uq_im_inbox_bot_id_dedupe_key"),
        Index("ix_im_inbox_lane", "bot_id", "target", "state", "id"),
        Index("ix_im_inbox_state", "state", "leased_until"),
        Index("ix_im_inbox_received_at", "received_at"),
        Index("ix_im_inbox_platform_id", "bot_id", "target", "platform_id"),
    )


class ListenerRow(Base):
    """The connection of a bot: whose it is, how it is, and how far the adapter has read."""

    __tablename__ = "im_leases"

    bot_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    owner: Mapped[str | None] = mapped_column(String(36))
    leased_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    state: Mapped[str] = mapped_column(String(16))
    since: Mapped[datetime] = mapped_column(UtcDateTime)
    last_error: Mapped[str | None] = mapped_column(Text)
    identity: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    checkpoint: Mapped[dict[str, Any]] = mapped_column(JSON)


class ContextRow(Base):
    """A right to reply in a chat; `token` is encrypted, `number` counts its uses."""

    __tablename__ = "im_contexts"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    bot_id: Mapped[str] = mapped_column(String(64))
    target: Mapped[str] = mapped_column(String(MAX_UMO_CHARS))
    token: Mapped[bytes] = mapped_column(LargeBinary)
    uses_left: Mapped[int] = mapped_column(Integer)
    number: Mapped[int] = mapped_column(Integer)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)

    __table_args__ = (Index("ix_im_contexts_lane", "bot_id", "target", "expires_at"),)


class ChatRow(Base):
    """A chat whose session was begun anew; `generation` counts that."""

    __tablename__ = "im_chats"

    bot_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    chat: Mapped[str] = mapped_column(String(MAX_UMO_CHARS + 256), primary_key=True)
    generation: Mapped[int] = mapped_column(Integer)


class PairingRow(Base):
    """A person who asked to talk to a bot; `approved` is None as long as nobody has decided."""

    __tablename__ = "im_pairings"

    bot_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    sender_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    code: Mapped[str] = mapped_column(String(16))
    sender_name: Mapped[str] = mapped_column(String(255))
    approved: Mapped[bool | None] = mapped_column(Boolean)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    decided_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (UniqueConstraint("bot_id", "code", name="uq_im_pairings_bot_id_code"),)


class LiveRow(Base):
    """The messages of a platform in which people see a reply while it is made."""

    __tablename__ = "im_live"

    run_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    bot_id: Mapped[str] = mapped_column(String(64))
    target: Mapped[str] = mapped_column(String(MAX_UMO_CHARS))
    platform_ids: Mapped[list[str]] = mapped_column(JSON)
    opened_at: Mapped[datetime] = mapped_column(UtcDateTime)


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    bot_id: str
    dedupe_key: str
    target: str
    platform_id: str
    event: Mapping[str, Any]
    state: EventState
    reason: str | None
    run_id: str | None
    attempts: int
    received_at: datetime


class ConnectionState(StrEnum):
    CONNECTING = "connecting"
    CONNECTED = "connected"
    FAILED = "failed"


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """How a bot's connection is."""

    bot_id: str
    state: ConnectionState
    since: datetime
    last_error: str | None
    identity: Mapping[str, Any] | None


class Pairing(msgspec.Struct, frozen=True, kw_only=True):
    bot_id: str
    sender_id: str
    code: str
    sender_name: str
    approved: bool | None
    created_at: datetime
    decided_at: datetime | None
