"""Interrupted replies in the dashboard: what is shown at the end is what is stored."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.dashboard.conftest import OpenPage
from tests.dashboard.test_chat import reply_of, send, shown_session, shown_texts, until_over
from tests.support.answers import numbered, reply, tool_calls
from tests.support.client import Client
from tests.support.model_server import ModelServer
from tests.support.processes import API_KEY, ServerProcess, provider_toml
from tests.support.server import Server
from tests.tools.test_steps import use

pytestmark = pytest.mark.asyncio(loop_scope="session")

ZONES = ((1, "UTC"), (2, "CET"))


async def shown_paragraphs(page: Page) -> list[str]:
    return [text.strip() for text in await page.locator(".message .body .markdown").all_text_contents()]


async def test_reload_at_every_event_of_a_reply_with_tools(
    page: Page, model: ModelServer, server: Server, client: Client
) -> None:
    use(server, "now", more='ask = ["now"]\n')
    gates = [asyncio.Event() for _ in range(4)]
    calls = [tool_calls((f"c{n}", "now", f'{{"timezone": "{zone}"}}'), text=[f"Step {n}. "]) for n, zone in ZONES]
    first, second = (replace(call, gate=gate, then="wait", after=0) for call, gate in zip(calls, gates, strict=False))
    model.script(replace(first, after=1), second, reply(["It is ", "late."], gate=gates[2], hold_after=1))
    article = page.get_by_role("article", name="Reply")

    async def reload(*texts: str) -> None:
        """Reload, and wait until all is there that was there before."""
        for _ in range(2):
            for text in texts:
                await expect(article).to_contain_text(text)
            await expect(page.get_by_role("article")).to_have_count(2)
            await page.reload()

    await send(page, "What time is it?")
    await expect(article).to_contain_text("Step 1.")
    session_id = await shown_session(page)
    await reload("Step 1.")
    gates[0].set()
    await reload("Step 1.", "Waits for your decision")
    await page.get_by_role("button", name="Allow").click()
    await reload("Step 1.", "done")
    gates[1].set()
    await reload("Step 1.", "Step 2.", "Waits for your decision")
    await page.get_by_role("button", name="Deny").click()
    await reload("Step 2.", "It is")
    gates[2].set()
    await reload("It is late.")
    await expect(article.locator(".tool-call .badge")).to_have_text(["done", "refused"])
    await expect(article).to_contain_text("It is late.")
    await until_over(page)
    stored = await client.history(session_id, "admin")
    assert [part["type"] for part in stored[1]["parts"]] == ["plain", "tool_call", "plain", "tool_call", "plain"]
    assert await shown_paragraphs(page) == [
        part["text"].strip() for message in stored for part in message["parts"] if part["type"] == "plain"
    ]


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
