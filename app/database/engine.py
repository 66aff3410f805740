"""Transactions: whole functions of a connection, on SQLite or PostgreSQL."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from app.database.addresses import check_url
from app.database.postgresql import PostgresOptions, PostgreSQL
from app.database.sqlite import SQLite

T = TypeVar("T")


class Database(Protocol):
    """Runs use cases, each a function of a connection, in transactions.

    The function may run in another thread, and must not await anything. It may be run again: PostgreSQL gives a
    transaction up that waits for another one which waits for it, and one that adds a row which another one was quicker
    to add.
    """

    url: str

    async def read(self, act: Callable[[Connection], T]) -> T:
        """Run `act` on one consistent snapshot, and return its result. Raises what it raises, DatabaseUnavailable."""

    async def write(self, act: Callable[[Connection], T]) -> T:
        """Run `act`, commit, and return its result; roll back when it raises.

        Raises what it raises, and DatabaseUnavailable: after twice sqlite.BUSY_TIMEOUT_SECONDS at the latest when
        another process holds SQLite's lock, and after the times of PostgresOptions. When the caller is cancelled, the
        whole of it is done or nothing.
        """

    async def close(self) -> None: ...


def open_database(url: str, options: PostgresOptions | None = None) -> Database:
    """Make the database at `url`, a SQLAlchemy async URL; it connects when it is first used. Raises WrongDatabase."""
    if check_url(url).drivername.startswith("sqlite"):
        return SQLite(url)
    return PostgreSQL(url, options or PostgresOptions())


def sqlite_url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"
