"""The identity of a database: a random id that it is given with its tables."""

from uuid import uuid4

from sqlalchemy import Connection, String, insert, select
from sqlalchemy.orm import Mapped, mapped_column

from app.database.tables import Base


class DatabaseIdentityRow(Base):
    """The one row with the id. A copy of the database has the same."""

    __tablename__ = "database_identity"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)


def identity_of(connection: Connection) -> str:
    """The id; a new one for a database that was emptied."""
    identity = connection.execute(select(DatabaseIdentityRow.id)).scalar()
    if identity is None:
        identity = str(uuid4())
        connection.execute(insert(DatabaseIdentityRow).values(id=identity))
    return identity
