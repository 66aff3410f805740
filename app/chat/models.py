"""The tables of sessions, messages, runs and their events."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    false,
    literal_column,
    text,
    true,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.database.tables import Base, BigId, UtcDateTime

_IS_OPEN = "status IN ('queued', 'running', 'requires_action')"
IS_OPEN: ColumnElement[bool] = literal_column(f"runs.{_IS_OPEN}", Boolean)
"""Whether a run is open, in the words of the index of open runs: a database uses it for the same ones only."""


class SessionRow(Base):
    """A conversation, which only its creator can read or continue."""

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
    labels: Mapped[list[str]] = mapped_column(JSON, server_default="[]")
    pinned: Mapped[bool] = mapped_column(server_default=false())


class SessionCountRow(Base):
    """The number of a user's sessions; triggers on `sessions` keep it up to date."""

    __tablename__ = "session_counts"

    creator: Mapped[str] = mapped_column(String(255), primary_key=True)
    platform_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)


class MessageRow(Base):
    """A message. A reply's row is added right after its question's, so that ids have the conversation's order.

    The messages of a session are a tree, in which `parent_id` has a lower id. Those `on_path` are shown: a chain from
    a root to a leaf.
    """

    __tablename__ = "messages"
    __table_args__ = (
        Index("ix_messages_session_id_id", "session_id", "id"),
        Index("uq_messages_dedupe_key", "dedupe_key", unique=True),
        Index(
            "ix_messages_session_id_parent_id",
            "session_id",
            "parent_id",
            sqlite_where=text("on_path = 0"),
            postgresql_where=text("NOT on_path"),
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    parent_id: Mapped[int | None] = mapped_column(BigId)
    on_path: Mapped[bool] = mapped_column(server_default=true())
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
    """The making of one reply. `owner` is the server that makes it.

    A run without a session answers a request that brought its conversation along; it has no messages either. `place`
    orders the runs of a session that wait for their turn, where several servers have them; `stop_reason` is the reason
    for which another server wants the run to end.
    """

    __tablename__ = "runs"
    __table_args__ = (
        Index("ix_runs_session_id", "session_id"),
        Index("ix_runs_open", "session_id", sqlite_where=text(_IS_OPEN), postgresql_where=text(_IS_OPEN)),
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
    place: Mapped[int | None]
    stop_reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    reservation: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    input_tokens: Mapped[int | None] = mapped_column(BigInteger)
    cached_tokens: Mapped[int | None] = mapped_column(BigInteger)
    output_tokens: Mapped[int | None] = mapped_column(BigInteger)
    cost: Mapped[int | None] = mapped_column(BigInteger)
    first_token_ms: Mapped[int | None]


class RunEventsRow(Base):
    """Consecutive events of a run's log, from number `first` on, as app.chat.runs.events encodes them."""

    __tablename__ = "run_events"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    first: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    events: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class ApprovalRow(Base):
    """A call of a tool that waits for a person's yes or no; `decision` is approved, denied or expired."""

    __tablename__ = "approvals"
    __table_args__ = (
        Index("ix_approvals_run_id", "run_id"),
        Index("ix_approvals_created_at_id", "created_at", "id"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    call_id: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    arguments: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    decision: Mapped[str | None] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(Text)
    decided_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class PausedRunRow(Base):
    """The plan of a run that waits for approvals, as app.chat.runs.paused encodes it: it survives a restart."""

    __tablename__ = "paused_runs"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    plan: Mapped[bytes] = mapped_column(LargeBinary)
