"""SQLite's transactions: what waits together is committed together, and each stands for itself."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, insert, select
from sqlalchemy.exc import IntegrityError

from app.database import sqlite
from app.database.engine import Database, open_database, sqlite_url
from app.database.errors import DatabaseUnavailable

TABLE = Table("things", MetaData(), Column("id", Integer, primary_key=True), Column("name", String, unique=True))
ADD = insert(TABLE).returning(TABLE.c.id)


class Refused(Exception):
    pass


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    made = open_database(sqlite_url(tmp_path / "things.db"))
    await made.write(TABLE.metadata.create_all)
    yield made
    await made.close()


def adding(name: str) -> Callable[[Connection], int]:
    return lambda connection: int(connection.execute(ADD, {"name": name}).scalar_one())


async def names(database: Database) -> list[str]:
    query = select(TABLE.c.name).order_by(TABLE.c.id)
    return await database.read(lambda connection: list(connection.execute(query).scalars()))


async def together(database: Database, *acts: Callable[[Connection], object]) -> list[object]:
    """Have these wait for the writer at the same time."""
    async with busy_writer(database):
        waiting = [asyncio.ensure_future(database.write(act)) for act in acts]
        await asyncio.sleep(0.01)
    return await asyncio.gather(*waiting, return_exceptions=True)


@asynccontextmanager
async def busy_writer(database: Database) -> AsyncIterator[None]:
    """Keep the writer in a transaction that changes nothing."""
    started, gate = threading.Event(), threading.Event()

    def wait(_connection: Connection) -> None:
        started.set()
        assert gate.wait(10)

    writing = asyncio.ensure_future(database.write(wait))
    await asyncio.to_thread(started.wait, 10)
    try:
        yield
    finally:
        gate.set()
        await writing


async def test_what_waits_together_is_one_commit_in_the_order_of_asking(database: Database, tmp_path: Path) -> None:
    begun: list[int] = []

    def counting(name: str) -> Callable[[Connection], int]:
        def act(connection: Connection) -> int:
            other = sqlite3.connect(tmp_path / "things.db")
            begun.append(other.execute("SELECT count(*) FROM things").fetchone()[0])
            other.close()
            return adding(name)(connection)

        return act

    assert await together(database, *(counting(f"{n}") for n in range(5))) == [1, 2, 3, 4, 5]
    assert begun == [0] * 5  # others saw nothing of it until it was all committed
    assert await names(database) == ["0", "1", "2", "3", "4"]


async def test_one_that_raises_is_rolled_back_alone(database: Database) -> None:
    def refusing(connection: Connection) -> None:
        connection.execute(ADD, {"name": "refused"})
        raise Refused

    def doubling(connection: Connection) -> None:
        connection.execute(ADD, {"name": "kept"})

    first, refused, doubled, last = await together(database, adding("kept"), refusing, doubling, adding("too"))
    assert isinstance(first, int)
    assert isinstance(refused, Refused)
    assert isinstance(doubled, IntegrityError)
    assert isinstance(last, int)
    assert await names(database) == ["kept", "too"]
    with pytest.raises(Refused):
        await database.write(refusing)
    assert await names(database) == ["kept", "too"]


async def test_a_transaction_that_the_database_gives_up_fails_all_that_share_it(database: Database) -> None:
    def given_up(connection: Connection) -> None:
        connection.exec_driver_sql("ROLLBACK")  # as SQLite does by itself when the disk is full
        raise Refused

    outcomes = await together(database, adding("one"), given_up, adding("two"))
    assert len(outcomes) == 3
    assert {type(outcome) for outcome in outcomes} == {DatabaseUnavailable}
    assert await names(database) == []
    assert await database.write(adding("after")) == 1


async def test_a_commit_that_fails_fails_all_that_share_it(database: Database) -> None:
    def owing(connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        connection.exec_driver_sql("INSERT INTO parts (thing_id) VALUES (77)")  # which only the commit finds out

    await database.write(
        lambda connection: connection.exec_driver_sql("CREATE TABLE parts (thing_id INTEGER REFERENCES things (id))")
    )
    outcomes = await together(database, adding("one"), owing, adding("two"))
    assert [isinstance(outcome, Exception) for outcome in outcomes] == [True] * 3
    assert await names(database) == []
    assert await database.write(adding("after")) == 1


async def test_one_that_left_before_its_turn_is_not_done(database: Database) -> None:
    async with busy_writer(database):
        leaving = asyncio.ensure_future(database.write(adding("left")))
        staying = asyncio.ensure_future(database.write(adding("stayed")))
        await asyncio.sleep(0.01)
        leaving.cancel()
    assert await staying == 1
    assert leaving.cancelled()
    assert await names(database) == ["stayed"]


async def test_a_lock_of_another_process_is_waited_for_in_vain_twice_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_SECONDS", 0.2)
    database = open_database(sqlite_url(tmp_path / "things.db"))
    await database.write(TABLE.metadata.create_all)
    other = sqlite3.connect(tmp_path / "things.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        first = asyncio.ensure_future(database.write(adding("late")))
        await asyncio.sleep(0.1)
        second = asyncio.ensure_future(database.write(adding("later")))
        for write in (first, second):
            with pytest.raises(DatabaseUnavailable):
                await write
        other.execute("ROLLBACK")
        assert await database.write(adding("in time")) == 1
    finally:
        other.close()
        await database.close()


async def test_the_log_is_written_into_the_database_beside_the_writer(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_the_file_itself() -> list[tuple[str]]:
        alone = tmp_path / "alone.db"
        alone.write_bytes((tmp_path / "things.db").read_bytes())
        with closing(sqlite3.connect(alone)) as connection:
            return connection.execute("SELECT name FROM things").fetchall()

    await database.write(adding("one"))
    with suppress(sqlite3.OperationalError):  # its table may be in the log yet
        assert in_the_file_itself() == []
    monkeypatch.setattr("app.database.sqlite.CHECKPOINT_COMMITS", 1)
    await database.write(adding("two"))
    async with asyncio.timeout(10):
        while True:
            with suppress(sqlite3.DatabaseError):  # it may have been read in the middle of the writing
                if in_the_file_itself() == [("one",), ("two",)]:
                    break
            await asyncio.sleep(0.01)
