"""A disk that is full: what cannot be written is refused with 503, and what was there before is intact.

The limit on the size of a process' files stands for the disk: SQLite and the storage meet it as they would a full one.
"""

import asyncio
import resource
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.support.answers import numbered, reply
from tests.support.model_server import ModelServer
from tests.support.processes import API_KEY, ServerProcess, provider_toml

pytestmark = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits another process' files")

LIMIT_BYTES = 32 * 1024


@pytest.fixture
async def process(data_dir: Path, model: ModelServer) -> AsyncIterator[ServerProcess]:
    data_dir.mkdir()
    (data_dir / "palaver.toml").write_text(provider_toml(model.base_url))
    started = ServerProcess(data_dir, {"PALAVER_LOG_LEVEL": "error"})
    try:
        await started.start()
        yield started
    finally:
        await started.close()


@pytest.fixture
async def http(process: ServerProcess) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"X-API-Key": API_KEY}
    async with httpx2.AsyncClient(base_url=process.base_url, headers=headers, trust_env=False, timeout=30) as client:
        for number in range(10):  # the log of writes is longer than the limit from here on
            assert (await chat(client, f"before {number}")).status_code == 200
        assert (process.data_dir / "palaver.db-wal").stat().st_size > LIMIT_BYTES
        yield client


@contextmanager
def full_disk(process: ServerProcess) -> Iterator[None]:
    pid = process.process.pid
    unlimited = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (LIMIT_BYTES, unlimited[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)


async def chat(http: httpx2.AsyncClient, message: str, **headers: str) -> httpx2.Response:
    body = {"username": "alice", "session_id": "s1", "message": message}
    return await http.post("/api/v1/chat", json=body, headers=headers)


async def questions(http: httpx2.AsyncClient) -> list[str]:
    params = {"username": "alice", "limit": "100"}
    messages = (await http.get("/api/v1/chat/sessions/s1/messages", params=params)).json()["data"]["messages"]
    return [message["parts"][0]["text"] for message in messages[::-1] if message["role"] == "user"]


async def test_what_cannot_be_written_is_503_and_what_was_there_is_intact(
    process: ServerProcess, http: httpx2.AsyncClient
) -> None:
    before = await questions(http)
    with full_disk(process):
        for _ in range(3):
            refused = await chat(http, "too much", **{"Idempotency-Key": "k1"})
            assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
            assert int(refused.headers["retry-after"]) >= 1
        body = {"umo": "webchat:FriendMessage:s1", "message": "news"}
        assert (await http.post("/api/v1/im/message", json=body)).status_code == 503
        upload = await http.post("/api/v1/file", files={"file": ("a.bin", bytes(4 * LIMIT_BYTES))})
        assert (upload.status_code, upload.json()["code"]) == (503, "storage_unavailable")
        assert await questions(http) == before
    for _ in range(2):
        assert (await chat(http, "now", **{"Idempotency-Key": "k1"})).status_code == 200
    assert await questions(http) == [*before, "now"]
    assert not [path for path in (process.data_dir / "attachments").rglob("*") if path.is_file()]
    with closing(sqlite3.connect(process.data_dir / "palaver.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.xdist_group("timing")
async def test_a_reply_waits_for_the_disk(process: ServerProcess, http: httpx2.AsyncClient, model: ModelServer) -> None:
    gate = asyncio.Event()
    model.script(reply(numbered(40), gate=gate, hold_after=5))
    count = len(model.requests)
    replying = asyncio.create_task(chat(http, "long"))
    await model.wait_for_requests(count + 1)
    with full_disk(process):
        gate.set()
        assert (await chat(http, "too much")).status_code == 503
        await asyncio.sleep(1.0)  # time for a checkpoint and an end that cannot be written
        assert not replying.done()
    response = await replying
    assert '"type":"complete"' in response.text
    assert "".join(numbered(40)) in response.text
