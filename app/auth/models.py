"""Keys as they are stored, and callers as the other slices see them."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import msgspec
from sqlalchemy import JSON, BigInteger, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from app.auth.limits import KeyLimits
from app.auth.scopes import Scope
from app.database.tables import Base, UtcDateTime
from app.errors import BadRequest, Forbidden

KeyStatus = Literal["live", "blocked", "expired", "revoked"]
KEY_CREATOR_PREFIX = "api:"
"""The prefix of the creator of an unbound key's sessions on /v1; the key's name follows."""
ANONYMOUS_ID = "anonymous"
"""The key of everyone, on a server without keys."""
RESERVED_PREFIXES = (KEY_CREATOR_PREFIX, "im!")
"""The prefixes of creators that are no users; `im!` is for people who write to a bot."""


class ApiKeyRow(Base):
    """One key. Its text is not here: only its keyed hash, and the first characters to tell it from others.

    Rotation gives a key a new text under the same id, so that what belongs to it stays with it; the old text is
    good until `previous_expires_at`.
    """

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    prefix: Mapped[str] = mapped_column(String(16))
    digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    previous_digest: Mapped[bytes | None] = mapped_column(LargeBinary(32), unique=True)
    previous_expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    scopes: Mapped[list[str]] = mapped_column(JSON)
    username: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    parent_id: Mapped[str | None] = mapped_column(String(36), index=True)
    limits: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    blocked: Mapped[bool] = mapped_column(default=False)


class KeyClockRow(Base):
    """The latest time that keys have seen, and how often keys have been changed, in one row."""

    __tablename__ = "key_clock"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    latest: Mapped[datetime] = mapped_column(UtcDateTime)
    changes: Mapped[int] = mapped_column(BigInteger, server_default="0")


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key without its text. The text before the last rotation stays good until `previous_expires_at`.

    `parent_id` is the key that made it.
    """

    id: str
    name: str
    prefix: str
    scopes: frozenset[Scope]
    username: str | None
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    previous_expires_at: datetime | None = None
    parent_id: str | None = None
    limits: KeyLimits | None = None
    blocked: bool = False

    def status(self, now: datetime) -> KeyStatus:
        if self.is_over(now):
            return "expired" if self.revoked_at is None else "revoked"
        return "blocked" if self.blocked else "live"

    def is_over(self, now: datetime) -> bool:
        """Whether the key has ended for good."""
        return self.revoked_at is not None or (self.expires_at is not None and now >= self.expires_at)

    @property
    def sorted_scopes(self) -> list[Scope]:
        return [scope for scope in Scope if scope in self.scopes]


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller: its key, what the key may do, and the one user it may act as (None: any).

    `digest` is the keyed hash of the key's text, by which a long connection is checked again, and `session` that of a
    browser session's text, empty for a caller that sends the key itself. `writer` is the creator of the sessions of a
    chat for which a bot is the caller.
    """

    key_id: str
    name: str
    scopes: frozenset[Scope]
    username: str | None = None
    digest: bytes = field(default=b"", compare=False, repr=False)
    session: bytes = field(default=b"", compare=False, repr=False)
    limits: KeyLimits | None = field(default=None, compare=False)
    writer: str = ""

    @property
    def is_browser(self) -> bool:
        """Whether the caller is a browser session of the key."""
        return bool(self.session)

    @property
    def is_anonymous(self) -> bool:
        return self.key_id == ANONYMOUS_ID

    @property
    def creator(self) -> str:
        """The creator of the key's sessions on /v1."""
        return self.username or self.writer or f"{KEY_CREATOR_PREFIX}{self.name}"

    def check_scope(self, scope: Scope) -> None:
        """Raises Forbidden when the key lacks the scope."""
        if scope not in self.scopes:
            raise Forbidden("Insufficient API key scope", code="insufficient_scope")

    def check_user(self, username: str) -> None:
        """Raises Forbidden when the key is bound to another user, BadRequest for a reserved name but its own."""
        if is_reserved(username) and (self.username is not None or username != self.creator):
            check_not_reserved(username)
        if self.username is not None and self.username != username:
            raise Forbidden("The API key is bound to another username", code="username_not_allowed")

    def check_unbound(self) -> None:
        """Raises Forbidden when the key is bound to a user."""
        if self.username is not None:
            raise Forbidden("The API key is bound to a username", code="username_not_allowed")


def is_reserved(username: str) -> bool:
    return username.startswith(RESERVED_PREFIXES)


def check_not_reserved(username: str) -> None:
    """Raises BadRequest for a username that begins as only Palaver's own do."""
    if is_reserved(username):
        prefixes = " and ".join(RESERVED_PREFIXES)
        raise BadRequest(f"Usernames that begin with {prefixes} are reserved", code="username_reserved")
