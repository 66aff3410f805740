"""A server that is killed, while another one on the same database serves its clients: real processes."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from app.bootstrap import create_app
from app.core import open_core
from tests.support.answers import numbered, reply
from tests.support.client import Client, SseEvent, text_of, types_of
from tests.support.model_server import ModelServer
from tests.support.processes import API_KEY, ServerProcess, provider_toml
from tests.support.server import Server, make_settings

pytestmark = [pytest.mark.databases("postgresql"), pytest.mark.xdist_group("timing")]

END_SECONDS = 7.0
BEHIND_SECONDS = 1.0
"""A quarter of a second, and what a loaded machine adds."""


@pytest.fixture
async def processes(
    tmp_path: Path, database_url: str, model: ModelServer
) -> AsyncIterator[tuple[ServerProcess, ServerProcess]]:
    """Two servers with the same settings, which is all that they share beside the database."""
    environment = {"PALAVER_DATABASE_URL": database_url, "PALAVER_SECRET_KEY": secrets.token_hex(32)}
    pair = []
    async with AsyncExitStack() as stack:
        for name in ("a", "b"):
            folder = tmp_path / name
            folder.mkdir()
            (folder / "palaver.toml").write_text(provider_toml(model.base_url))
            process = ServerProcess(folder, environment)
            stack.push_async_callback(process.close)
            pair.append(process)
        await asyncio.gather(*(process.start() for process in pair))
        yield pair[0], pair[1]


@asynccontextmanager
async def client_of(process: ServerProcess, tmp_path: Path) -> AsyncIterator[Client]:
    # The application beside it only lends its document, which the answers are held against.
    settings = make_settings(tmp_path / "beside")
    server = Server(create_app(settings), process.base_url, settings, open_core(settings))
    async with Client(server, API_KEY) as client:
        yield client


async def test_the_replies_of_a_killed_server_end_at_the_other_one(
    processes: tuple[ServerProcess, ServerProcess], tmp_path: Path, model: ModelServer
) -> None:
    model.script(reply(numbered(2_000), delay=0.02), reply(["fine"]))
    killed, other = processes
    async with client_of(killed, tmp_path) as a, client_of(other, tmp_path) as b:
        async with a.chatting("Hi", session_id="s1") as events:
            run_id = (await anext(events)).data["run_id"]
        seen: list[tuple[float, SseEvent]] = []
        async with b.stream("GET", f"/api/v1/chat/runs/{run_id}/stream") as following:
            async for event in following:
                seen.append((time.monotonic(), event))
                if len(seen) == 100:
                    await killed.kill()
                    killed_at = time.monotonic()
        assert time.monotonic() - killed_at < END_SECONDS
        events_seen = [event for _, event in seen]
        assert types_of(events_seen)[-3:] == ["message_saved", "error", "end"]
        assert events_seen[-2].data["code"] == "interrupted"
        question, partial = await b.history("s1")
        assert (question["status"], partial["status"]) == ("complete", "partial")
        old = [event for at, event in seen if at < killed_at - BEHIND_SECONDS]
        assert len(text_of(old)) > 50
        assert partial["parts"][0]["text"].startswith(text_of(old))
        # One who saw more than was kept, and comes back, gets the end and nothing twice.
        assert types_of(await b.replay(run_id, after=events_seen[-4].id)) == ["message_saved", "error", "end"]
        assert text_of(await b.chat("Again", session_id="s1")) == "fine"
        assert len(model.requests) == 2


async def test_waiting_messages_of_a_killed_server_hold_nobody_up(
    processes: tuple[ServerProcess, ServerProcess], tmp_path: Path, model: ModelServer
) -> None:
    model.script(reply(numbered(2_000), delay=0.05), reply(["fine"]))
    killed, other = processes
    async with client_of(killed, tmp_path) as a, client_of(other, tmp_path) as b:
        for number in range(3):
            async with a.chatting(f"m{number}", session_id="s1") as events:
                await anext(events)
        async with b.chatting("m3", session_id="s1") as waiting:
            await anext(waiting)
            await killed.kill()
            async with asyncio.timeout(END_SECONDS + 3):
                assert text_of([event async for event in waiting]) == "fine"
    assert len(model.requests) == 2


async def test_a_server_that_leaves_gives_its_sessions_over_at_once(
    processes: tuple[ServerProcess, ServerProcess], tmp_path: Path
) -> None:
    leaving, other = processes
    async with client_of(leaving, tmp_path) as a, client_of(other, tmp_path) as b:
        assert text_of(await a.chat("one", session_id="s1")) == "You said: one"
        assert await leaving.end() == 0
        assert text_of(await b.chat("two", session_id="s1")) == "You said: two"
        async with asyncio.timeout(5):
            while "palaver_servers 1.0" not in (await b.get("/metrics")).text:
                await asyncio.sleep(0.1)
