"""Browser tokens and browser sessions as they are stored: their texts are not, only the keyed hashes of them."""

from dataclasses import replace
from datetime import datetime

import msgspec
from sqlalchemy import JSON, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from app.auth.models import Principal
from app.auth.scopes import Scope
from app.database.tables import Base, UtcDateTime


class BrowserTokenRow(Base):
    """A token that has not been used. It is good until `expires_at`, and once."""

    __tablename__ = "browser_tokens"

    digest: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(64))
    key_digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    username: Mapped[str | None] = mapped_column(String(255))
    scopes: Mapped[list[str]] = mapped_column(JSON)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class BrowserSessionRow(Base):
    """A session of a browser. It ends at `expires_at`, or with the text of the key that it comes from."""

    __tablename__ = "browser_sessions"

    digest: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(64), index=True)
    key_digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    username: Mapped[str | None] = mapped_column(String(255))
    scopes: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What of a key a token or a session passes on: some scopes, for a user (None: the key's own).

    `key_digest` is the hash of the key's text, so that the grant ends when that text is rotated away.
    """

    key_id: str
    key_digest: bytes
    username: str | None
    scopes: frozenset[Scope]
    expires_at: datetime

    def narrow(self, principal: Principal, session: bytes) -> Principal:
        """Return the key's principal as the session with this hash has it."""
        return replace(
            principal,
            scopes=principal.scopes & self.scopes,
            username=principal.username or self.username,
            session=session,
        )
