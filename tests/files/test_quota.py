"""The bytes that the files of one key may take together."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, text, update

from app.auth.models import Principal
from app.auth.scopes import Scope
from app.database.engine import Database, open_database
from app.files.models import AttachmentRow
from app.files.quota import QuotaExceeded, StorageQuota, stored_bytes
from app.files.service import FileService
from app.files.storage import open_storage
from app.idempotency import Idempotency
from tests.conftest import StartServer
from tests.files.conftest import FileClient
from tests.support.client import Client

QUOTA = 1024 * 1024
CODE = "storage_quota_exceeded"
KEPT = "SELECT key_id, bytes FROM storage_use ORDER BY 1"
COUNTED = (
    "SELECT key_id, SUM(CASE WHEN size < 4096 THEN 4096 ELSE size END) FROM attachments GROUP BY key_id ORDER BY 1"
)
KEY = Principal(key_id="k", name="k", scopes=frozenset())


@pytest.fixture
async def client(start_server: StartServer) -> AsyncIterator[FileClient]:
    async with (
        start_server(max_storage_per_key=QUOTA) as server,
        FileClient(server, await server.new_key(Scope.FILE, Scope.KNOWLEDGE, Scope.CHAT)) as client,
    ):
        yield client


async def test_an_upload_beyond_the_quota_is_refused_until_a_file_is_deleted(
    client: FileClient, data_dir: Path
) -> None:
    stored = await _upload(client, 600_000)
    assert stored.status_code == 200
    refused = await _upload(client, 600_000)
    assert (refused.status_code, refused.json()["code"]) == (413, CODE)
    assert len([path for path in (data_dir / "attachments").rglob("*") if path.is_file()]) == 1
    assert (await _upload(client, 400_000)).status_code == 200
    await client.delete(f"/api/v1/files/{stored.json()['data']['attachment_id']}")
    assert (await _upload(client, 600_000)).status_code == 200


async def test_each_key_has_a_quota_of_its_own(start_server: StartServer) -> None:
    async with start_server(max_storage_per_key=QUOTA) as server:
        for _ in range(2):
            async with FileClient(server, await server.new_key(Scope.FILE)) as client:
                assert (await _upload(client, QUOTA)).status_code == 200
                assert (await _upload(client, 1)).status_code == 413


async def test_a_full_key_is_refused_before_its_file_is_read(start_server: StartServer) -> None:
    async with start_server(max_storage_per_key=QUOTA) as server:
        key = await server.new_key(Scope.FILE)
        async with FileClient(server, key) as client:
            await _upload(client, QUOTA)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = f"POST /api/v1/file HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\nContent-Length: 1000000\r\n"
        head += "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        form = '--b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\nx'
        writer.write((head + form).encode())
        async with asyncio.timeout(10):
            answer = await reader.readuntil(b"}")
        writer.close()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert CODE.encode() in answer


async def test_many_small_files_count_as_blocks(client: FileClient) -> None:
    for _ in range(QUOTA // 4096):
        assert (await _upload(client, 0)).status_code == 200
    assert (await _upload(client, 0)).status_code == 413


async def test_a_repeated_upload_needs_no_room(client: FileClient) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await _upload(client, QUOTA, headers=headers)
    assert (await _upload(client, QUOTA, headers=headers)).json()["data"] == first.json()["data"]
    assert (await _upload(client, QUOTA, headers={"Idempotency-Key": "twice"})).status_code == 413


async def test_documents_of_collections_count(client: FileClient) -> None:
    collection = (await client.post("/api/v1/knowledge/collections", {"name": "c", "username": "alice"})).json()["data"]
    path = f"/api/v1/knowledge/collections/{collection['collection_id']}/documents"
    await _upload(client, QUOTA - 5000)
    assert (await client.post(path, {"title": "a", "text": "x" * 4000})).status_code == 201
    refused = await client.post(path, {"title": "b", "text": "y" * 4000})
    assert (refused.status_code, refused.json()["code"]) == (413, CODE)
    listing = (await client.get(path)).json()["data"]
    assert listing["total"] == 1


async def test_files_sent_to_v1_count(client: FileClient) -> None:
    await _upload(client, QUOTA)
    file = {"filename": "a.txt", "file_data": "data:text/plain;base64,aGVsbG8="}
    content = [{"type": "text", "text": "Hi"}, {"type": "file", "file": file}]
    body = {"messages": [{"role": "user", "content": content}], "session_id": "s"}
    answer = await client.post("/v1/chat/completions", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, CODE)


async def test_a_quota_of_0_is_none(start_server: StartServer) -> None:
    async with (
        start_server(max_storage_per_key=0) as server,
        FileClient(server, await server.new_key(Scope.FILE)) as one,
    ):
        assert (await _upload(one, QUOTA * 2)).status_code == 200


async def test_uploads_at_once_do_not_exceed_the_quota_together(database_url: str, tmp_path: Path) -> None:
    """In two processes: neither sees what arrives at the other."""
    databases = [open_database(database_url) for _ in range(2)]
    services = [
        FileService(database, open_storage(tmp_path / "files"), Idempotency(database), StorageQuota(QUOTA), QUOTA)
        for database in databases
    ]
    everyone = asyncio.Barrier(8)

    async def save(service: FileService) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"x" * 1000
            await everyone.wait()  # by now each has seen that there is room
            yield b"x" * 239_000

        await service.save("a.bin", chunks(), KEY)

    results = await asyncio.gather(*(save(services[number % 2]) for number in range(8)), return_exceptions=True)
    assert [type(result) for result in results if result is not None] == [QuotaExceeded] * 4
    assert await databases[0].read(lambda connection: stored_bytes(connection, "k")) == 960_000
    for database in databases:
        await database.close()


async def test_what_arrives_counts_and_is_forgotten_when_it_fails() -> None:
    quota = StorageQuota(100)

    async def chunks(size: int, *, fails: bool = False) -> AsyncIterator[bytes]:
        yield b"x" * size
        if fails:
            raise ConnectionError

    first = quota.count(chunks(60), "k", 0)
    await anext(first)
    with pytest.raises(QuotaExceeded):
        await _take_all(quota.count(chunks(60), "k", 0))
    await first.aclose()
    with pytest.raises(ConnectionError):
        await _take_all(quota.count(chunks(60, fails=True), "k", 0))
    await _take_all(quota.count(chunks(60), "k", 40))


async def test_triggers_keep_the_bytes_in_step_with_the_attachments(database_url: str) -> None:
    database = open_database(database_url)

    def add(connection: Connection) -> None:
        for number in range(30):
            connection.execute(insert(AttachmentRow).values(**_row(number)))

    def change(connection: Connection) -> None:
        connection.execute(update(AttachmentRow).where(AttachmentRow.key_id == "k1").values(key_id="k9", size=10))
        connection.execute(delete(AttachmentRow).where((AttachmentRow.key_id == "k2") | (AttachmentRow.id < "2")))

    await database.write(add)
    assert await _rows(database, KEPT) == await _rows(database, COUNTED) != []
    await database.write(change)
    assert await _rows(database, KEPT) == await _rows(database, COUNTED) != []
    await database.write(lambda connection: connection.execute(delete(AttachmentRow)))
    assert await _rows(database, KEPT) == []
    await database.close()


def _row(number: int) -> dict[str, Any]:
    names = dict.fromkeys(("filename", "type", "media_type", "sha256", "storage_key"), str(number))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return {**names, "id": str(number), "size": number * 1000, "key_id": f"k{number % 3}", "created_at": now}


async def _rows(database: Database, query: str) -> list[tuple[Any, ...]]:
    return await database.read(lambda connection: [tuple(row) for row in connection.execute(text(query))])


async def _take_all(chunks: AsyncIterator[bytes]) -> None:
    async for _ in chunks:
        pass


async def _upload(client: Client, size: int, **options: Any) -> Any:
    return await client.request("POST", "/api/v1/file", files={"file": ("a.bin", b"x" * size)}, **options)
