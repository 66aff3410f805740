"""The start on a database: which are refused, in one line, and servers that start together on a new one."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import make_url

from app.database.checking import problems
from app.database.engine import Database, open_database
from app.database.migrations import WrongSchema, downgrade, head, upgrade
from tests.support.database import count_rows, execute
from tests.support.processes import palaver

REFUSALS = [
    ("nothing like a URL", "The database's URL cannot be read"),
    ("postgresql+asyncpg://palaver:hush@127.0.0.1:port/palaver", "The database's URL cannot be read"),
    ("postgresql://palaver:hush@127.0.0.1/palaver", "begins with postgresql, and not with postgresql+asyncpg"),
    ("postgres://palaver:hush@127.0.0.1/palaver", "begins with postgres, and not with postgresql+asyncpg"),
    ("oracle+thin://palaver:hush@127.0.0.1/palaver", "begins with oracle+thin"),
    ("mysql+aiomysql://palaver:hush@127.0.0.1/palaver", "begins with mysql+aiomysql"),
    ("postgresql+asyncpg://palaver:hush@127.0.0.1:{closed}/palaver", "Cannot use the database"),
    ("postgresql+asyncpg://palaver:hush@nowhere.invalid/palaver", "Cannot use the database"),
]


def assert_refused(code: int, output: str, message: str) -> None:
    """One line, without a password, and exit code 1."""
    (line,) = output.splitlines()
    assert line.startswith("Error: ")
    assert message in line
    assert "hush" not in line
    assert code == 1


@pytest.mark.parametrize(("url", "message"), REFUSALS)
async def test_a_database_that_cannot_be_used_is_refused_in_one_line(
    url: str, message: str, data_dir: Path, closed_port: int
) -> None:
    environment = {"PALAVER_DATABASE_URL": url.format(closed=closed_port)}
    code, output = await palaver("serve", "--port", "0", data_dir=data_dir, environment=environment)
    assert_refused(code, output, message)


@pytest.mark.parametrize("command", [("keys", "list"), ("db", "upgrade"), ("db", "check"), ("db", "adopt-key")])
async def test_every_command_refuses_in_one_line(command: tuple[str, ...], data_dir: Path, closed_port: int) -> None:
    url = f"postgresql+asyncpg://palaver:hush@127.0.0.1:{closed_port}/palaver"
    code, output = await palaver(*command, data_dir=data_dir, environment={"PALAVER_DATABASE_URL": url})
    assert_refused(code, output, "Cannot use the database")


@pytest.mark.databases("postgresql")
async def test_a_missing_database_is_refused_in_one_line(database_url: str, data_dir: Path) -> None:
    url = make_url(database_url).set(database="palaver_tests_nowhere")
    environment = {"PALAVER_DATABASE_URL": url.render_as_string(hide_password=False)}
    code, output = await palaver("serve", "--port", "0", data_dir=data_dir, environment=environment)
    assert_refused(code, output, 'database "palaver_tests_nowhere" does not exist')


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = open_database(database_url)
    yield database
    await database.close()


@pytest.fixture
def environment(backend: str, database_url: str) -> dict[str, str]:
    return {} if backend == "sqlite" else {"PALAVER_DATABASE_URL": database_url}


async def test_a_newer_schema_is_refused_in_one_line(
    database: Database, environment: dict[str, str], data_dir: Path
) -> None:
    await execute(database, "UPDATE alembic_version SET version_num = '9999'")
    outcome = await palaver("serve", "--port", "0", data_dir=data_dir, environment=environment)
    check = await palaver("db", "check", data_dir=data_dir, environment=environment)
    await execute(database, f"UPDATE alembic_version SET version_num = '{head()}'")
    assert_refused(*outcome, "The database was made by a newer version of Palaver")
    assert check[0] == 1
    assert f"The schema is at revision 9999, not {head()}" in check[1]


@pytest.mark.databases("postgresql")
async def test_servers_that_start_together_on_an_empty_database_migrate_it_once(
    database: Database, environment: dict[str, str], tmp_path: Path
) -> None:
    await execute(database, "DROP SCHEMA public CASCADE")
    await execute(database, "CREATE SCHEMA public")
    outcomes = await asyncio.gather(
        *(palaver("db", "upgrade", data_dir=tmp_path / str(number), environment=environment) for number in range(4))
    )
    assert [code for code, _ in outcomes] == [0] * 4, outcomes
    assert (await palaver("db", "check", data_dir=tmp_path / "0", environment=environment))[0] == 0
    assert await count_rows(database, "alembic_version", "sessions") == [1, 0]


async def test_another_master_key_is_refused_until_it_is_adopted(environment: dict[str, str], data_dir: Path) -> None:
    make_key = ("keys", "create", "--name", "one", "--scope", "chat")
    first = {**environment, "PALAVER_SECRET_KEY": secrets.token_hex(32)}
    other = {**environment, "PALAVER_SECRET_KEY": secrets.token_hex(32)}
    assert (await palaver(*make_key, data_dir=data_dir, environment=first))[0] == 0
    for command in (("serve", "--port", "0"), make_key):
        code, output = await palaver(*command, data_dir=data_dir, environment=other)
        assert_refused(code, output, "The master key is not the one that this database was made with")
    code, _ = await palaver("db", "adopt-key", data_dir=data_dir, environment=other)
    assert code == 0
    assert (await palaver(*make_key, data_dir=data_dir, environment=other))[0] == 0
    assert (await palaver(*make_key, data_dir=data_dir, environment=first))[0] == 1


async def test_a_schema_goes_back_and_forth(
    database: Database, database_url: str, environment: dict[str, str], data_dir: Path
) -> None:
    await execute(database, "INSERT INTO master_key (id, digest) VALUES (1, '')")
    code, output = await palaver("db", "downgrade", data_dir=data_dir, environment=environment)
    assert (code, output.startswith("The database is now at revision ")) == (0, True)
    older = [output.split()[-1]]
    older += [await asyncio.to_thread(downgrade, database_url) for _ in range(2)]
    assert older == sorted(older, reverse=True)
    for unknown in (head(), older[0], older[-1], "nonsense"):
        with pytest.raises(WrongSchema, match="there is no older one named"):
            await asyncio.to_thread(downgrade, database_url, unknown)
    assert problems_of_schema(await asyncio.to_thread(problems, database_url)) == [older[-1]]
    assert await asyncio.to_thread(upgrade, database_url)
    assert await asyncio.to_thread(problems, database_url) == []
    assert await count_rows(database, "master_key") == [1]


def problems_of_schema(lines: Sequence[str]) -> list[str]:
    """The revisions that a check complains of."""
    return [line.split(",")[0].split()[-1] for line in lines if line.startswith("The schema is at revision")]
