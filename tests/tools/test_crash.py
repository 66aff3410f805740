"""A server that is killed while a tool is at work: the call is told as interrupted, and not made again."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from app.bootstrap import create_app
from app.core import open_core
from tests.support import answers
from tests.support.answers import reply
from tests.support.client import Client, types_of
from tests.support.model_server import ModelServer
from tests.support.processes import API_KEY, ServerProcess, provider_toml
from tests.support.server import Server, make_settings
from tests.tools.test_steps import calls_in


class Site:
    """A web server that counts its visitors, and keeps the second one waiting for ever."""

    def __init__(self) -> None:
        self.visits = 0
        self.second = asyncio.Event()
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        if self.visits > 1:
            self.second.set()
            await reader.read()
        else:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nfirst page")
        writer.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    server = await asyncio.start_server(site.answer, "127.0.0.1", 0)
    site.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server:
        yield site


@pytest.fixture
async def process(data_dir: Path, backend: str, database_url: str, model: ModelServer) -> AsyncIterator[ServerProcess]:
    (data_dir / "configs").mkdir(parents=True, exist_ok=True)
    (data_dir / "palaver.toml").write_text(provider_toml(model.base_url))
    (data_dir / "configs" / "default.toml").write_text('[tools]\nuse = ["fetch_page"]\n')
    database: Mapping[str, str] = {} if backend == "sqlite" else {"PALAVER_DATABASE_URL": database_url}
    process = ServerProcess(data_dir, {"PALAVER_FETCH_ALLOW_PRIVATE": "true", **database})
    try:
        await process.start()
        yield process
    finally:
        await process.close()


@pytest.fixture
async def client(process: ServerProcess, tmp_path: Path) -> AsyncIterator[Client]:
    settings = make_settings(tmp_path / "beside")
    server = Server(create_app(settings), process.base_url, settings, open_core(settings))
    async with Client(server, API_KEY) as client:
        yield client


async def test_a_call_under_way_is_interrupted_and_not_made_again(
    process: ServerProcess, client: Client, model: ModelServer, site: Site
) -> None:
    model.script(
        answers.tool_calls(("c1", "fetch_page", json.dumps({"url": site.url})), text=["One. "]),
        answers.tool_calls(("c2", "fetch_page", json.dumps({"url": f"{site.url}?2"})), text=["Two. "]),
        reply(["Next."]),
    )
    async with client.chatting("Go", session_id="s1") as events:
        run_id = (await anext(events)).data["run_id"]
        await site.second.wait()
        await process.end(signal.SIGKILL)
    await process.start()
    await client.until_run(run_id, "interrupted")
    first, step, second, interrupted = (await client.history("s1"))[1]["parts"]
    assert (first["text"], second["text"]) == ("One. ", "Two. ")
    assert [call["status"] for call in step["tool_calls"]] == ["ok"]
    assert "first page" in step["tool_calls"][0]["result"]
    assert [(call["id"], call["status"]) for call in interrupted["tool_calls"]] == [("c2", "interrupted")]
    replay = await client.replay(run_id)
    assert [kind for kind, _ in calls_in(replay)] == ["tool_call", "tool_call_result"] * 2
    assert types_of(replay)[-2:] == ["error", "end"]
    await client.chat("And?", session_id="s1")
    assert site.visits == 2
    shown = model.requests[-1].body["messages"]
    assert "interrupted" in shown[-2]["content"]
