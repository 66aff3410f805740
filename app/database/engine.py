"""Transactions: whole functions of a connection, on SQLite or PostgreSQL."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.database.postgresql import PostgreSQL
from app.database.sqlite import SQLite
from app.errors import Unavailable

T = TypeVar("T")

BUSY_TIMEOUT_SECONDS = 15
READER_CONNECTIONS = 4


class DatabaseUnavailable(Unavailable):
    """The database did not take the request: disk full, locked by another process, gone."""

    code = "database_unavailable"

    def __init__(self) -> None:
        super().__init__("The database is not available at the moment; nothing was changed")


class Transactions(Protocol):
    """How one kind of database runs the functions that `Database` is given; raises the driver's errors."""

    async def read(self, act: Callable[[Connection], T]) -> T: ...
    async def write(self, act: Callable[[Connection], T]) -> T: ...
    async def close(self) -> None: ...


class Database:
    """Transactions on the database at `url`, a SQLAlchemy async URL.

    `act` is a use case as a function of a connection. It may run in another thread, and must not await anything.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._transactions: Transactions = (
            SQLite(url, readers=READER_CONNECTIONS, busy_seconds=BUSY_TIMEOUT_SECONDS)
            if url.startswith("sqlite")
            else PostgreSQL(url)
        )

    async def read(self, act: Callable[[Connection], T]) -> T:
        """Run `act` on one consistent snapshot, and return its result. Raises what it raises, DatabaseUnavailable."""
        with _faults_as_unavailable():
            return await self._transactions.read(act)

    async def write(self, act: Callable[[Connection], T]) -> T:
        """Run `act`, commit, and return its result; roll back when it raises.

        Raises what it raises, and DatabaseUnavailable: after twice BUSY_TIMEOUT_SECONDS at the latest when another
        process holds SQLite's lock. When the caller is cancelled, the whole of it is done or nothing.
        """
        with _faults_as_unavailable():
            return await self._transactions.write(act)

    async def close(self) -> None:
        await self._transactions.close()


def sqlite_url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


@contextmanager
def _faults_as_unavailable() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout, sqlite3.OperationalError) as error:
        raise DatabaseUnavailable from error
    except (DBAPIError, sqlite3.DatabaseError) as error:
        # SQLite reports a full disk or a damaged file as a plain DatabaseError.
        is_lost = isinstance(error, DBAPIError) and error.connection_invalidated
        if is_lost or re.search(r"full|malformed|disk|not a database", str(getattr(error, "orig", error))):
            raise DatabaseUnavailable from error
        raise
