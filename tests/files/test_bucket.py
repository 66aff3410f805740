"""Attachments in a bucket: obstore's own, in memory, which takes its parts as the clouds' do."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.auth.scopes import Scope
from tests.conftest import StartServer
from tests.files.conftest import FileClient

LIMIT = 16 * 1024**2


@pytest.fixture
async def client(start_server: StartServer) -> AsyncIterator[FileClient]:
    async with (
        start_server(max_upload_bytes=LIMIT, storage_url="memory:///") as server,
        FileClient(server, await server.new_key(Scope.FILE)) as client,
    ):
        yield client


@pytest.mark.parametrize("size", [0, 1, 1024**2, 12 * 1024**2 + 1], ids=["empty", "a byte", "a block", "three parts"])
async def test_bytes_come_back_as_they_were_sent(client: FileClient, data_dir: Path, size: int) -> None:
    content = (bytes(range(251)) * (size // 251 + 1))[:size]
    answer = await client.post("/api/v1/file", files={"file": ("a.bin", content)})
    assert answer.status_code == 200, answer.text
    path = f"/api/v1/files/{answer.json()['data']['attachment_id']}"
    assert (await client.get(f"{path}/content")).content == content
    assert not (data_dir / "attachments").exists()
    assert (await client.delete(path)).status_code == 200
    assert (await client.get(f"{path}/content")).status_code == 404


async def test_too_large_a_file_is_413_in_the_middle_of_its_parts(client: FileClient) -> None:
    answer = await client.post("/api/v1/file", files={"file": ("a.bin", bytes(LIMIT + 1))})
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
    answer = await client.post("/api/v1/file", files={"file": ("b.bin", b"the server still works")})
    assert answer.status_code == 200
