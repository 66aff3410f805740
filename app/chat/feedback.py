"""What people think of messages: one opinion of each user on each message."""

from datetime import datetime
from typing import Literal

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    ForeignKey,
    Index,
    String,
    Text,
    UniqueConstraint,
    and_,
    delete,
    func,
    select,
    true,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Mapped, mapped_column

from app.auth.models import Principal, is_reserved
from app.auth.scopes import Scope
from app.chat import session_store, tree_store
from app.chat.models import RunRow
from app.chat.ownership import check_session
from app.chat.values import Message
from app.clock import utc_now
from app.database.engine import Database
from app.database.tables import Base, BigId, UtcDateTime, value_of

Rating = Literal["like", "dislike"]


class FeedbackRow(Base):
    """An opinion; `model` and `run_id` are those of the message that it is about."""

    __tablename__ = "feedback"
    __table_args__ = (
        UniqueConstraint("message_id", "username"),
        Index("ix_feedback_username_id", "username", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    message_id: Mapped[int] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"))
    session_id: Mapped[str] = mapped_column(String(255))
    username: Mapped[str] = mapped_column(String(255))
    rating: Mapped[str | None] = mapped_column(String(8))
    content: Mapped[str] = mapped_column(Text)
    run_id: Mapped[str | None] = mapped_column(String(36))
    model: Mapped[str | None] = mapped_column(String(255))
    key_id: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Feedback(msgspec.Struct, frozen=True):
    """A user's opinion on a message."""

    id: int
    message_id: int
    session_id: str
    username: str
    rating: Rating | None
    content: str
    run_id: str | None
    model: str | None
    created_at: datetime
    updated_at: datetime


class FeedbackFilter(msgspec.Struct, frozen=True):
    """Which opinions to list; what is None admits all."""

    username: str | None = None
    session_id: str | None = None
    rating: Rating | None = None


class FeedbackPage(msgspec.Struct, frozen=True):
    """Opinions, the newest first, and how many there are in all of those that were asked for."""

    feedback: list[Feedback]
    has_more: bool
    likes: int
    dislikes: int


class FeedbackService:
    """Giving opinions, and reading them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def give(
        self,
        principal: Principal,
        username: str,
        session_id: str,
        message_id: int,
        rating: Rating | None,
        content: str,
    ) -> Feedback | None:
        """Replace the user's opinion on a message; None when nothing is left of it. Raises NotFound, Forbidden."""
        check_session(principal, username, session_id)

        def give(connection: Connection) -> Feedback | None:
            session_store.get_session(connection, session_id, username)
            message = tree_store.get_message(connection, session_id, message_id)
            of_user = and_(FeedbackRow.message_id == message_id, FeedbackRow.username == username)
            if rating is None and not content:
                connection.execute(delete(FeedbackRow).where(of_user))
                return None
            values = {
                "message_id": message_id,
                "session_id": session_id,
                "username": username,
                "rating": rating,
                "content": content,
                "run_id": message.run_id,
                "model": _model_of(connection, message),
                "key_id": principal.key_id,
                "created_at": utc_now(),
                "updated_at": utc_now(),
            }
            add = postgresql.insert(FeedbackRow).values(**values)
            changes = {name: values[name] for name in ("rating", "content", "key_id", "updated_at")}
            connection.execute(add.on_conflict_do_update(index_elements=["message_id", "username"], set_=changes))
            return value_of(Feedback, connection.execute(select(FeedbackRow).where(of_user)).one())

        return await self._database.write(give)

    async def list_feedback(
        self, principal: Principal, chosen: FeedbackFilter, *, before: int | None, limit: int
    ) -> FeedbackPage:
        """List a user's opinions, or with the scope admin everyone's. Raises Forbidden, BadRequest."""
        if chosen.username is None:
            principal.check_unbound()
            principal.check_scope(Scope.ADMIN)
        else:
            principal.check_user(chosen.username)
        conditions = _conditions(chosen)
        if chosen.username is not None and is_reserved(chosen.username):  # several keys may have one name
            conditions &= FeedbackRow.key_id == principal.key_id

        def read(connection: Connection) -> FeedbackPage:
            page = select(FeedbackRow).where(conditions).order_by(FeedbackRow.id.desc()).limit(limit + 1)
            if before is not None:
                page = page.where(FeedbackRow.id < before)
            rows = [value_of(Feedback, row) for row in connection.execute(page)]
            count = select(FeedbackRow.rating, func.count()).where(conditions).group_by(FeedbackRow.rating)
            counts = {row[0]: row[1] for row in connection.execute(count)}
            return FeedbackPage(rows[:limit], len(rows) > limit, counts.get("like", 0), counts.get("dislike", 0))

        return await self._database.read(read)


def _conditions(chosen: FeedbackFilter) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [true()]
    if chosen.username is not None:
        conditions.append(FeedbackRow.username == chosen.username)
    if chosen.session_id is not None:
        conditions.append(FeedbackRow.session_id == chosen.session_id)
    if chosen.rating is not None:
        conditions.append(FeedbackRow.rating == chosen.rating)
    return and_(*conditions)


def _model_of(connection: Connection, message: Message) -> str | None:
    return connection.execute(select(RunRow.model).where(RunRow.id == message.run_id)).scalar_one_or_none()
