"""Transactions, as every kind of database makes them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, func, insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from app.clock import utc_now
from app.database.engine import Database, open_database
from app.database.errors import DatabaseUnavailable
from app.idempotency import IdempotencyRow


class Refused(Exception):
    pass


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = open_database(database_url)
    yield database
    await database.close()


def add(name: str) -> Callable[[Connection], str]:
    def act(connection: Connection) -> str:
        values = {"key_id": "", "operation": "", "key": name, "fingerprint": "", "result": {}, "created_at": utc_now()}
        return str(connection.execute(insert(IdempotencyRow).values(values).returning(IdempotencyRow.key)).scalar_one())

    return act


def names(connection: Connection) -> list[str]:
    return list(connection.execute(select(IdempotencyRow.key).order_by(IdempotencyRow.key)).scalars())


async def test_what_is_written_is_read(database: Database) -> None:
    assert await database.write(add("one")) == "one"
    assert await database.read(names) == ["one"]


async def test_a_transaction_that_raises_changes_nothing(database: Database) -> None:
    def refuse(connection: Connection) -> None:
        add("refused")(connection)
        raise Refused

    await database.write(add("one"))
    with pytest.raises(Refused):
        await database.write(refuse)
    with pytest.raises(IntegrityError):
        await database.write(add("one"))
    assert await database.read(names) == ["one"]


@pytest.mark.parametrize("error", [asyncio.CancelledError, StopIteration])
async def test_the_next_transaction_is_made_whatever_one_raises(database: Database, error: type[BaseException]) -> None:
    def act(_connection: Connection) -> None:
        raise error

    for run in (database.read, database.write):
        # No coroutine can raise StopIteration: Python makes a RuntimeError of it.
        with pytest.raises((error, RuntimeError)):
            await run(act)
    assert await database.write(add("after")) == "after"


async def test_many_at_once_are_each_done_once(database: Database) -> None:
    texts = [f"key {number:02}" for number in range(40)]
    assert await asyncio.gather(*(database.write(add(text)) for text in texts)) == texts
    assert await asyncio.gather(*(database.read(names) for _ in range(10))) == [texts] * 10


async def test_a_read_sees_one_moment(database: Database) -> None:
    async def write_beside() -> None:
        other = open_database(database.url)
        await other.write(add("meanwhile"))
        await other.close()

    def act(connection: Connection) -> list[list[str]]:
        before = names(connection)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, write_beside()).result(10)
        return [before, names(connection)]

    assert await database.read(act) == [[], []]
    assert await database.read(names) == ["meanwhile"]


async def test_a_read_writes_nothing(database: Database) -> None:
    with pytest.raises((DatabaseUnavailable, DBAPIError)):
        await database.read(add("never"))
    assert await database.read(names) == []


@pytest.mark.databases("postgresql")  # SQLite has one writer
async def test_a_transaction_that_another_one_overtakes_is_made_again(database: Database) -> None:
    def add_once(connection: Connection) -> str:
        if "one" in names(connection):
            return "it is there"
        connection.execute(select(func.pg_sleep(0.3)))
        return add("one")(connection)

    assert sorted(await asyncio.gather(*(database.write(add_once) for _ in range(4)))) == ["it is there"] * 3 + ["one"]
