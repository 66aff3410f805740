"""Deliveries as they are stored, and as the rest of Palaver sees them."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.bots.umo import MAX_UMO_CHARS
from app.database.tables import Base, BigId, UtcDateTime

LEASE = timedelta(seconds=30)
"""A server that does not renew it for so long has lost the deliveries under way."""
CALLBACK_LEASE = timedelta(seconds=60)
"""A callback that its server has not dealt with by then is another's."""


class DeliveryState(StrEnum):
    """Of a delivery. `QUEUED` and `SENDING` ones hold up those after them in the same chat."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    PARTIAL = "partial"
    UNKNOWN = "unknown"
    DEAD = "dead"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


OPEN_STATES = (DeliveryState.QUEUED, DeliveryState.SENDING)


class FragmentState(StrEnum):
    """Of a fragment. `SENDING` is committed before the request is written; a crash makes it `UNKNOWN`."""

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class DeliveryRow(Base):
    """One message to one chat. `target` is the umo without the bot.

    A reply has no fragments before its turn comes. `live_ids` are the messages in which people saw it being made.

    `waits` says that a request waits for the end. `callback` is an address to tell of it, and its secret, encrypted;
    `callback_at` is when to try it next, and while a server does, when another one may; None when there is nothing to
    do.
    """

    __tablename__ = "im_messages"

    seq: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(36), unique=True)
    bot_id: Mapped[str] = mapped_column(String(64))
    target: Mapped[str] = mapped_column(String(MAX_UMO_CHARS))
    origin: Mapped[str] = mapped_column(String(8))
    key_id: Mapped[str] = mapped_column(String(64))
    username: Mapped[str | None] = mapped_column(String(255))
    message_key: Mapped[str] = mapped_column(String(128))
    parts: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    live_ids: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    state: Mapped[str] = mapped_column(String(16))
    waits: Mapped[bool] = mapped_column(Boolean)
    not_before: Mapped[datetime] = mapped_column(UtcDateTime)
    deadline: Mapped[datetime] = mapped_column(UtcDateTime)
    attempts: Mapped[int] = mapped_column(Integer)
    owner: Mapped[str | None] = mapped_column(String(36))
    leased_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_status: Mapped[int | None] = mapped_column(Integer)
    error: Mapped[str | None] = mapped_column(Text)
    callback: Mapped[bytes | None] = mapped_column(LargeBinary)
    callback_at: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    callback_tries: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        UniqueConstraint("bot_id", "message_key", name="uq_im_messages_bot_id_message_key"),
        Index("ix_im_messages_lane", "bot_id", "target", "state", "seq"),
        Index("ix_im_messages_due", "state", "not_before"),
        Index("ix_im_messages_finished_at", "finished_at"),
    )


class FragmentRow(Base):
    """One visible call of a delivery. `payload` is the adapter's; `plain` the one without formatting."""

    __tablename__ = "im_fragments"

    message_seq: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("im_messages.seq", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    no: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    action: Mapped[str] = mapped_column(String(8))
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)
    plain: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    attachment_id: Mapped[str | None] = mapped_column(String(36))
    edited_id: Mapped[str | None] = mapped_column(String(255))
    wire_key: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int] = mapped_column(Integer)
    first_tried_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    platform_id: Mapped[str | None] = mapped_column(String(255), index=True)
    extra: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    error: Mapped[str | None] = mapped_column(Text)


class PauseRow(Base):
    """A chat, or with an empty target a whole bot, that takes nothing until a time."""

    __tablename__ = "im_pauses"

    bot_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    target: Mapped[str] = mapped_column(String(MAX_UMO_CHARS), primary_key=True)
    until: Mapped[datetime] = mapped_column(UtcDateTime)
    reason: Mapped[str] = mapped_column(String(16))
    error: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class PauseReason(StrEnum):
    RATE_LIMITED = "rate_limited"
    TARGET_GONE = "target_gone"
    UNAUTHORIZED = "unauthorized"


class StoredFragment(msgspec.Struct, frozen=True, kw_only=True):
    message_seq: int
    no: int
    action: str
    payload: Mapping[str, Any]
    plain: Mapping[str, Any] | None
    attachment_id: str | None
    edited_id: str | None
    wire_key: str
    state: FragmentState
    attempts: int
    first_tried_at: datetime | None
    platform_id: str | None
    extra: Mapping[str, Any] | None
    error: str | None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A message on its way, or at its end."""

    seq: int
    id: str
    bot_id: str
    target: str
    origin: str
    key_id: str
    username: str | None
    message_key: str
    parts: Sequence[Mapping[str, Any]]
    live_ids: Sequence[str] | None
    state: DeliveryState
    waits: bool
    not_before: datetime
    deadline: datetime
    attempts: int
    error_code: str | None
    error_status: int | None
    error: str | None
    callback: bytes | None
    callback_at: datetime | None
    callback_tries: int
    created_at: datetime
    finished_at: datetime | None
    fragments: Sequence[StoredFragment] = ()

    @property
    def umo(self) -> str:
        return f"{self.bot_id}:{self.target}"

    @property
    def is_open(self) -> bool:
        return self.state in OPEN_STATES

    @property
    def message_ids(self) -> list[str]:
        """The platform's ids of the fragments, in their order."""
        return [each.platform_id for each in self.fragments if each.platform_id is not None]
