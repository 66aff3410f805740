"""A pooler in transaction mode in front of PostgreSQL: each transaction may be on another connection."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import URL, Connection, make_url, text

from app.database import migrations
from app.database.engine import open_database
from app.database.errors import DatabaseUnavailable
from app.database.postgresql import PostgresOptions
from tests.conftest import StartServer
from tests.support import pgbouncer
from tests.support.client import Client, text_of

pytestmark = [
    pytest.mark.databases("postgresql"),
    pytest.mark.skipif(not pgbouncer.is_installed(), reason="pgbouncer is not installed"),
]


@pytest.fixture
async def pooled_url(database_url: str, tmp_path: Path) -> AsyncIterator[URL]:
    async with pgbouncer.pooled(make_url(database_url), tmp_path) as url:
        yield url


async def test_chats_through_a_pooler(start_server: StartServer, pooled_url: URL) -> None:
    url = pooled_url.render_as_string(hide_password=False)
    async with (
        start_server(database_url=url, database_pooler=True, providers=[]) as server,
        Client(server, await server.new_key()) as client,
    ):
        replies = await asyncio.gather(
            *(client.chat(f"m{number}", session_id=f"s{number % 8}") for number in range(40))
        )
        assert all(text_of(reply) for reply in replies)
        histories = [await client.history(f"s{number}") for number in range(8)]
    assert [len(history) for history in histories] == [10] * 8


async def test_migrations_need_no_connection_of_their_own(pooled_url: URL) -> None:
    url = pooled_url.render_as_string(hide_password=False)
    await asyncio.gather(*(asyncio.to_thread(migrations.upgrade, url) for _ in range(4)))


async def test_the_timeouts_hold_through_a_pooler_and_bind_nobody_else(pooled_url: URL) -> None:
    url = pooled_url.render_as_string(hide_password=False)
    hasty = open_database(url, PostgresOptions(statement_timeout_seconds=0.2, pooler=True))
    patient = open_database(url, PostgresOptions(pooler=True))

    def sleep(connection: Connection) -> None:
        connection.execute(text("SELECT pg_sleep(0.5)"))

    for _ in range(2 * pgbouncer.CONNECTIONS):
        with pytest.raises(DatabaseUnavailable):
            await hasty.write(sleep)
    await asyncio.gather(*(patient.write(sleep) for _ in range(2 * pgbouncer.CONNECTIONS)))
    await hasty.close()
    await patient.close()
