"""PostgreSQL for the tests: databases made by the migrations once, and emptied between tests.

PostgreSQL takes from a tenth of a second to seconds to create and to drop a database, since it waits for the disk each
time, and a hundredth to delete a test's few rows.
"""

import asyncio
import importlib.util
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import URL, make_url

from app.database import migrations

# Read at import: the tests themselves run without such variables.
ADMIN_URL = os.environ.get("PALAVER_TEST_POSTGRES_URL")
USERS = ("postgres", "root") if "PGUSER" not in os.environ else (os.environ["PGUSER"],)
CONNECT_SECONDS = 5.0
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
SEQUENCES = "SELECT sequencename FROM pg_sequences WHERE schemaname = 'public'"
# The databases of runs that were killed: the connection that a run keeps open is named like its databases.
LEFTOVERS = """
    SELECT database.datname FROM pg_database AS database WHERE starts_with(database.datname, 'palaver_tests_')
    AND NOT EXISTS (
        SELECT FROM pg_stat_activity AS activity
        WHERE starts_with(activity.application_name, 'palaver_tests_')
        AND starts_with(database.datname, activity.application_name || '_')
    )
"""
# Pairs of tables: rows of the first refer to rows of the second.
REFERENCES = "SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint WHERE contype = 'f'"
OTHER_CONNECTIONS = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


class PostgresMissing(Exception):
    """No PostgreSQL lets the tests in, for the reason in the text."""


class Postgres:
    """The databases of one process of tests. `close` drops them."""

    def __init__(self, admin: URL) -> None:
        self._admin = admin
        self._run = f"palaver_tests_{uuid4().hex[:12]}"
        self._lasting = AsyncExitStack()
        self._template: str | None = None
        self._clearing = ""
        self._databases: list[str] = []
        self._free: list[URL] = []

    @classmethod
    async def connect(cls) -> "Postgres":
        """Connect to the server at PALAVER_TEST_POSTGRES_URL, or to the one at 127.0.0.1:5432.

        Raises PostgresMissing when there is none at the latter, the driver's errors for the former.
        """
        if ADMIN_URL is not None:
            return await cls(make_url(ADMIN_URL))._begin()
        if importlib.util.find_spec("asyncpg") is None:
            raise PostgresMissing("asyncpg, the driver for PostgreSQL, is not installed")
        import asyncpg  # type: ignore[import-not-found, import-untyped, unused-ignore]

        reasons = []
        for user in USERS:
            url = URL.create("postgresql", user, host="127.0.0.1", port=5432, database="postgres")
            try:
                return await cls(url)._begin()
            except (OSError, TimeoutError, asyncpg.PostgresError) as error:
                reasons.append(f"{error}" or type(error).__name__)
        raise PostgresMissing(f"no PostgreSQL lets the tests in at 127.0.0.1:5432: {reasons[-1]}")

    @property
    def url(self) -> URL:
        """The server, with a database that is always there."""
        return self._admin.set(drivername="postgresql+asyncpg")

    @property
    def admin_url(self) -> str:
        """The address of a database that is always there."""
        return self._admin.set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)

    async def take(self) -> URL:
        """Return an empty database with the newest schema."""
        return self._free.pop() if self._free else await self._create()

    async def give_back(self, url: URL) -> None:
        """Close the connections left open to the database, and empty it for the next test."""
        async with _connection(url) as connection:
            await connection.execute(OTHER_CONNECTIONS)
            await connection.execute(self._clearing)
        self._free.append(url)

    async def close(self) -> None:
        async with _connection(self._admin) as connection:
            for name in self._databases:
                await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await self._lasting.aclose()

    async def _begin(self) -> "Postgres":
        """Open the connection that shows that this run goes on, and drop what killed runs have left."""
        from asyncpg import PostgresError

        connection = await self._lasting.enter_async_context(_connection(self._admin, self._run))
        for row in await connection.fetch(LEFTOVERS):
            with suppress(PostgresError):  # another run that begins drops it as well
                await connection.execute(f"DROP DATABASE IF EXISTS {row[0]} WITH (FORCE)")
        return self

    async def _create(self) -> URL:
        if self._template is None:
            # Not template1: anybody's connection to it would be in the way.
            self._template = await self._create_from("template0")
            template = self._url_of(self._template)
            await asyncio.to_thread(migrations.upgrade, template.render_as_string(hide_password=False))
            async with _connection(template) as connection:
                self._clearing = await _clearing_of(connection)
        return self._url_of(await self._create_from(self._template))

    async def _create_from(self, template: str) -> str:
        name = f"{self._run}_{len(self._databases)}"
        async with _connection(self._admin) as connection:
            await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
            self._databases.append(name)
            # No test depends on what survives a crash of PostgreSQL, so that commits need not wait for the disk.
            await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
        return name

    def _url_of(self, name: str) -> URL:
        return self._admin.set(drivername="postgresql+asyncpg", database=name)


class Databases:
    """The databases of one test: one for each data folder."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._urls: dict[Path, URL] = {}

    async def url_of(self, data_dir: Path) -> str:
        if data_dir not in self._urls:
            self._urls[data_dir] = await self._postgres.take()
        return self._urls[data_dir].render_as_string(hide_password=False)

    async def close(self) -> None:
        for url in self._urls.values():
            await self._postgres.give_back(url)


@asynccontextmanager
async def _connection(url: URL, name: str = "") -> AsyncIterator[Any]:
    import asyncpg  # type: ignore[import-not-found, import-untyped, unused-ignore]

    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS, server_settings={"application_name": name})
    try:
        yield connection
    finally:
        await connection.close()


async def _clearing_of(connection: Any) -> str:
    """Return the statements that delete all rows, referring ones first, and restart all sequences."""
    references = {tuple(row) for row in await connection.fetch(REFERENCES)}
    tables = {row[0] for row in await connection.fetch(TABLES)}
    order: list[str] = []
    while tables:
        leaves = {name for name in tables if not any(to == name != by in tables for by, to in references)}
        assert leaves, f"tables refer to each other: {sorted(tables)}"
        order += sorted(leaves)
        tables -= leaves
    sequences = [row[0] for row in await connection.fetch(SEQUENCES)]
    return ";".join(
        [
            *(f"DELETE FROM {name}" for name in order),
            *(f"SELECT setval('{name}', 1, false)" for name in sequences),
        ]
    )
