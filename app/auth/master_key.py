"""Whether the master key is the one that the database was first used with.

Keys are hashed with it, and bots' secrets encrypted: with another one, every caller would be turned away.
"""

import hmac

from sqlalchemy import Connection, Integer, LargeBinary, delete, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Mapped, mapped_column

from app.crypto import SecretBox
from app.database.engine import Database
from app.database.tables import Base
from app.errors import OperatorError


class MasterKeyRow(Base):
    """The one row with a digest by which the master key is known again."""

    __tablename__ = "master_key"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    digest: Mapped[bytes] = mapped_column(LargeBinary)


class WrongMasterKey(OperatorError):
    """Another master key than the database's."""


_FIND = select(MasterKeyRow.digest)
# Both databases have the clause, and SQLite's compiler takes PostgreSQL's word for it.
_ADD = postgresql.insert(MasterKeyRow).on_conflict_do_nothing()


async def check_master_key(database: Database, secrets: SecretBox) -> None:
    """Compare the master key with the database's, which the first one becomes.

    Raises WrongMasterKey, DatabaseUnavailable.
    """
    digest = _digest(secrets)
    stored = await database.read(lambda connection: connection.scalar(_FIND))
    if stored is None:

        def add(connection: Connection) -> bytes:
            connection.execute(_ADD, {"id": 1, "digest": digest})
            return connection.execute(_FIND).scalar_one()  # another server may have been first

        stored = await database.write(add)
    if not hmac.compare_digest(stored, digest):
        raise WrongMasterKey(
            "The master key is not the one that this database was made with: set PALAVER_SECRET_KEY to that one, or "
            "put its secret.key into the data folder; where it is lost, palaver db adopt-key goes on without it"
        )


async def adopt_master_key(database: Database, secrets: SecretBox) -> None:
    """Make this master key the database's. Raises DatabaseUnavailable."""

    def replace(connection: Connection) -> None:
        connection.execute(delete(MasterKeyRow))
        connection.execute(_ADD, {"id": 1, "digest": _digest(secrets)})

    await database.write(replace)


def _digest(secrets: SecretBox) -> bytes:
    return secrets.digest(b"palaver master key check v1")
