"""A database that another process holds, and a data folder that cannot be written."""

import asyncio
import io
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.auth.scopes import Scope
from app.database import sqlite
from tests.support.client import Client
from tests.support.logs import logging_to
from tests.support.server import Server

BUSY_SECONDS = 0.5
WRITERS = 6


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_SECONDS", BUSY_SECONDS)
    with logging_to(io.StringIO()):
        yield


@pytest.mark.databases("sqlite", reason="the lock is one of SQLite's")
@pytest.mark.xdist_group("timing")
async def test_writers_answer_in_a_bounded_time_while_another_process_holds_the_database(
    client: Client, data_dir: Path
) -> None:
    await client.chat("Hello", session_id="before")
    other = sqlite3.connect(data_dir / "palaver.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        began = time.monotonic()
        body = {"username": "alice", "message": "Hello"}
        answers = await asyncio.gather(*(client.post("/api/v1/chat", body) for _ in range(WRITERS)))
        took = time.monotonic() - began
        # Not one after another: that would be WRITERS times as long.
        assert {(each.status_code, each.json()["code"]) for each in answers} == {(503, "database_unavailable")}
        assert all("Retry-After" in each.headers for each in answers)
        assert took < (WRITERS - 1) * BUSY_SECONDS
        # Readers do not wait.
        assert (await client.get("/api/v1/chat/sessions", username="alice")).json()["data"]["total"] == 1
    finally:
        other.execute("ROLLBACK")
        other.close()
    await client.chat("Hello", session_id="after")
    assert (await client.get("/api/v1/chat/sessions", username="alice")).json()["data"]["total"] == 2


async def test_a_key_is_revoked_though_other_processes_cannot_be_told(server: Server, data_dir: Path) -> None:
    async with (
        Client(server, await server.new_key("chat")) as victim,
        Client(server, await server.new_key("admin")) as admin,
    ):
        assert (await victim.get("/api/v1/chat/sessions", username="alice")).status_code == 200
        keys = (await admin.get("/api/v1/api-keys")).json()["data"]["api_keys"]
        (key_id,) = (key["key_id"] for key in keys if key["scopes"] == [Scope.CHAT])
        (data_dir / "keys.changed").unlink(missing_ok=True)
        (data_dir / "keys.changed").mkdir()  # nothing can be written there, whoever runs the tests

        assert (await admin.post(f"/api/v1/api-keys/{key_id}/revoke")).status_code == 200
        assert (await victim.get("/api/v1/chat/sessions", username="alice")).status_code == 401
