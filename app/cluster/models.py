"""The table of servers."""

from collections.abc import Mapping
from datetime import datetime

import msgspec
from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped, mapped_column

from app.database.tables import Base, UtcDateTime

Load = Mapping[str, Mapping[str, int]]
"""What goes on at a server: for each kind (runs, streams, websockets), how many there are of each key."""


class ServerRow(Base):
    """A server on a database that several may share. `seen_at` is the database's time; a server that leaves is deleted.

    One that `holds_lock` has PostgreSQL's advisory lock of its id, which its death gives up at once.
    """

    __tablename__ = "servers"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    hostname: Mapped[str] = mapped_column(String(255))
    address: Mapped[str] = mapped_column(String(255))
    version: Mapped[str] = mapped_column(String(64))
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    holds_lock: Mapped[bool]
    load: Mapped[dict[str, dict[str, int]]] = mapped_column(JSON)


class ServerInfo(msgspec.Struct, frozen=True):
    """What a server says of itself when it joins; `address` is where it listens."""

    id: str
    hostname: str
    address: str
    version: str


class Server(msgspec.Struct, frozen=True):
    """A server, as the database knows it."""

    id: str
    hostname: str
    address: str
    version: str
    started_at: datetime
    seen_at: datetime
    load: Load
    is_live: bool = True

    def total(self, kind: str) -> int:
        """Return how many there are of a kind, of all keys."""
        return sum(self.load.get(kind, {}).values())
