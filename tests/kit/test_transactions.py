"""Transactions that are one call of a thread: what waits together is committed together, and each stands for itself."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, bindparam, func, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError

from app.database import engine
from app.database.engine import Database, DatabaseUnavailable, sqlite_url
from app.database.statements import PreparedStatement

TABLE = Table("things", MetaData(), Column("id", Integer, primary_key=True), Column("name", String, unique=True))
ADD = PreparedStatement(insert(TABLE).returning(TABLE.c.id, sort_by_parameter_order=True), ("name",))
RENAME = PreparedStatement(update(TABLE).where(TABLE.c.name == bindparam("old")), ("name",))
FIND = PreparedStatement(select(TABLE).where(TABLE.c.name == bindparam("wanted"), TABLE.c.id > 0))


class Refused(Exception):
    pass


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    made = Database(sqlite_url(tmp_path / "things.db"))
    await made.write(TABLE.metadata.create_all)
    yield made
    await made.close()


def adding(name: str) -> Callable[[Connection], int]:
    return lambda connection: int(ADD.first(connection, name=name).id)


async def names(database: Database) -> list[str]:
    query = select(TABLE.c.name).order_by(TABLE.c.id)
    return await database.read(lambda connection: list(connection.execute(query).scalars()))


async def together(database: Database, *acts: Callable[[Connection], object]) -> list[object]:
    """Have these wait for the writer at the same time."""
    async with database.write_block():
        waiting = [asyncio.ensure_future(database.write(act)) for act in acts]
        await asyncio.sleep(0.01)
    return await asyncio.gather(*waiting, return_exceptions=True)


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
        ADD.first(connection, name="refused")
        raise Refused

    def doubling(connection: Connection) -> None:
        ADD.first(connection, name="kept")

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


async def test_a_commit_that_fails_fails_all_that_share_it(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.database import sqlite

    real = sqlite.run_text

    def run_text(connection: Connection, sql: str) -> object:
        if sql == "COMMIT":
            raise OperationalError(sql, None, sqlite3.OperationalError("disk I/O error"))
        return real(connection, sql)

    monkeypatch.setattr(sqlite, "run_text", run_text)
    outcomes = await together(database, adding("one"), adding("two"))
    assert [type(outcome) for outcome in outcomes] == [DatabaseUnavailable] * 2
    monkeypatch.undo()
    assert await names(database) == []
    assert await database.write(adding("after")) == 1


async def test_one_that_left_before_its_turn_is_not_done(database: Database) -> None:
    async with database.write_block():
        leaving = asyncio.ensure_future(database.write(adding("left")))
        staying = asyncio.ensure_future(database.write(adding("stayed")))
        await asyncio.sleep(0.01)
        leaving.cancel()
    assert await staying == 1
    assert leaving.cancelled()
    assert await names(database) == ["stayed"]


async def test_whatever_is_raised_the_writer_goes_on(database: Database) -> None:
    def cancelled(_connection: Connection) -> None:
        raise asyncio.CancelledError

    def stopped(_connection: Connection) -> None:
        raise StopIteration

    with pytest.raises(asyncio.CancelledError):
        await database.write(cancelled)
    with pytest.raises(RuntimeError):
        await database.write(stopped)
    with pytest.raises(RuntimeError):
        await database.read(stopped)
    assert await database.write(adding("after")) == 1


async def test_those_who_wait_for_a_stuck_writer_are_told_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_SECONDS", 0.2)
    database = Database(sqlite_url(tmp_path / "things.db"))
    await database.write(TABLE.metadata.create_all)
    try:
        async with database.write_block():
            with pytest.raises(DatabaseUnavailable):
                await database.write(adding("late"))
        assert await database.write(adding("in time")) == 1
    finally:
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


async def test_readers_see_one_moment_and_do_not_write(database: Database) -> None:
    seen, gate = threading.Event(), threading.Event()

    def reading(connection: Connection) -> list[int]:
        count = select(func.count()).select_from(TABLE)
        before = connection.execute(count).scalar_one()
        seen.set()
        assert gate.wait(10)
        return [before, connection.execute(count).scalar_one()]

    read = asyncio.ensure_future(database.read(reading))
    await asyncio.to_thread(seen.wait, 10)
    await database.write(adding("meanwhile"))
    gate.set()
    assert await read == [0, 0]
    with pytest.raises(DatabaseUnavailable):
        await database.read(adding("never"))
    assert await names(database) == ["meanwhile"]


async def test_finished_statements_do_the_same_on_any_connection(database: Database) -> None:
    """Where the driver is not sqlite3's own, SQLAlchemy executes what they were made of."""

    def act(connection: Connection) -> list[object]:
        added = ADD.insert_all(connection, [{"name": "a"}, {"name": "b"}])
        renamed = RENAME.change(connection, old="a", name="c")
        missed = RENAME.change(connection, old="nobody", name="d")
        found = FIND.first(connection, wanted="c")
        return [[row.id for row in added], renamed, missed, (found.id, found.name), FIND.all(connection, wanted="z")]

    expected = [[1, 2], 1, 0, (1, "c"), []]
    assert await database.write(act) == expected
    await database.write(lambda connection: connection.exec_driver_sql("DELETE FROM things"))
    async with database.write_block() as connection:
        assert await connection.run_sync(act) == expected


def test_a_column_with_a_default_of_pythons_must_be_given() -> None:
    table = Table("t", MetaData(), Column("id", Integer, primary_key=True), Column("kind", String, default="x"))
    with pytest.raises(ValueError, match="kind"):
        PreparedStatement(insert(table), ("id",))
