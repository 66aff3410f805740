"""The database: one engine that reads, one that writes, and transactions that say which they are.

SQLite admits one writer at a time and answers the others with `database is locked`. Palaver therefore queues its
writers itself, in the order they came, on a connection of their own that takes the write lock when the transaction
begins (`BEGIN IMMEDIATE`); a second process, such as the command line, waits for it with SQLite's busy timeout.
Readers never wait: WAL gives each a snapshot.

There are two ways to make a transaction: a block (`async with database.write_block()`) that awaits statements, and a
function (`await database.write(act)`) that does them all in one call of a thread, several times cheaper. What every
message needs is functions; those that write at the same time share a commit.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from app.database.sqlite import GroupWriter, ReaderThreads, async_engine, from_json_text, to_json_text
from app.errors import Unavailable

T = TypeVar("T")

BUSY_TIMEOUT_SECONDS = 15
READER_CONNECTIONS = 4


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
        self._threads: tuple[ReaderThreads, GroupWriter] | None = None
        busy = BUSY_TIMEOUT_SECONDS
        if url.startswith("sqlite"):
            self._reader = async_engine(url, writes=False, connections=READER_CONNECTIONS, busy_seconds=busy)
            self._writer = async_engine(url, writes=True, connections=1, busy_seconds=busy)
            self._write_lock = asyncio.Lock()
            self._threads = ReaderThreads(url, READER_CONNECTIONS, busy), GroupWriter(url, self._turn, busy)
        else:
            self._reader = self._writer = create_async_engine(
                url,
                json_serializer=to_json_text,
                json_deserializer=from_json_text,
                hide_parameters=True,
                pool_pre_ping=True,
            )

    @asynccontextmanager
    async def read_block(self) -> AsyncIterator[AsyncConnection]:
        """A connection that reads one consistent snapshot. Raises DatabaseUnavailable."""
        with _faults_as_unavailable():
            async with self._reader.begin() as connection:
                yield connection

    @asynccontextmanager
    async def write_block(self) -> AsyncIterator[AsyncConnection]:
        """The one writer's connection: committed when the block ends, rolled back when it raises.

        Writers are served in the order they came. Raises DatabaseUnavailable, after twice BUSY_TIMEOUT_SECONDS at the
        latest when another process holds the database: once for the turn, once for the lock.
        """
        with _faults_as_unavailable():
            async with self._turn(), self._writer.begin() as connection:
                yield connection

    async def read(self, act: Callable[[Connection], T]) -> T:
        """What `act` returns, which only reads: one consistent snapshot. Raises what it raises, DatabaseUnavailable.

        `act` runs in a thread, where nothing may be awaited.
        """
        if self._threads is None:
            async with self.read_block() as connection:
                return await connection.run_sync(act)
        with _faults_as_unavailable():
            return await self._threads[0].run(act)

    async def write(self, act: Callable[[Connection], T]) -> T:
        """What `act` returns, once what it wrote is committed; rolled back when it raises.

        On SQLite, those that wait together are committed together, in the order of the calls. `act` runs in a thread,
        where nothing may be awaited. Raises what it raises, and DatabaseUnavailable as `write` does. When the caller is
        cancelled, it is done whole or not at all.
        """
        if self._threads is None:
            async with self.write_block() as connection:
                return await connection.run_sync(act)
        with _faults_as_unavailable():
            return await self._threads[1].run(act)

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
        for threads in self._threads or ():
            await threads.close()
        await self._writer.dispose()
        if self._reader is not self._writer:
            await self._reader.dispose()


def sqlite_url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


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
