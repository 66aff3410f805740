"""Who searches, how far each session is indexed, and what is found."""

from datetime import datetime

import msgspec
from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.chat.values import Message, Session
from app.database.tables import Base, BigId, UtcDateTime


class SearchOwnerRow(Base):
    """A user who has searched, or an API key; what was changed before `indexed_at` is indexed."""

    __tablename__ = "search_owners"
    __table_args__ = ({"sqlite_autoincrement": True},)

    number: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    indexed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class SearchSessionRow(Base):
    """A session whose messages are indexed up to `message_id`."""

    __tablename__ = "search_sessions"

    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True)
    message_id: Mapped[int] = mapped_column(BigId)


class Owner(msgspec.Struct, frozen=True):
    """Whose messages are searched: a user's, or with `id_prefix` a key's.

    `name` is what the index knows the owner by.
    """

    creator: str
    id_prefix: str | None = None

    @property
    def name(self) -> str:
        return self.creator if self.id_prefix is None else self.id_prefix


class FoundMessage(msgspec.Struct, frozen=True):
    """A message with all words of a query."""

    message: Message
    display_name: str | None
    snippet: str
    score: float


class Found(msgspec.Struct, frozen=True):
    """What a search found, the newest first; not `is_complete` while older messages are being indexed."""

    messages: list[FoundMessage]
    sessions: list[Session]
    has_more: bool
    is_complete: bool
