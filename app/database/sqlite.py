"""SQLite: transactions in threads, and one commit for all writers that wait together.

A transaction that awaits each of its statements pays a thread's call for each of them, some 100 us; a whole one in one
call pays once. SQLite admits one writer at a time and answers the others with `database is locked`, so that writers
queue here, in the order they came. Another process is waited for with SQLite's busy timeout. Readers never wait: WAL
gives each a snapshot.
"""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import create_async_engine

from app.database.errors import DRIVER_ERRORS, DatabaseUnavailable, is_fault
from app.database.prepared import DRIVER
from app.database.tables import ENGINE_OPTIONS

BUSY_TIMEOUT_SECONDS = 15
READER_THREADS = 4
CHECKPOINT_COMMITS = 100
MAX_WAL_PAGES = 8000
"""A commit that finds SQLite's log longer (32 MB) writes it into the database itself, and waits for the disk."""

log = structlog.get_logger(__name__)

T = TypeVar("T")
_Act = Callable[[Connection], Any]
_Outcome = tuple[Any, BaseException | None]


class SQLite:
    """The database in the file at `url`: some threads that read, and one that writes."""

    def __init__(self, url: str) -> None:
        self.url = url
        file = _DatabaseFile(url)
        self._reader = _ThreadConnection(_engine(url, writes=False), file)
        self._readers = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="reader")
        self._writer = _Writer(_ThreadConnection(_engine(url, writes=True), file))
        self._upkeep = create_async_engine(url, poolclass=NullPool)
        self._checkpoint: asyncio.Task[None] | None = None

    async def read(self, act: Callable[[Connection], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, act)
        except DRIVER_ERRORS as error:
            if is_fault(error):
                raise DatabaseUnavailable from error
            raise

    async def write(self, act: Callable[[Connection], T]) -> T:
        try:
            result: T = await self._writer.submit(act)
        except DRIVER_ERRORS as error:
            if is_fault(error):
                raise DatabaseUnavailable from error
            raise
        if self._writer.commits >= CHECKPOINT_COMMITS:
            self._writer.commits = 0
            self._checkpoint = asyncio.create_task(self._write_log_back())
        return result

    async def close(self) -> None:
        await self._writer.close()
        await asyncio.to_thread(self._readers.shutdown)
        self._reader.close_all()
        if self._checkpoint is not None:
            await self._checkpoint
        await self._upkeep.dispose()

    def _read(self, act: Callable[[Connection], T]) -> T:
        connection = self._reader.get()
        driver = _driver(connection)
        try:
            driver.execute("BEGIN")
            try:
                return act(connection)
            finally:
                driver.execute("ROLLBACK")
        except sqlite3.Error:  # of BEGIN or ROLLBACK
            self._reader.drop()
            raise
        except StopIteration as error:  # which no future can hold
            raise RuntimeError("a transaction raised StopIteration") from error

    async def _write_log_back(self) -> None:
        """Write SQLite's log into the database, as far as that waits for nobody.

        Now and then, beside the writer: in a commit it would cost one in some dozens of them 10 ms.
        """
        with suppress(DBAPIError):  # the next one is tried again, and a commit does it in the end
            async with self._upkeep.connect() as connection:
                await connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    """A function that waits for the writer, and the future of its result."""

    act: _Act
    future: asyncio.Future[Any]

    def resolve(self, result: Any, error: BaseException | None) -> None:
        if self.future.done():
            return  # cancelled meanwhile
        if error is None:
            self.future.set_result(result)
        elif isinstance(error, StopIteration):  # which no future can hold
            self.future.set_exception(RuntimeError("a transaction raised StopIteration"))
        else:
            self.future.set_exception(error)


class _Writer:
    """The thread that writes: it takes all that waits into one commit, in the order in which it came.

    Each function is in a savepoint of its own, so that one that raises is rolled back alone. Results are delivered
    after the commit; when that fails, it fails for all.
    """

    def __init__(self, connection: "_ThreadConnection") -> None:
        self.commits = 0
        self._connection = connection
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._waiting: list[_Request] = []
        self._task: asyncio.Task[None] | None = None

    def submit(self, act: _Act) -> asyncio.Future[Any]:
        """Queue a function; the future of its result. Cancelled, it is done whole or not at all."""
        request = _Request(act, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        if self._task is None:
            # It begins in the next turn of the loop: what is submitted in this one shares a commit.
            self._task = asyncio.create_task(self._commit_waiting())
        return request.future

    async def close(self) -> None:
        """Wait for what is queued, and end the thread."""
        if self._task is not None:
            await self._task
        await asyncio.to_thread(self._thread.shutdown)
        self._connection.close_all()

    async def _commit_waiting(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch = [request for request in self._waiting if not request.future.cancelled()]
                self._waiting = []
                outcomes = await loop.run_in_executor(self._thread, self._outcomes, batch)
                self.commits += 1
                for request, (result, error) in zip(batch, outcomes, strict=True):
                    request.resolve(result, error)
        finally:
            self._task = None

    def _outcomes(self, batch: Sequence[_Request]) -> list[_Outcome]:
        try:
            connection = self._connection.get()
            self._connection.file.check()
            driver = _driver(connection)
            driver.execute("BEGIN IMMEDIATE")
            if len(batch) == 1:
                outcomes = [_attempt(connection, batch[0].act)]
                failed = outcomes[0][1] is not None
            else:
                outcomes = [_attempt_apart(connection, request.act) for request in batch]
                failed = False
            driver.execute("ROLLBACK" if failed else "COMMIT")
        except BaseException as error:  # noqa: BLE001 - delivered to all who wait
            self._connection.drop()
            return [(None, error)] * len(batch)
        return outcomes


class _ThreadConnection:
    """A connection of its own for each thread that asks."""

    def __init__(self, engine: Engine, file: "_DatabaseFile") -> None:
        self.file = file
        self._engine = engine
        self._local = threading.local()
        self._connections: list[Connection] = []

    def get(self) -> Connection:
        """Return this thread's connection."""
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            self.file.check()  # SQLite would make a new one in the place of one that is gone
            connection = self._local.connection = self._engine.connect()
            connection.execution_options(**{DRIVER: connection.connection.driver_connection})
            self._connections.append(connection)
            self.file.note()
        return connection

    def drop(self) -> None:
        """Close this thread's connection, with its transaction; the next one is new."""
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is not None:
            self._local.connection = None
            self._connections.remove(connection)
            connection.invalidate()
            connection.close()

    def close_all(self) -> None:
        """Close the connections of all threads, which have ended."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()


class _DatabaseFile:
    """The file at `url`, which must stay the one that was opened; none for a database in memory.

    Whoever deletes or replaces it under a running server leaves the server with a file that has no name any more: all
    that is written to it is gone when the server stops.
    """

    def __init__(self, url: str) -> None:
        self._path = make_url(url).database or ""
        self._identity: tuple[int, int] | None = None
        self._missed = False

    def note(self) -> None:
        """Take the file that is there for the database, if it is the first that was opened."""
        if self._identity is None and self._path not in ("", ":memory:"):
            self._identity = self._current()

    def check(self) -> None:
        """Check that the file is still there. Raises sqlite3.OperationalError."""
        if self._identity is None:
            return
        if self._current() == self._identity:
            self._missed = False
            return
        if not self._missed:
            self._missed = True
            log.error("database_file_gone", file=self._path)
        raise sqlite3.OperationalError("the database's file was deleted or replaced while it was in use")

    def _current(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self._path)  # noqa: PTH116  # before each commit, at a third of Path.stat's cost
        except OSError:
            return None
        return status.st_dev, status.st_ino


def _attempt(connection: Connection, act: _Act) -> _Outcome:
    try:
        return act(connection), None
    except BaseException as error:
        if not _driver(connection).in_transaction:  # SQLite has given up the whole of it, as it does for a full disk
            raise OperationalError("BEGIN", None, sqlite3.OperationalError("the transaction was given up")) from error
        return None, error


def _attempt_apart(connection: Connection, act: _Act) -> _Outcome:
    """Run `act` in a savepoint: when it raises, only what it did is undone."""
    driver = _driver(connection)
    driver.execute("SAVEPOINT one")
    result, error = _attempt(connection, act)
    if error is not None:
        driver.execute("ROLLBACK TO one")
    driver.execute("RELEASE one")
    return result, error


def _driver(connection: Connection) -> sqlite3.Connection:
    """Return the driver's connection, for BEGIN and COMMIT: SQLAlchemy's own cost as much as a statement."""
    driver: sqlite3.Connection = connection.get_execution_options()[DRIVER]
    return driver


def _engine(url: str, *, writes: bool) -> Engine:
    engine = create_engine(
        make_url(url).set(drivername="sqlite"),
        **ENGINE_OPTIONS,
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False},  # closed from another thread
        poolclass=NullPool,
    )

    @event.listens_for(engine, "connect")
    def prepare(driver: sqlite3.Connection, _record: object) -> None:
        # The driver's own implicit BEGIN would come too late and without IMMEDIATE.
        driver.isolation_level = None
        driver.execute("PRAGMA journal_mode=WAL")
        driver.execute("PRAGMA synchronous=NORMAL")
        driver.execute("PRAGMA foreign_keys=ON")
        driver.execute(f"PRAGMA wal_autocheckpoint={MAX_WAL_PAGES}" if writes else "PRAGMA query_only=ON")

    return engine
