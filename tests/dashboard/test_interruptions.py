"""Interrupted replies in the dashboard: what is shown at the end is what is stored."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.dashboard.conftest import OpenPage
from tests.dashboard.test_chat import reply_of, send, shown_session, shown_texts, until_over
from tests.support.answers import numbered, reply
from tests.support.model_server import ModelServer
from tests.support.processes import API_KEY, ServerProcess, provider_toml

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def process(data_dir: Path, model: ModelServer) -> AsyncIterator[ServerProcess]:
    data_dir.mkdir()
    (data_dir / "palaver.toml").write_text(provider_toml(model.base_url))
    process = ServerProcess(data_dir)
    await process.start()
    yield process
    await process.close()


async def test_server_is_killed_in_mid_reply_and_started_again(
    process: ServerProcess, model: ModelServer, open_page: OpenPage
) -> None:
    page = await open_page(process.base_url, API_KEY)
    model.script(reply(numbered(40), gate=asyncio.Event(), hold_after=20))
    await send(page, "Count")
    await expect(reply_of(page).get_by_text("t19")).to_be_visible()
    session_id = await shown_session(page)
    await process.kill()
    await expect(page.get_by_text("Connection lost, trying again")).to_be_visible()
    await process.start()
    await expect(page.get_by_text("Stopped before its end")).to_be_visible()
    await until_over(page)
    answer = await page.request.get(f"/api/v1/chat/sessions/{session_id}/messages?username=admin")
    messages = (await answer.json())["data"]["messages"][::-1]
    assert await shown_texts(page) == ["".join(part["text"] for part in each["parts"]).strip() for each in messages]
    await send(page, "Again")
    await expect(reply_of(page).get_by_text("Again")).to_be_visible()
