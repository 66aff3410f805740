"""Faults that keep a command from starting: each is one line on standard error, and no password is in it."""

import asyncio
import os
import struct
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.postgres import Postgres
from tests.support.programs import plain_environment, start_palaver
from tests.test_cli import palaver

COMMANDS = (["serve", "--port", "0"], ["keys", "list"], ["db", "upgrade"], ["db", "check"])
SSL_REQUEST = 80877103
PASSWORD = "a-pass-word"
POSTGRES = f"postgresql+asyncpg://palaver:{PASSWORD}@127.0.0.1"


@pytest.fixture(params=COMMANDS, ids=" ".join)
def command(request: pytest.FixtureRequest) -> list[str]:
    return list(request.param)


async def refused(data_dir: Path, command: list[str], message: str, **environment: str) -> str:
    outcome = await palaver(*command, "--data-dir", data_dir, **environment)
    outcome.assert_refused(message)
    assert PASSWORD not in outcome.err
    assert "Traceback" not in outcome.err
    return outcome.err


@pytest.mark.parametrize(
    "url",
    ["nonsense", "foo://bar", f"mysql+aiomysql://palaver:{PASSWORD}@127.0.0.1/x", f"{POSTGRES}:port/x"],
    ids=["no URL", "unknown dialect", "missing driver", "no port"],
)
async def test_an_unusable_database_url(data_dir: Path, command: list[str], url: str) -> None:
    await refused(data_dir, command, "", PALAVER_DATABASE_URL=url)


@pytest.mark.parametrize("driver", ["sqlite", "postgresql"])
async def test_a_driver_that_is_not_asynchronous_or_not_installed(data_dir: Path, driver: str, tmp_path: Path) -> None:
    for command in (["serve", "--port", "0"], ["keys", "list"]):
        await refused(data_dir, command, "", PALAVER_DATABASE_URL=f"{driver}:///{tmp_path}/x.db")


async def test_postgresql_out_of_reach(data_dir: Path, command: list[str], closed_port: int) -> None:
    await refused(data_dir, command, "Cannot use", PALAVER_DATABASE_URL=f"{POSTGRES}:{closed_port}/x")


@pytest.fixture
async def wrong_password_port() -> AsyncIterator[int]:
    """The port of a server that speaks PostgreSQL's protocol as far as "password authentication failed"."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length, code = struct.unpack("!ii", await reader.readexactly(8))
        if code == SSL_REQUEST:
            writer.write(b"N")
            length, code = struct.unpack("!ii", await reader.readexactly(8))
        await reader.readexactly(length - 8)
        fields = b'SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user "palaver"\0\0'
        writer.write(b"E" + struct.pack("!i", len(fields) + 4) + fields)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_a_password_that_postgresql_does_not_take(
    data_dir: Path, command: list[str], wrong_password_port: int
) -> None:
    message = 'password authentication failed for user "palaver"'
    await refused(data_dir, command, message, PALAVER_DATABASE_URL=f"{POSTGRES}:{wrong_password_port}/x")


async def test_a_database_that_postgresql_does_not_have(data_dir: Path, command: list[str], postgres: Postgres) -> None:
    url = postgres.url.set(database="no_such_database", password=PASSWORD)
    shown = url.render_as_string(hide_password=False)
    await refused(data_dir, command, 'database "no_such_database" does not exist', PALAVER_DATABASE_URL=shown)


async def test_a_driver_of_postgresql_that_is_not_installed(data_dir: Path, command: list[str]) -> None:
    environment = {**plain_environment(), "PALAVER_DATABASE_URL": f"{POSTGRES}/x"}
    process = await start_palaver(
        *command, "--data-dir", str(data_dir), environment=environment, stderr=PIPE, missing=("asyncpg",)
    )
    out, err = await process.communicate()
    message = "Error: asyncpg, the driver for the database, is not installed: pip install 'palaver[postgres]'\n"
    assert (process.returncode, out, err.decode()) == (1, b"", message)


@pytest.mark.parametrize("place", ["missing/x.db", "file/x.db", "."])
async def test_a_sqlite_path_that_cannot_be(data_dir: Path, tmp_path: Path, command: list[str], place: str) -> None:
    (tmp_path / "file").touch()
    url = f"sqlite+aiosqlite:///{tmp_path / place}"
    await refused(data_dir, command, "Cannot use PALAVER_DATABASE_URL: ", PALAVER_DATABASE_URL=url)
    assert not (tmp_path / "missing").exists()


async def test_a_check_of_a_database_that_cannot_be_read(data_dir: Path, tmp_path: Path) -> None:
    data_dir.mkdir()
    (data_dir / "palaver.db").write_bytes(b"this is no database, and long enough to be one" * 100)
    await refused(data_dir, ["db", "check"], "Cannot use the database of")
    url = f"sqlite+aiosqlite:///{tmp_path}/missing/x.db"
    await refused(data_dir, ["db", "check"], "there is no folder", PALAVER_DATABASE_URL=url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense://x", "PALAVER_STORAGE_URL names no storage that can be used: "),
        ("s3://", "PALAVER_STORAGE_URL names no storage that can be used: "),
        ("http://[", "PALAVER_STORAGE_URL names no storage that can be used: invalid IPv6 address"),
        ("file:///proc/attachments", "Cannot keep attachments in /proc/attachments: "),
        ("file:///dev/null", "Cannot keep attachments in /dev/null: "),
    ],
)
async def test_an_unusable_storage(data_dir: Path, url: str, message: str) -> None:
    await refused(data_dir, ["serve", "--port", "0"], message, PALAVER_STORAGE_URL=url)


@pytest.mark.parametrize("arguments", [["backup", "{tmp}/missing/b.tar"], ["backup", "/proc/b.tar"]])
async def test_a_backup_that_cannot_be_written(data_dir: Path, tmp_path: Path, arguments: list[str]) -> None:
    assert (await palaver("db", "upgrade", "--data-dir", data_dir)).code == 0
    await refused(data_dir, ["db", *(each.format(tmp=tmp_path) for each in arguments)], "The backup could not be made")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_data_folder_that_is_not_writable(data_dir: Path, command: list[str]) -> None:
    data_dir.mkdir(mode=0o500)
    await refused(data_dir, command, f"Cannot use the data folder {data_dir}: ")


async def test_a_bus_beside_the_embedded_database(data_dir: Path) -> None:
    url = "redis://127.0.0.1:6379/0"
    await refused(data_dir, ["serve", "--port", "0"], "PALAVER_BUS_URL is for servers that share", PALAVER_BUS_URL=url)
