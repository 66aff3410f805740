"""SQLite: how its connections are opened, and the threads in which whole transactions run.

A transaction that awaits each of its statements goes to SQLite's thread and back for each of them. What runs often is
therefore a function that does all its statements in one call: of the thread that writes, or of one of those that read.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Engine, NullPool, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

CHECKPOINT_COMMITS = 100
MOST_WAL_PAGES = 8000
"""A commit that finds SQLite's log longer (32 MB) writes it into the database itself, and waits for the disk."""

T = TypeVar("T")
Act = Callable[[Connection], T]
_Outcome = tuple[Any, BaseException | None]
Turn = Callable[[], AbstractAsyncContextManager[None]]


def to_json_text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def from_json_text(text: str | bytes) -> Any:
    return msgspec.json.decode(text)


def async_engine(url: str, *, writes: bool, connections: int, busy_seconds: float) -> AsyncEngine:
    """An engine for transactions that await their statements."""
    engine = create_async_engine(
        url,
        json_serializer=to_json_text,
        json_deserializer=from_json_text,
        hide_parameters=True,  # they are what people wrote
        connect_args={"timeout": busy_seconds},
        pool_size=connections,
        max_overflow=0,
        pool_timeout=busy_seconds,
        pool_reset_on_return=None,
    )

    _prepare_connections(engine.sync_engine, writes=writes, busy_seconds=busy_seconds)

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql(_begin(writes=writes))

    return engine


def run_text(connection: Connection, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
    """Execute a text on a connection of `sqlite3`'s own. Raises what SQLAlchemy raises."""
    driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
    try:
        return driver.execute(sql, values)
    except sqlite3.Error as error:
        raise DBAPIError.instance(sql, None, error, sqlite3.Error, hide_parameters=True) from error


class _Threads:
    """Threads that each keep a connection of their own, which SQLAlchemy begins and ends no transactions on."""

    def __init__(self, url: str, *, writes: bool, count: int, busy_seconds: float) -> None:
        self._url = make_url(url).set(drivername="sqlite")
        self._writes = writes
        self._busy_seconds = busy_seconds
        self._local = threading.local()
        self._open: list[Connection] = []
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="writer" if writes else "reader")
        self._engine: Engine = create_engine(
            self._url,
            json_serializer=to_json_text,
            json_deserializer=from_json_text,
            hide_parameters=True,
            connect_args={"timeout": busy_seconds, "check_same_thread": False},  # closed by who closes the threads
            poolclass=NullPool,
        )
        _prepare_connections(self._engine, writes=writes, busy_seconds=busy_seconds)

    def submit(self, work: Callable[[], None]) -> None:
        self._pool.submit(work)

    def connection(self) -> Connection:
        """This thread's connection."""
        known: Connection | None = getattr(self._local, "connection", None)
        if known is None:
            known = self._local.connection = self._engine.connect()
            self._open.append(known)
        return known

    def drop(self) -> None:
        """Close this thread's connection, with what goes on in it: the next one is a new one."""
        known: Connection | None = getattr(self._local, "connection", None)
        if known is not None:
            self._local.connection = None
            self._open.remove(known)
            known.invalidate()
            known.close()

    async def close(self) -> None:
        await asyncio.to_thread(self._pool.shutdown)
        for connection in self._open:
            connection.close()
        self._open.clear()


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """Someone who waits for a transaction."""

    act: Act[Any]
    future: asyncio.Future[Any]

    def tell(self, result: Any, error: BaseException | None) -> None:
        if self.future.done():
            return  # cancelled meanwhile
        if error is None:
            self.future.set_result(result)
        elif isinstance(error, StopIteration):  # which no future can hold
            self.future.set_exception(RuntimeError("a transaction raised StopIteration"))
        else:
            self.future.set_exception(error)


class GroupWriter:
    """The thread that writes: it takes all that waits into one commit, in the order in which it came.

    Each is in a savepoint of its own, so that one that raises is rolled back alone. Nobody hears of anything before
    the commit; when that fails, it fails for all. SQLite's log is written into the database by a thread beside it, now
    and then: in a commit that would cost one in some dozens of them 10 ms.
    """

    def __init__(self, url: str, turn: Turn, busy_seconds: float) -> None:
        self._turn = turn
        self._threads = _Threads(url, writes=True, count=1, busy_seconds=busy_seconds)
        self._beside = _Threads(url, writes=True, count=1, busy_seconds=busy_seconds)
        self._commits = 0
        self._waiting: list[_Waiting] = []
        self._draining: asyncio.Task[None] | None = None

    async def run(self, act: Act[T]) -> T:
        """What `act` returns, once that is committed. Raises what it raises, and SQLAlchemy's errors.

        Cancelled, it may be done all the same: whole, or not at all.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(act, loop.create_future())
        self._waiting.append(waiting)
        if self._draining is None:
            self._draining = loop.create_task(self._drain())
        result: T = await waiting.future
        return result

    async def close(self) -> None:
        if self._draining is not None:
            await self._draining
        await self._threads.close()
        await self._beside.close()

    async def _drain(self) -> None:
        """Hand over what waits, again and again, until nothing does."""
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                async with self._turn():
                    batch = self._take()
                    done = loop.create_future()
                    self._threads.submit(partial(self._commit, batch, loop, done))
                    await done
        except Exception as error:  # noqa: BLE001 - told to all who wait
            for waiting in self._take():
                waiting.tell(None, error)
        finally:
            self._draining = None

    def _take(self) -> list[_Waiting]:
        batch, self._waiting = self._waiting, []
        return [waiting for waiting in batch if not waiting.future.cancelled()]

    # In the thread

    def _commit(self, batch: Sequence[_Waiting], loop: asyncio.AbstractEventLoop, done: asyncio.Future[None]) -> None:
        outcomes = self._outcomes(batch)

        def deliver() -> None:
            for waiting, (result, error) in zip(batch, outcomes, strict=True):
                waiting.tell(result, error)
            if not done.done():
                done.set_result(None)

        loop.call_soon_threadsafe(deliver)
        self._commits += 1
        if self._commits % CHECKPOINT_COMMITS == 0:
            self._beside.submit(self._checkpoint)

    def _checkpoint(self) -> None:
        """Write SQLite's log into the database, as far as that waits for nobody."""
        try:
            run_text(self._beside.connection(), "PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except DBAPIError:  # it is tried again, and a commit does it in the end
            self._beside.drop()

    def _outcomes(self, batch: Sequence[_Waiting]) -> list[_Outcome]:
        try:
            connection = self._threads.connection()
            run_text(connection, _begin(writes=True))
            if len(batch) == 1:
                outcomes = [_attempt(connection, batch[0].act)]
            else:
                outcomes = [_attempt_apart(connection, waiting.act) for waiting in batch]
            failed_alone = len(batch) == 1 and outcomes[0][1] is not None
            run_text(connection, "ROLLBACK" if failed_alone else "COMMIT")
        except BaseException as error:  # noqa: BLE001 - told to all who wait
            self._threads.drop()
            return [(None, error)] * len(batch)
        return outcomes


class ReaderThreads:
    """Threads that read."""

    def __init__(self, url: str, connections: int, busy_seconds: float) -> None:
        self._threads = _Threads(url, writes=False, count=connections, busy_seconds=busy_seconds)

    async def run(self, act: Act[T]) -> T:
        """What `act` returns; all it reads is of one moment. Raises what it raises, and SQLAlchemy's errors."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(act, loop.create_future())
        self._threads.submit(partial(self._read, waiting, loop))
        result: T = await waiting.future
        return result

    async def close(self) -> None:
        await self._threads.close()

    def _read(self, waiting: _Waiting, loop: asyncio.AbstractEventLoop) -> None:
        if waiting.future.cancelled():
            return
        try:
            connection = self._threads.connection()
            run_text(connection, _begin(writes=False))
            outcome = _attempt(connection, waiting.act)
            run_text(connection, "ROLLBACK")
        except BaseException as error:  # noqa: BLE001 - told to who waits
            self._threads.drop()
            outcome = None, error
        loop.call_soon_threadsafe(waiting.tell, *outcome)


def _attempt(connection: Connection, act: Act[Any]) -> _Outcome:
    try:
        return act(connection), None
    except BaseException as error:
        if not _in_transaction(connection):  # SQLite itself has given up the whole of it, as it does for a full disk
            raise OperationalError("BEGIN", None, sqlite3.OperationalError("the transaction was given up")) from error
        return None, error


def _attempt_apart(connection: Connection, act: Act[Any]) -> _Outcome:
    """Do it in a savepoint: what it did is undone when it raises, what others did is not."""
    run_text(connection, "SAVEPOINT one")
    result, error = _attempt(connection, act)
    if error is not None:
        run_text(connection, "ROLLBACK TO one")
    run_text(connection, "RELEASE one")
    return result, error


def _in_transaction(connection: Connection) -> bool:
    driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
    return driver.in_transaction


def _begin(*, writes: bool) -> str:
    return "BEGIN IMMEDIATE" if writes else "BEGIN"


def _prepare_connections(engine: Engine, *, writes: bool, busy_seconds: float) -> None:
    @event.listens_for(engine, "connect")
    def prepare(dbapi_connection: Any, _record: object) -> None:
        # The driver's own implicit BEGIN would come too late and without IMMEDIATE.
        dbapi_connection.isolation_level = None
        cursor = dbapi_connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        if writes:
            cursor.execute(f"PRAGMA wal_autocheckpoint={MOST_WAL_PAGES}")
        cursor.execute(f"PRAGMA busy_timeout={int(busy_seconds * 1000)}")
        if not writes:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()
