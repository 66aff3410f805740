"""Sessions, messages and runs: as they are stored, and as values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.kit.db import Base, BigId, UtcDateTime

WEBCHAT = "webchat"
KEYS_PREFIX = "v1:"
"""How the ids of sessions begin that belong to an API key: nobody else can make one in its name."""
API = "api"
"""The platforms of sessions: those begun in the Open API, and those begun in the doors that speak OpenAI's API."""


class Role(StrEnum):
    USER = "user"
    ASSISTANT = "assistant"


class MessageStatus(StrEnum):
    """`PENDING` is the place kept for a reply that is being made: it is never shown."""

    PENDING = "pending"
    COMPLETE = "complete"
    PARTIAL = "partial"
    FAILED = "failed"


class RunStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"


OPEN_STATUSES = (RunStatus.QUEUED, RunStatus.RUNNING)


class SessionRow(Base):
    """A conversation. It belongs to its creator, whom no other username can read or continue."""

    __tablename__ = "sessions"
    __table_args__ = (Index("ix_sessions_creator_updated_at", "creator", "updated_at", "id"),)

    id: Mapped[str] = mapped_column(String(255), primary_key=True)
    platform_id: Mapped[str] = mapped_column(String(64))
    creator: Mapped[str] = mapped_column(String(255))
    display_name: Mapped[str | None] = mapped_column(String(255))
    is_group: Mapped[int] = mapped_column(Integer, default=0)
    config_id: Mapped[str | None] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


class SessionCountRow(Base):
    """How many sessions a user has; triggers on `sessions` keep it, in the transaction that adds or deletes one."""

    __tablename__ = "session_counts"

    creator: Mapped[str] = mapped_column(String(255), primary_key=True)
    platform_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)


class MessageRow(Base):
    """A message. A reply's row is made with its question's, so that ids are the order of the conversation."""

    __tablename__ = "messages"
    __table_args__ = (
        Index("ix_messages_session_id_id", "session_id", "id"),
        Index("uq_messages_dedupe_key", "dedupe_key", unique=True),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    run_id: Mapped[str | None] = mapped_column(String(36))
    role: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16))
    parts: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    reasoning: Mapped[str] = mapped_column(Text, default="")
    token_usage: Mapped[dict[str, int] | None] = mapped_column(JSON)
    refs: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON)
    dedupe_key: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class RunRow(Base):
    """One reply being made, or made. `owner` is the process that makes it, and holds it until `leased_until`.

    A run without a session answers a request that brought its conversation along; it has no messages either.
    """

    __tablename__ = "runs"
    __table_args__ = (
        Index("ix_runs_session_id", "session_id"),
        Index("ix_runs_status_leased_until", "status", "leased_until"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    session_id: Mapped[str | None] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    username: Mapped[str] = mapped_column(String(255))
    key_id: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(16))
    streaming: Mapped[bool]
    user_message_id: Mapped[int | None] = mapped_column(BigId)
    reply_message_id: Mapped[int | None] = mapped_column(BigId)
    message_id: Mapped[str] = mapped_column(String(255))
    config_id: Mapped[str] = mapped_column(String(100))
    provider_id: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(255))
    error_code: Mapped[str | None] = mapped_column(String(64))
    error: Mapped[str | None] = mapped_column(Text)
    owner: Mapped[str] = mapped_column(String(36))
    leased_until: Mapped[datetime] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class RunEventsRow(Base):
    """A stretch of a run's log: the events from number `first` on, as app.chat.events encodes them."""

    __tablename__ = "run_events"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    first: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    events: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


@dataclass(frozen=True, slots=True)
class Session:
    id: str
    platform_id: str
    creator: str
    display_name: str | None
    is_group: int
    config_id: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it is shown; `parts` are JSON objects (app.chat.parts), `refs` those of app.chat.events.Ref."""

    id: int
    session_id: str
    run_id: str | None
    role: Role
    status: MessageStatus
    parts: Sequence[Mapping[str, Any]]
    reasoning: str
    token_usage: Mapping[str, int] | None
    created_at: datetime
    refs: Sequence[Mapping[str, Any]] = ()


class Run(msgspec.Struct, frozen=True, gc=False):
    """A run as it was accepted, and as far as it has come; without a session it has no messages either.

    A struct of msgspec: with so many fields it is made in a tenth of a dataclass's time.
    """

    id: str
    session_id: str | None
    username: str
    key_id: str
    status: RunStatus
    streaming: bool
    user_message_id: int | None
    reply_message_id: int | None
    message_id: str
    config_id: str
    provider_id: str
    model: str
    error_code: str | None
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


def session_of(row: Any) -> Session:
    return Session(
        id=row.id,
        platform_id=row.platform_id,
        creator=row.creator,
        display_name=row.display_name,
        is_group=row.is_group,
        config_id=row.config_id,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def message_of(row: Any) -> Message:
    return Message(
        id=row.id,
        session_id=row.session_id,
        run_id=row.run_id,
        role=Role(row.role),
        status=MessageStatus(row.status),
        parts=row.parts,
        reasoning=row.reasoning,
        token_usage=row.token_usage,
        created_at=row.created_at,
        refs=row.refs or (),
    )


def run_of(row: Any) -> Run:
    return Run(
        id=row.id,
        session_id=row.session_id,
        username=row.username,
        key_id=row.key_id,
        status=RunStatus(row.status),
        streaming=row.streaming,
        user_message_id=row.user_message_id,
        reply_message_id=row.reply_message_id,
        message_id=row.message_id,
        config_id=row.config_id,
        provider_id=row.provider_id,
        model=row.model,
        error_code=row.error_code,
        error=row.error,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
