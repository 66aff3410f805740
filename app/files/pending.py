"""Objects of uploads that are under way, as rows: functions of a connection.

What a kill leaves in a bucket, or in a folder that others use too, cannot be told from what is theirs. So an upload
there adds a row before its first byte, and removes it together with adding the attachment's. A row that has stayed
for a day names an object that nothing else does.
"""

from datetime import datetime, timedelta

from sqlalchemy import Boolean, Connection, String, delete, insert, select, update
from sqlalchemy.orm import Mapped, mapped_column

from app.database.clock import moment_in
from app.database.tables import Base, UtcDateTime

MAX_AGE = timedelta(days=1)


class PendingObjectRow(Base):
    """The object of an upload whose attachment is not there yet; one that `is_given_up` is being removed."""

    __tablename__ = "pending_objects"

    storage_key: Mapped[str] = mapped_column(String(255), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    is_given_up: Mapped[bool] = mapped_column(Boolean, default=False)


def add_pending(connection: Connection, key: str) -> None:
    connection.execute(insert(PendingObjectRow).values(storage_key=key, created_at=moment_in(), is_given_up=False))


def settle(connection: Connection, key: str) -> bool:
    """Forget an object that now has its attachment; False when it has been given up."""
    is_this = (PendingObjectRow.storage_key == key) & PendingObjectRow.is_given_up.is_(False)
    return connection.execute(delete(PendingObjectRow).where(is_this)).rowcount == 1


def give_up_old(connection: Connection, limit: int) -> list[str]:
    """Give up the objects of uploads older than MAX_AGE; the keys of up to `limit` that are to be removed."""
    is_old = PendingObjectRow.created_at < moment_in(-MAX_AGE)
    connection.execute(update(PendingObjectRow).where(is_old).values(is_given_up=True))
    query = select(PendingObjectRow.storage_key).where(PendingObjectRow.is_given_up.is_(True)).limit(limit)
    return list(connection.scalars(query))


def has_old(connection: Connection) -> bool:
    """Whether there is something to give up or to remove: an idle server writes nothing."""
    is_old = PendingObjectRow.created_at < moment_in(-MAX_AGE)
    return connection.execute(select(PendingObjectRow.storage_key).where(is_old).limit(1)).first() is not None


def forget(connection: Connection, keys: list[str]) -> None:
    """Forget objects that have been removed."""
    connection.execute(delete(PendingObjectRow).where(PendingObjectRow.storage_key.in_(keys)))
