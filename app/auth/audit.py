"""The audit trail: who changed what, written in the transaction of the change."""

from collections.abc import Iterable
from datetime import datetime

import msgspec
from msgspec import structs
from sqlalchemy import Connection, String, insert, select
from sqlalchemy.orm import Mapped, mapped_column

from app.database.tables import Base, BigId, UtcDateTime, value_of


class AuditRow(Base):
    """One change. `key_id` is the caller's key, None for the command line; `address` is where the request came from."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    key_id: Mapped[str | None] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(64))
    target: Mapped[str] = mapped_column(String(255))
    address: Mapped[str | None] = mapped_column(String(64))


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, such as `api_key.created`, and to what."""

    at: datetime
    key_id: str | None
    action: str
    target: str
    address: str | None = None


class AuditEntry(Change, frozen=True, kw_only=True):
    """A change that is written down."""

    id: int


def record_changes(connection: Connection, changes: Iterable[Change]) -> None:
    connection.execute(insert(AuditRow), [structs.asdict(change) for change in changes])


def list_entries(connection: Connection, *, before: int | None, limit: int) -> list[AuditEntry]:
    """List the newest entries, of those with an id below `before`."""
    query = select(AuditRow).order_by(AuditRow.id.desc()).limit(limit)
    if before is not None:
        query = query.where(AuditRow.id < before)
    return [value_of(AuditEntry, row) for row in connection.execute(query)]
