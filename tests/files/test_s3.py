"""Attachments in a bucket that servers share, of a real server of the protocol."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import Connection

from app.auth.scopes import Scope
from app.database.engine import Database, open_database
from tests.conftest import StartServer
from tests.files.conftest import FileClient
from tests.support.database import count_rows, execute
from tests.support.processes import API_KEY, ServerProcess
from tests.support.programs import ROOT
from tests.support.s3 import BUCKET, S3, s3_server

pytest.importorskip("moto", reason="moto, the S3 server of the tests, is not installed")
pytestmark = [pytest.mark.databases("postgresql"), pytest.mark.xdist_group("s3")]

URL = f"s3://{BUCKET}/attachments"
PART = 5 * 1024**2


@pytest.fixture
async def s3(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[S3]:
    async with s3_server() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The servers' database, from beside them."""
    database = open_database(database_url)
    yield database
    await database.close()


async def upload(client: FileClient, content: bytes) -> str:
    answer = await client.post("/api/v1/file", files={"file": ("a.bin", content)})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["data"]["attachment_id"])


async def test_what_one_server_takes_another_one_serves_and_removes(
    s3: S3, start_server: StartServer, database: Database
) -> None:
    content = os.urandom(2 * PART + 4321)
    async with (
        start_server(storage_url=URL) as one,
        start_server(storage_url=URL) as other,
        FileClient(one, key := await one.new_key(Scope.FILE)) as uploading,
        FileClient(other, key) as reading,
    ):
        path = f"/api/v1/files/{await upload(uploading, content)}"
        assert await count_rows(database, "attachments", "pending_objects") == [1, 0]
        assert (await reading.get(f"{path}/content")).content == content
        for start, end in ((0, 0), (PART - 3, PART + 3), (2 * PART, len(content) - 1)):
            answer = await reading.get(f"{path}/content", headers={"Range": f"bytes={start}-{end}"})
            assert (answer.status_code, answer.content) == (206, content[start : end + 1])
        many = await asyncio.gather(*(upload(client, b"small") for client in (uploading, reading) * 8))
        assert len(set(many)) == 16
        assert len(await s3.keys()) == 17
        assert (await reading.delete(path)).status_code == 200
        assert (await uploading.get(f"{path}/content")).status_code == 404
        assert len(await s3.keys()) == 16
        assert (await uploading.get("/ready")).status_code == 200


async def test_an_upload_that_is_refused_or_cut_leaves_nothing(s3: S3, start_server: StartServer) -> None:
    async with (
        start_server(storage_url=URL, max_upload_bytes=2 * PART) as server,
        FileClient(server, await server.new_key(Scope.FILE)) as client,
    ):
        answer = await client.post("/api/v1/file", files={"file": ("a.bin", bytes(2 * PART + 1))})
        assert answer.status_code == 413
        with suppress(httpx2.TransportError, TimeoutError):
            await asyncio.wait_for(client.http.post("/api/v1/file", content=endless(), headers=FORM), 1)
        async with asyncio.timeout(20):
            while await s3.unfinished():
                await asyncio.sleep(0.05)
        assert await s3.keys() == []


FORM = {"Content-Type": "multipart/form-data; boundary=x"}
HEAD = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'


async def endless() -> AsyncIterator[bytes]:
    """The body of an upload that comes to two parts, and to no end."""
    yield HEAD + bytes(2 * PART + 100)
    await asyncio.sleep(3600)


async def test_a_kill_in_the_middle_of_an_upload_leaves_nothing_that_stays(
    s3: S3, data_dir: Path, database_url: str, database: Database
) -> None:
    process = ServerProcess(
        data_dir, {**s3.environment, "PALAVER_STORAGE_URL": URL, "PALAVER_DATABASE_URL": database_url}
    )
    data_dir.mkdir(exist_ok=True)
    foreign = "attachments/00/00/0000" + "f" * 28
    await s3.put(foreign, b"of another installation")
    try:
        await process.start()
        headers = {"X-API-Key": API_KEY, **FORM}
        async with httpx2.AsyncClient(base_url=process.base_url, headers=headers, trust_env=False) as client:
            uploading = asyncio.create_task(client.post("/api/v1/file", content=endless(), timeout=60))
            async with asyncio.timeout(30):
                while not (keys := await s3.unfinished()) or await s3.parts_of(keys[0]) == 0:
                    await asyncio.sleep(0.05)
            await process.kill()
            uploading.cancel()
        # The parts are for the bucket's own rule; of the object nothing is to be seen, and its row is there.
        assert await s3.keys() == [foreign]
        (key,) = await database.read(_pending)
        # As a kill between the object's last part and its row leaves it, a day later.
        await s3.put(f"attachments/{key}", b"without a row")
        await execute(database, "UPDATE pending_objects SET created_at = created_at - interval '1 day'")
        await process.start()
        async with asyncio.timeout(30):
            while await count_rows(database, "pending_objects") != [0]:
                await asyncio.sleep(0.05)
        assert await s3.keys() == [foreign]
    finally:
        await process.close()


def _pending(connection: Connection) -> list[str]:
    return list(connection.exec_driver_sql("SELECT storage_key FROM pending_objects").scalars())


async def test_the_rule_for_what_a_kill_leaves_is_one_that_buckets_take(s3: S3) -> None:
    (rule,) = json.loads((ROOT / "deploy" / "s3-lifecycle.json").read_text())["Rules"]
    days = rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"]
    xml = (
        f"<LifecycleConfiguration><Rule><ID>{rule['ID']}</ID><Status>{rule['Status']}</Status>"
        f"<Filter><Prefix>{rule['Filter']['Prefix']}</Prefix></Filter><AbortIncompleteMultipartUpload>"
        f"<DaysAfterInitiation>{days}</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>"
        "</LifecycleConfiguration>"
    )
    (await s3.http.put(f"/{BUCKET}?lifecycle", content=xml)).raise_for_status()
    stored = (await s3.http.get(f"/{BUCKET}?lifecycle")).text
    assert f"<DaysAfterInitiation>{days}</DaysAfterInitiation>" in stored
