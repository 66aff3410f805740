"""What operators are told by a real server that does real work."""

import asyncio
import io
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import answers
from tests.support.answers import SECRET, reply
from tests.support.client import Client
from tests.support.logs import logging_to, parsed
from tests.support.model_server import ModelServer
from tests.support.server import Server

DIARY = "dear diary, nobody reads this"


@pytest.fixture(autouse=True)
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    with logging_to(stream, "debug"):
        yield stream


async def test_ready_asks_the_real_database_and_storage(client: Client, data_dir: Path) -> None:
    ready = await client.get("/ready")
    assert ready.json() == {"status": "ready", "checks": {"database": "ok", "storage": "ok"}}

    shutil.rmtree(data_dir / "attachments")
    ready = await client.get("/ready")
    assert ready.status_code == 503
    assert ready.json() == {"status": "not_ready", "checks": {"database": "ok", "storage": "failed"}}


async def until_ready(client: Client, status: int) -> dict[str, str]:
    """Ask until /ready answers so, which it may do a moment later: it writes once a second at most."""
    async with asyncio.timeout(20):
        while (answer := await client.get("/ready")).status_code != status:
            await asyncio.sleep(0.2)
    checks: dict[str, str] = answer.json()["checks"]
    return checks


@pytest.mark.databases("sqlite")
async def test_not_ready_while_another_process_holds_the_write_lock(client: Client, data_dir: Path) -> None:
    await until_ready(client, 200)
    with closing(sqlite3.connect(data_dir / "palaver.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert await until_ready(client, 503) == {"database": "failed", "storage": "ok"}
        other.execute("ROLLBACK")
    await until_ready(client, 200)


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize("replaced", [False, True])
async def test_a_database_that_is_deleted_or_replaced_is_missed_and_nothing_is_lost_into_it(
    client: Client, data_dir: Path, lines: io.StringIO, replaced: bool
) -> None:
    await client.chat("Hi", session_id="s1")
    await until_ready(client, 200)
    database, aside = data_dir / "palaver.db", data_dir / "aside.db"
    database.rename(aside)
    if replaced:
        shutil.copy(aside, database)

    assert await until_ready(client, 503) == {"database": "failed", "storage": "ok"}
    for _ in range(2):
        refused = await client.post("/api/v1/chat", {"username": "alice", "message": "Hi", "session_id": "s1"})
        assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
    assert database.exists() == replaced
    errors = [line for line in parsed(lines) if line["event"] == "database_file_gone"]
    assert [(line["level"], line["file"]) for line in errors] == [("error", str(database))]

    aside.replace(database)
    await until_ready(client, 200)
    await client.chat("Hi", session_id="s1")


async def test_probes_share_one_write(client: Client, data_dir: Path) -> None:
    """The storage's write is once a second at most, however often /ready is asked."""
    await until_ready(client, 200)
    before = (data_dir / "attachments").stat().st_mtime_ns
    start = time.monotonic()
    assert {answer.status_code for answer in await asyncio.gather(*(client.get("/ready") for _ in range(20)))} == {200}
    if time.monotonic() - start < 0.5:
        assert (data_dir / "attachments").stat().st_mtime_ns == before


async def test_a_run_shows_in_the_numbers(client: Client, model: ModelServer) -> None:
    model.script(reply(["Hello", " you"], usage=(10, 0, 3)), answers.status(500))
    await client.chat("Hi")
    await client.chat("Hi")

    numbers = (await client.get("/metrics")).text.splitlines()
    for line in (
        'palaver_runs_total{state="completed"} 1.0',
        'palaver_runs_total{state="failed"} 1.0',
        "palaver_runs_active 0.0",
        "palaver_run_queue_length 0.0",
        "palaver_open_streams 0.0",
        "palaver_time_to_first_token_seconds_count 1.0",
        'palaver_tokens_total{kind="completion"} 3.0',
        'palaver_requests_total{method="POST",route="/api/v1/chat",status="200"} 2.0',
    ):
        assert line in numbers


async def test_lines_have_request_key_and_run_and_never_a_key_a_text_or_a_secret_defect_22(
    client: Client, server: Server, model: ModelServer, lines: io.StringIO
) -> None:
    model.script(reply(["the answer is secret too"]), answers.status(401), answers.cut_after(3))
    async with client.http.stream(
        "POST",
        "/api/v1/chat?api_key=plv_in_the_query",
        json={"username": "alice", "message": DIARY},
        headers={"X-Request-ID": "the-chat"},
    ) as response:
        assert response.headers["X-Request-ID"] == "the-chat"
        await response.aread()
    await client.chat(DIARY)
    await client.chat(DIARY)
    await client.request("POST", "/api/v1/file", files={"file": ("a.txt", DIARY.encode())})
    async with Client(server, "plv_wrong0000000000000000000000000000000000") as stranger:
        assert (await stranger.get("/api/v1/configs")).status_code == 401

    access = next(line for line in parsed(lines) if line["event"] == "request")
    assert (access["request_id"], access["route"], access["path"]) == ("the-chat", "/api/v1/chat", "/api/v1/chat")
    ended = next(line for line in parsed(lines) if line["event"] == "run_ended")
    assert ended["request_id"] == "the-chat"
    assert ended["key_id"] == access["key_id"]
    assert ended["run_id"]
    for secret in (DIARY, "the answer is secret", SECRET, "sk-upstream", str(client.key), "plv_"):
        assert secret not in lines.getvalue()


async def test_every_answer_of_the_server_has_a_request_id(client: Client) -> None:
    for method, path in (("GET", "/"), ("GET", "/nowhere"), ("DELETE", "/health"), ("OPTIONS", "/api/v1/chat")):
        response = await client.request(method, path)
        assert len(response.headers["X-Request-ID"]) == 36
