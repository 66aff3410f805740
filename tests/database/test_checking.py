"""`palaver db check` on PostgreSQL: what is wrong with a database is found, and nothing else is."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.database.engine import Database, open_database
from tests.support.database import execute
from tests.support.processes import palaver

pytestmark = pytest.mark.databases("postgresql")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = open_database(database_url)
    yield database
    await database.close()


async def faults_of(database: Database, data_dir: Path) -> list[str]:
    environment = {"PALAVER_DATABASE_URL": database.url}
    code, output = await palaver("db", "check", data_dir=data_dir, environment=environment)
    if code == 0:
        assert output.startswith("The database is sound, and at revision ")
        return []
    assert code == 1
    return output.splitlines()


async def test_a_sound_database_has_no_faults(database: Database, data_dir: Path) -> None:
    await execute(database, "CREATE EXTENSION amcheck")
    await execute(database, "CREATE TABLE somebody_elses (id INTEGER)")
    await execute(database, "INSERT INTO master_key (id, digest) VALUES (1, '')")
    try:
        assert await faults_of(database, data_dir) == []
    finally:
        await execute(database, "DROP EXTENSION amcheck")
        await execute(database, "DROP TABLE somebody_elses")


async def test_what_the_schema_lacks_is_found(database: Database, data_dir: Path) -> None:
    await execute(database, "ALTER INDEX uq_messages_dedupe_key RENAME TO elsewhere")
    await execute(database, "ALTER TABLE bots RENAME COLUMN name TO title")
    try:
        assert await faults_of(database, data_dir) == [
            "The schema is not this version's: add column bots name",
            "The schema is not this version's: add index uq_messages_dedupe_key",
        ]
    finally:
        await execute(database, "ALTER INDEX elsewhere RENAME TO uq_messages_dedupe_key")
        await execute(database, "ALTER TABLE bots RENAME COLUMN title TO name")


async def test_a_sequence_behind_its_rows_is_found(database: Database, data_dir: Path) -> None:
    values = "(7, now(), 'x', 'x')"
    await execute(database, f"INSERT INTO audit (id, at, action, target) VALUES {values}")
    (fault,) = await faults_of(database, data_dir)
    assert "is behind audit.id: new rows would be refused" in fault


async def test_indexes_that_are_not_whole_are_found(database: Database, data_dir: Path) -> None:
    change = "UPDATE pg_index SET indisvalid = {0}, indisready = {0} WHERE indexrelid = 'pk_master_key'::regclass"
    await execute(database, "CREATE EXTENSION amcheck")
    await execute(database, change.format("false"))
    await execute(database, "INSERT INTO master_key (id, digest) VALUES (1, '')")  # the index takes no notice
    try:
        (fault,) = await faults_of(database, data_dir)
        assert fault == "The index pk_master_key is not whole: REINDEX INDEX pk_master_key"
        await execute(database, change.format("true"))
        (fault,) = await faults_of(database, data_dir)
        assert fault.startswith("Damaged: pk_master_key: heap tuple ")
    finally:
        await execute(database, change.format("true"))
        await execute(database, "REINDEX INDEX pk_master_key")
        await execute(database, "DROP EXTENSION amcheck")
