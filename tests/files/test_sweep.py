"""Files that no attachment names: which of them the server removes, and which it leaves alone."""

import asyncio
import os
import sqlite3
import time
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import insert

from app.auth.scopes import Scope
from app.clock import utc_now
from app.database.engine import open_database
from app.files.pending import PendingObjectRow
from app.files.storage import open_storage
from app.files.sweeping import Sweeper
from tests.conftest import StartServer
from tests.files.conftest import FileClient, Served, eventually
from tests.support.database import count_rows
from tests.support.processes import API_KEY, ServerProcess
from tests.support.server import Server

OLD_SECONDS = 25 * 3600
KEY = "ab/cd/abcd" + "0" * 28


@pytest.fixture
def folder(data_dir: Path) -> Path:
    return data_dir / "attachments"


async def until_gone(*paths: Path) -> None:
    await eventually(lambda: not any(path.exists() for path in paths), seconds=30)


def make_old(path: Path) -> None:
    at = time.time() - OLD_SECONDS
    os.utime(path, (at, at), follow_symlinks=False)


def put(folder: Path, name: str, *, old: bool = True) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"left behind")
    if old:
        make_old(path)
    return path


def row_count(data_dir: Path) -> int:
    with closing(sqlite3.connect(data_dir / "palaver.db")) as connection:
        (count,) = connection.execute("SELECT count(*) FROM attachments").fetchone()
    return int(count)


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


async def upload(server: Server, content: bytes) -> str:
    async with FileClient(server, await server.new_key(Scope.FILE)) as client:
        answer = await client.post("/api/v1/file", files={"file": ("a.txt", content)})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["data"]["attachment_id"])


async def content_of(server: Server, attachment_id: str) -> bytes:
    async with FileClient(server, await server.new_key(Scope.FILE)) as client:
        return (await client.get(f"/api/v1/files/{attachment_id}/content")).content


async def test_old_files_without_a_row_are_removed_and_nothing_else(start_server: StartServer, folder: Path) -> None:
    async with start_server() as server:
        attachment_id = await upload(server, b"kept")
    (stored,) = files_in(folder)
    make_old(stored)
    young = put(folder, "ab/ce/abce" + "1" * 28, old=False)
    foreign = [
        put(folder, name)
        for name in ("notes.txt", "ab/notes", "ab/cd/notes.txt", "ab/cd/ffff" + "0" * 28, "zz/cd/zzcd" + "0" * 28)
    ]
    link = folder / "ab" / "cd" / ("abcd" + "2" * 28)
    link.symlink_to(foreign[0])
    make_old(link)
    dead = [put(folder, KEY), put(folder, "01/23/0123" + "4" * 28), put(folder, "01/24/0124" + "4" * 28 + "#1")]

    async with start_server() as server:
        await until_gone(*dead)
        assert await content_of(server, attachment_id) == b"kept"
    assert files_in(folder) == sorted([stored, young, *foreign, link])
    assert not (folder / "01").exists()


@pytest.mark.databases("sqlite", reason="PostgreSQL may have other servers")
async def test_young_unfinished_files_are_removed_where_one_server_has_the_folder(
    start_server: StartServer, folder: Path
) -> None:
    unfinished, finished = put(folder, f"{KEY}#1", old=False), put(folder, "01/23/0123" + "4" * 28, old=False)
    async with start_server():
        await until_gone(unfinished)
    assert finished.exists()


async def test_where_servers_share_a_folder_unfinished_files_are_removed_by_their_age_and_no_others(
    start_server: StartServer, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    old, young = put(shared, f"{KEY}#1"), put(shared, "01/23/0123" + "4" * 28 + "#1", old=False)
    finished = put(shared, "01/24/0124" + "4" * 28)
    async with start_server(storage_url=f"file://{shared}"):
        await until_gone(old)
    assert files_in(shared) == [young, finished]


async def test_the_age_of_files_is_by_the_clock_of_their_folder(
    start_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    old, young = put(shared, f"{KEY}#1"), put(shared, "01/23/0123" + "4" * 28 + "#1", old=False)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 2 * OLD_SECONDS)
    async with start_server(storage_url=f"file://{shared}"):
        await until_gone(old)
    assert files_in(shared) == [young]


async def test_a_finished_file_in_a_shared_folder_is_removed_if_an_upload_of_this_database_left_it(
    start_server: StartServer, tmp_path: Path, database_url: str
) -> None:
    shared = tmp_path / "shared"
    dead, foreign, young = put(shared, KEY), put(shared, "01/23/0123" + "4" * 28), put(shared, "01/24/0124" + "4" * 28)
    database = open_database(database_url)
    for path, age in ((dead, timedelta(days=2)), (young, timedelta(hours=2))):
        row = insert(PendingObjectRow).values(
            storage_key=str(path.relative_to(shared)), created_at=utc_now() - age, is_given_up=False
        )
        await database.write(lambda connection, row=row: connection.execute(row))  # type: ignore[misc]
    async with start_server(storage_url=f"file://{shared}") as server:
        await until_gone(dead)
        attachment_id = await upload(server, b"kept")
        assert await content_of(server, attachment_id) == b"kept"
    assert await count_rows(database, "pending_objects") == [1]
    await database.close()
    assert {foreign, young} < set(files_in(shared))


@pytest.mark.databases("postgresql")
async def test_an_upload_under_way_on_another_server_of_the_database_survives_a_start(
    start_server: StartServer, folder: Path
) -> None:
    unfinished, marker = put(folder, f"{KEY}#1", old=False), put(folder, "01/23/0123" + "4" * 28 + "#1")
    async with start_server():
        await until_gone(marker)
    assert unfinished.exists()


async def test_an_upload_under_way_is_left_alone_however_old(served: Served, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    storage = open_storage(folder)
    sweeper = Sweeper(served.database, storage, register=tmp_path / "register", sole_user=True)
    await sweeper.open()
    sweeping = asyncio.create_task(sweeper.background.run())

    async def sweep() -> None:
        dead = [put(folder, "01/23/0123" + "4" * 28), put(folder, "ff/ff/ffff" + "0" * 28)]
        sweeper.background.wake()
        await until_gone(*dead)

    key = storage.new_key()
    async with storage.new_object(key) as sink:
        await sink.write(memoryview(b"slow"))
        make_old(folder / f"{key}#1")
        await sweep()
        await sink.finish()
        await sweep()
        assert files_in(folder) == [folder / key]
    sweeping.cancel()


async def test_a_folder_that_two_databases_have_used_keeps_what_one_of_them_may_name(
    start_server: StartServer, data_dir: Path, folder: Path
) -> None:
    async with start_server():
        pass
    register = data_dir / "attachments.databases"
    register.write_text(register.read_text() + "22222222-2222-4222-8222-222222222222\n")
    finished, unfinished = put(folder, KEY), put(folder, "01/23/0123" + "4" * 28 + "#1")
    async with start_server():
        await until_gone(unfinished)
    assert finished.exists()


async def test_nothing_is_left_of_uploads_that_were_killed(data_dir: Path, folder: Path) -> None:
    data_dir.mkdir()
    process = ServerProcess(data_dir)
    accepted: list[str] = []

    async def upload_on(client: httpx2.AsyncClient) -> None:
        with suppress(httpx2.TransportError):
            while True:
                answer = await client.post("/api/v1/file", files={"file": ("a.bin", os.urandom(2000))})
                assert answer.status_code == 200
                accepted.append(answer.json()["data"]["attachment_id"])

    try:
        await process.start()
        headers = {"X-API-Key": API_KEY}
        async with httpx2.AsyncClient(
            base_url=process.base_url, headers=headers, trust_env=False, timeout=30
        ) as client:
            uploads = [asyncio.create_task(upload_on(client)) for _ in range(16)]
            await eventually(lambda: len(accepted) >= 100, seconds=30)
            await process.kill()
            await asyncio.gather(*uploads)
        for path in files_in(folder):
            make_old(path)
        dead = [put(folder, KEY), put(folder, "ff/ff/ffff" + "0" * 28)]  # if the kill came between two uploads
        await process.start()
        async with httpx2.AsyncClient(
            base_url=process.base_url, headers=headers, trust_env=False, timeout=30
        ) as client:
            await until_gone(*dead)
            for attachment_id in accepted:
                assert (await client.get(f"/api/v1/files/{attachment_id}/content")).status_code == 200
        # Rows that were committed, and whose answers the kill took, have their files too.
        assert len(files_in(folder)) == row_count(data_dir)
    finally:
        await process.close()
