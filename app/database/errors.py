"""Faults of the database, as the error that callers see."""

import re
import sqlite3

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.errors import Unavailable

DRIVER_ERRORS = (DBAPIError, PoolTimeout, sqlite3.Error)


class DatabaseUnavailable(Unavailable):
    """The database did not take the request: disk full, locked by another process, gone."""

    code = "database_unavailable"

    def __init__(self) -> None:
        super().__init__("The database is not available at the moment; nothing was changed")


def is_fault(error: Exception) -> bool:
    """Whether the database failed, and not the statement."""
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout | sqlite3.OperationalError):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    # SQLite reports a full disk or a damaged file as a plain DatabaseError.
    return re.search(r"full|malformed|disk|not a database", str(getattr(error, "orig", error))) is not None
