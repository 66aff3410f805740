"""Titles that the model writes."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support import answers
from tests.support.answers import reply
from tests.support.client import Client, text_of
from tests.support.model_server import ModelServer
from tests.support.server import Server

SESSIONS = "/api/v1/chat/sessions"


@pytest.fixture(autouse=True)
def profile(server: Server, data_dir: Path) -> None:
    folder = data_dir / "configs"
    folder.mkdir(exist_ok=True)
    (folder / "titled.toml").write_text('name = "Titled"\nauto_title = true\n')


async def title(client: Client, session_id: str = "s1") -> str:
    return str((await client.get(f"{SESSIONS}/{session_id}", username="alice")).json()["data"]["display_name"])


async def until_title(client: Client, expected: str) -> None:
    async with asyncio.timeout(10):
        while await title(client) != expected:
            await asyncio.sleep(0.02)


async def chat(client: Client, text: str, **body: Any) -> str:
    return text_of(await client.chat(text, session_id="s1", config_id="titled", **body))


async def test_the_model_writes_the_title_once_and_after_its_reply(client: Client, model: ModelServer) -> None:
    model.script(reply(["Hostas."]), reply(['"Plants ', 'for the shade"\n', "more"]), reply(["Yes."]))
    assert await chat(client, "What grows in the shade?") == "Hostas."
    await until_title(client, "Plants for the shade")
    shown = model.requests[1].body["messages"][-1]["content"]
    assert "What grows in the shade?" in shown and "Hostas." in shown
    assert await chat(client, "Really?") == "Yes."
    assert len(model.requests) == 3
    assert await title(client) == "Plants for the shade"


async def test_a_reply_does_not_wait_for_a_title(client: Client, model: ModelServer) -> None:
    gate = asyncio.Event()
    model.script(reply(["one"]), reply(["Slow title"], gate=gate), reply(["two"]))
    assert await chat(client, "Hi") == "one"
    await model.wait_for_requests(2)
    assert await chat(client, "And?") == "two"
    await client.request("PATCH", f"{SESSIONS}/s1", json={"username": "alice", "display_name": "Mine"})
    gate.set()
    assert await title(client) == "Mine"


async def test_without_the_profiles_word_nothing_is_asked(client: Client, model: ModelServer) -> None:
    await client.chat("Hi", session_id="s1")
    await client.chat("And?", session_id="s1")
    assert len(model.requests) == 2
    assert await title(client) == "Hi"


async def test_a_title_that_fails_is_not_asked_for_again(client: Client, model: ModelServer) -> None:
    model.script(reply(["one"]), answers.status(500), reply(["two"]))
    await chat(client, "Hi")
    await model.wait_for_requests(2)
    assert await chat(client, "And?") == "two"
    assert len(model.requests) == 3
    assert await title(client) == "Hi"


async def test_an_empty_session_gets_its_title_with_the_first_message(client: Client, model: ModelServer) -> None:
    await client.post(SESSIONS, {"username": "alice", "session_id": "s1"})
    model.script(reply(["one"]), reply(["Greetings"]))
    await chat(client, "Hi")
    await until_title(client, "Greetings")
