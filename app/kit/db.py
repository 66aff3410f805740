"""The database: one engine that reads, one that writes, and transactions that say which they are.

SQLite admits one writer at a time and answers the others with `database is locked`. Palaver therefore queues its
writers itself, in the order they came, on a connection of their own that takes the write lock when the transaction
begins (`BEGIN IMMEDIATE`); a second process, such as the command line, waits for it with SQLite's busy timeout.
Readers never wait: WAL gives each a snapshot.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import BigInteger, DateTime, Dialect, Integer, MetaData, event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

from app.errors import Unavailable

BUSY_TIMEOUT_SECONDS = 15
READER_CONNECTIONS = 4
MAX_INTEGER = 2**63 - 1

# SQLite numbers rows by itself only in a column that is called INTEGER, which holds 64 bits there.
BigId = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """The base of every model; constraint names are fixed, so that migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, kept as UTC; SQLite forgets time zones, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class DatabaseUnavailable(Unavailable):
    """The database did not take the request: disk full, locked by another process, gone."""

    code = "database_unavailable"

    def __init__(self) -> None:
        super().__init__("The database is not available at the moment; nothing was changed")


class Database:
    """Transactions on the database at `url` (a SQLAlchemy async URL)."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._write_lock: asyncio.Lock | None = None
        if url.startswith("sqlite"):
            self._reader = _sqlite_engine(url, writes=False)
            self._writer = _sqlite_engine(url, writes=True)
            self._write_lock = asyncio.Lock()
        else:
            self._reader = self._writer = create_async_engine(
                url,
                json_serializer=to_json_text,
                json_deserializer=from_json_text,
                hide_parameters=True,
                pool_pre_ping=True,
            )

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection that reads one consistent snapshot. Raises DatabaseUnavailable."""
        with _faults_as_unavailable():
            async with self._reader.begin() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """The one writer's connection: committed when the block ends, rolled back when it raises.

        Writers are served in the order they came. Raises DatabaseUnavailable, after twice BUSY_TIMEOUT_SECONDS at the
        latest when another process holds the database: once for the turn, once for the lock.
        """
        with _faults_as_unavailable():
            async with self._turn(), self._writer.begin() as connection:
                yield connection

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """This writer's turn. Raises DatabaseUnavailable when it does not come in time."""
        if self._write_lock is None:
            yield
            return
        try:
            async with asyncio.timeout(BUSY_TIMEOUT_SECONDS):
                await self._write_lock.acquire()
        except TimeoutError:
            raise DatabaseUnavailable from None
        try:
            yield
        finally:
            self._write_lock.release()

    async def close(self) -> None:
        await self._writer.dispose()
        if self._reader is not self._writer:
            await self._reader.dispose()


def sqlite_url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


def to_json_text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def from_json_text(text: str | bytes) -> Any:
    return msgspec.json.decode(text)


@contextmanager
def _faults_as_unavailable() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise DatabaseUnavailable from error
    except DBAPIError as error:
        # SQLite reports a full disk or a damaged file as a plain DatabaseError.
        if error.connection_invalidated or re.search(r"full|malformed|disk|not a database", str(error.orig)):
            raise DatabaseUnavailable from error
        raise


def _sqlite_engine(url: str, *, writes: bool) -> AsyncEngine:
    engine = create_async_engine(
        url,
        json_serializer=to_json_text,
        json_deserializer=from_json_text,
        hide_parameters=True,  # they are what people wrote
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS},
        pool_size=1 if writes else READER_CONNECTIONS,
        max_overflow=0,
        pool_timeout=BUSY_TIMEOUT_SECONDS,
        pool_reset_on_return=None,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(dbapi_connection: Any, _record: object) -> None:
        # The driver's own implicit BEGIN would come too late and without IMMEDIATE: see `begin` below.
        dbapi_connection.isolation_level = None
        cursor = dbapi_connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_SECONDS * 1000}")
        if not writes:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
