"""Signing in to the dashboard and out of it."""

import re
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.conftest import StartServer
from tests.dashboard.conftest import OpenPage
from tests.support.processes import ServerProcess, palaver
from tests.support.server import Server

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_printed_address_signs_in_once(data_dir: Path, open_page: OpenPage) -> None:
    process = ServerProcess(data_dir)
    await process.start()
    try:
        code, printed = await palaver("dashboard", "--url", process.base_url, data_dir=data_dir)
        assert code == 0
        fragment = re.fullmatch(rf"{process.base_url}/dashboard(#token=plv_token_\w+)\n", printed)
        assert fragment is not None
        page = await open_page(process.base_url, None, fragment[1])
        await expect(page.get_by_role("link", name="Audit log")).to_be_visible()
        assert "token" not in page.url
        assert await page.evaluate("JSON.stringify({ ...localStorage, ...sessionStorage }) + document.cookie") == "{}"
        await page.reload()
        await expect(page.get_by_role("link", name="Keys")).to_be_visible()
        other = await open_page(process.base_url, None, fragment[1])
        await expect(other.get_by_role("alert")).to_contain_text("wrong, expired or used")
    finally:
        await process.close()


async def test_a_key_signs_in_and_out(server: Server, open_page: OpenPage) -> None:
    page = await open_page(server.base_url, None)
    await page.get_by_label("API key").fill("plv_wrong")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_contain_text("Invalid API key")
    await expect(page.get_by_role("alert")).to_contain_text("request ")
    await page.get_by_label("API key").fill(await server.new_key("chat", username="alice"))
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("textbox", name="Message")).to_be_visible()
    await expect(page.get_by_text("alice")).to_be_visible()
    await expect(page.get_by_role("button", name="Chat as another user")).to_have_count(0)
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_label("API key")).to_be_visible()
    await page.reload()
    await expect(page.get_by_label("API key")).to_be_visible()


async def test_without_keys_there_is_nothing_to_sign_in_to(start_server: StartServer, open_page: OpenPage) -> None:
    async with start_server(no_auth=True) as server:
        page = await open_page(server.base_url, None)
        await expect(page.get_by_role("textbox", name="Message")).to_be_visible()
        await expect(page.get_by_role("button", name="Sign out")).to_have_count(0)


async def test_the_language_is_chosen_and_kept(server: Server, open_page: OpenPage) -> None:
    page = await open_page(server.base_url, await server.new_key("chat"))
    await page.get_by_role("combobox", name="Language").select_option("zh")
    await expect(page.get_by_placeholder("输入消息")).to_be_visible()
    assert await page.evaluate("document.documentElement.lang") == "zh-CN"
    await page.reload()
    await expect(page.get_by_placeholder("输入消息")).to_be_visible()


async def test_a_session_that_ends_leads_to_the_way_in(server: Server, open_page: OpenPage) -> None:
    key, text = await server.core.keys.create(name="short", scopes=["chat"])
    page = await open_page(server.base_url, text)
    await expect(page.get_by_role("textbox", name="Message")).to_be_visible()
    await server.core.keys.revoke(key.id)
    await page.get_by_role("textbox", name="Message").fill("Hello")
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("API key")).to_be_visible()
