"""Faults of the database, as the error that callers see."""

import re
import sqlite3

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.errors import Unavailable

DRIVER_ERRORS = (DBAPIError, PoolTimeout, sqlite3.Error)

_CONFLICTS = frozenset(
    {
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
    }
)
_OVERTAKEN = frozenset(
    {
        "23503",  # foreign_key_violation
        "23505",  # unique_violation
    }
)
_FAULT_CLASSES = (
    "08",  # the connection
    "25006",  # a standby, which writes nothing
    "25P03",  # a transaction was idle for too long
    "25P04",  # a transaction took too long
    "28",  # the password or the user's rights have changed
    "3D",  # the database is not there
    "40",  # conflicts that did not end
    "53",  # no connections, no memory, a full disk
    "55P03",  # a lock was not given in time
    "57",  # shutting down, starting, or a statement took too long
    "58",  # the system around it
    "F0",  # its configuration
    "XX",  # its own errors, damaged data
)


class DatabaseUnavailable(Unavailable):
    """The database did not take the request: disk full, locked by another process, gone.

    `is_certain` says that nothing was changed.
    """

    code = "database_unavailable"

    def __init__(self, *, is_certain: bool = True) -> None:
        self.is_certain = is_certain
        outcome = "nothing was changed" if is_certain else "whether the change was stored is not known"
        super().__init__(f"The database is not available at the moment; {outcome}")


def is_fault(error: BaseException) -> bool:
    """Whether the database failed, and not the statement."""
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout | sqlite3.OperationalError):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    if (state := _sql_state(error)) is not None:
        return state.startswith(_FAULT_CLASSES)
    # SQLite reports a full disk or a damaged file as a plain DatabaseError.
    return re.search(r"full|malformed|disk|not a database", str(getattr(error, "orig", error))) is not None


def is_conflict(error: BaseException) -> bool:
    """Whether the transaction was given up for another one, and can be made again."""
    return _sql_state(error) in _CONFLICTS


def is_overtaken(error: BaseException) -> bool:
    """Whether another transaction may have added or deleted a row that this one looked for before."""
    return _sql_state(error) in _OVERTAKEN


def _sql_state(error: BaseException) -> str | None:
    """Return PostgreSQL's code for the error, if it has one."""
    state = getattr(getattr(error, "orig", error), "sqlstate", None)
    return state if isinstance(state, str) else None
