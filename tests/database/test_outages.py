"""PostgreSQL that is away, silent, slow or at odds with itself: DatabaseUnavailable each time, and then it works."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import Connection, make_url, text

from app.database.engine import Database, open_database
from app.database.errors import DatabaseUnavailable
from app.database.postgresql import PostgresOptions
from tests.support.database import execute
from tests.support.proxy import Proxy

pytestmark = pytest.mark.databases("postgresql")

OPTIONS = PostgresOptions(
    pool_size=3,
    pool_timeout_seconds=1.0,
    connect_timeout_seconds=1.0,
    statement_timeout_seconds=0.5,
    lock_timeout_seconds=0.3,
    network_seconds=0.2,
)
TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> :pid"


@pytest.fixture
async def database(proxied_url: str) -> AsyncIterator[Database]:
    """The test's database, through the proxy."""
    database = open_database(proxied_url, OPTIONS)
    yield database
    await database.close()


@pytest.fixture
async def beside(database_url: str) -> AsyncIterator[Database]:
    """The same, past the proxy."""
    database = open_database(database_url)
    await execute(database, "CREATE TABLE IF NOT EXISTS tries (id INTEGER PRIMARY KEY, count INTEGER NOT NULL)")
    await execute(database, "INSERT INTO tries VALUES (1, 0), (2, 0)")
    yield database
    await execute(database, "DROP TABLE tries")
    await database.close()


def select(sql: str) -> Callable[[Connection], Any]:
    return lambda connection: connection.execute(text(sql)).scalar()


def count(connection: Connection) -> int:
    return int(connection.execute(text("UPDATE tries SET count = count + 1 WHERE id = 1 RETURNING count")).scalar_one())


async def test_a_server_that_is_away_is_unavailable_and_used_again_when_it_is_back(
    database: Database, beside: Database, proxy: Proxy
) -> None:
    assert await database.write(count) == 1
    await proxy.go_away()
    for run in (database.read, database.write):
        with pytest.raises(DatabaseUnavailable):
            await run(select("SELECT 1"))
    await proxy.open()
    assert await database.write(count) == 2


async def test_a_connection_that_is_cut_in_a_statement_is_unavailable(database: Database, proxy: Proxy) -> None:
    sleeping = asyncio.create_task(database.read(select("SELECT pg_sleep(0.4)")))
    while await database.read(select("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(0.4)%'")) < 2:
        await asyncio.sleep(0.01)
    proxy.cut()
    with pytest.raises(DatabaseUnavailable):
        await sleeping
    assert await database.read(select("SELECT 1")) == 1


async def test_connections_that_the_server_ends_cost_nothing(database: Database, beside: Database) -> None:
    await asyncio.gather(*(database.read(select("SELECT 1")) for _ in range(3)))

    def terminate(connection: Connection) -> None:
        own = connection.execute(text("SELECT pg_backend_pid()")).scalar()
        connection.execute(text(TERMINATE), {"pid": own})

    await beside.write(terminate)
    assert await asyncio.gather(*(database.read(select("SELECT 1")) for _ in range(6))) == [1] * 6


async def test_a_connection_that_the_server_ends_in_a_transaction_is_unavailable(
    database: Database, beside: Database
) -> None:
    def end_itself(connection: Connection) -> None:
        count(connection)
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(DatabaseUnavailable, match="nothing was changed"):
        await database.write(end_itself)
    assert await database.write(count) == 1


async def test_an_answer_that_does_not_come_is_not_waited_for_without_end(database: Database, proxy: Proxy) -> None:
    assert await database.read(select("SELECT 1")) == 1
    proxy.hold()
    async with asyncio.timeout(8):
        with pytest.raises(DatabaseUnavailable):  # of a connection that is there
            await database.write(select("SELECT 1"))
        with pytest.raises(DatabaseUnavailable):  # of a new one
            await database.write(select("SELECT 1"))
    proxy.release()
    assert await database.read(select("SELECT 1")) == 1


async def test_whether_a_commit_was_stored_is_not_claimed_when_it_is_not_known(
    database: Database, beside: Database, proxy: Proxy
) -> None:
    def write_and_lose(connection: Connection) -> None:
        count(connection)
        proxy.cut()

    with pytest.raises(DatabaseUnavailable, match="not known"):
        await database.write(write_and_lose)


async def test_a_statement_that_takes_too_long_is_unavailable(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable):
        await database.read(select("SELECT pg_sleep(5)"))
    assert await database.read(select("SELECT 1")) == 1


async def test_a_lock_that_is_not_given_up_is_unavailable(database: Database, beside: Database) -> None:
    locked, done = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        engine = open_database(beside.url)
        async with asyncio.timeout(10):
            await engine.write(lambda connection: _hold(connection, locked, done))
        await engine.close()

    holding = asyncio.create_task(hold())
    await locked.wait()
    with pytest.raises(DatabaseUnavailable):
        await database.write(count)
    done.set()
    await holding
    assert await database.write(count) == 2


def _hold(connection: Connection, locked: asyncio.Event, done: asyncio.Event) -> None:
    """Keep a row locked until `done`: statements give the loop its turns."""
    count(connection)
    locked.set()
    while not done.is_set():
        connection.execute(text("SELECT pg_sleep(0.02)"))


async def test_a_pool_without_a_free_connection_is_unavailable(database: Database) -> None:
    reads = [database.read(select("SELECT count(pg_sleep(0.45))")) for _ in range(12)]
    outcomes = await asyncio.gather(*reads, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {int, DatabaseUnavailable}
    assert await database.read(select("SELECT 1")) == 1


async def test_a_transaction_that_a_deadlock_gives_up_is_made_again(database: Database, beside: Database) -> None:
    def update(*ids: int) -> Callable[[Connection], None]:
        def act(connection: Connection) -> None:
            for position, row_id in enumerate(ids):
                connection.execute(text("UPDATE tries SET count = count + 1 WHERE id = :id"), {"id": row_id})
                if position == 0:
                    connection.execute(text("SELECT pg_sleep(0.2)"))

        return act

    slow = open_database(beside.url)  # whose lock timeout lets PostgreSQL look for deadlocks
    await asyncio.gather(slow.write(update(1, 2)), slow.write(update(2, 1)))
    await slow.close()
    assert await beside.read(select("SELECT sum(count) FROM tries")) == 4


async def test_too_many_connections_are_unavailable(database: Database, beside: Database) -> None:
    role = "palaver_tests_few"
    await execute(beside, f"DROP ROLE IF EXISTS {role}")
    await execute(beside, f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1")
    try:
        few = open_database(make_url(beside.url).set(username=role).render_as_string(hide_password=False), OPTIONS)
        outcomes = await asyncio.gather(
            *(few.read(select("SELECT pg_sleep(0.2)")) for _ in range(3)), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes].count(DatabaseUnavailable) == 2
        await few.close()
    finally:
        await execute(beside, f"DROP ROLE {role}")
