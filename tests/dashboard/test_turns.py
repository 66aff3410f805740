"""Editing, answering again, alternatives, forks and deletions in the dashboard."""

import asyncio
import re

import pytest
from playwright.async_api import Locator, Page, expect

from tests.dashboard.test_chat import reply_of, send, shown_session, shown_texts, stored_texts, until_over
from tests.support.answers import reply
from tests.support.client import Client
from tests.support.model_server import ModelServer

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def press(message: Locator, button: str) -> None:
    await message.hover()
    await message.get_by_role("button", name=button, exact=True).click()


async def test_a_reply_is_made_again_and_the_old_one_chosen_back(
    page: Page, model: ModelServer, client: Client
) -> None:
    model.script(reply(["first"]), reply(["second"]))
    await send(page, "Choose")
    await expect(reply_of(page).get_by_text("first")).to_be_visible()
    await until_over(page)
    await press(reply_of(page), "Answer again")
    await expect(reply_of(page).get_by_text("second")).to_be_visible()
    await expect(reply_of(page).get_by_text("2 / 2")).to_be_visible()
    await press(reply_of(page), "Previous")
    await expect(reply_of(page).get_by_text("first")).to_be_visible()
    await expect(reply_of(page).get_by_text("1 / 2")).to_be_visible()
    session_id = await shown_session(page)
    assert await shown_texts(page) == await stored_texts(client, session_id) == ["Choose", "first"]


async def test_an_answer_that_is_made_again_goes_on_after_a_reload(
    page: Page, model: ModelServer, client: Client
) -> None:
    gate = asyncio.Event()
    model.script(reply(["first"]), reply(["second ", "half"], gate=gate, hold_after=1))
    await send(page, "Choose")
    await until_over(page)
    await press(reply_of(page), "Answer again")
    await expect(reply_of(page).get_by_text("second")).to_be_visible()
    await page.reload()
    await expect(reply_of(page).get_by_text("second")).to_be_visible()
    await expect(page.get_by_role("article")).to_have_count(2)
    await expect(page.get_by_role("button", name="Stop")).to_be_visible()
    gate.set()
    await expect(reply_of(page).get_by_text("second half")).to_be_visible()
    await until_over(page)
    await expect(reply_of(page).get_by_text("2 / 2")).to_be_visible()
    assert await shown_texts(page) == await stored_texts(client, await shown_session(page)) == ["Choose", "second half"]


async def test_a_message_is_edited_and_answered(page: Page, model: ModelServer, client: Client) -> None:
    model.script(reply(["about oaks"]), reply(["more"]), reply(["about elms"]))
    for text in ("Oaks?", "More?"):
        await send(page, text)
        await until_over(page)
    question = page.get_by_role("article", name="You").first
    await press(question, "Edit")
    await page.get_by_role("textbox", name="New text of the message").fill("Elms?")
    await page.keyboard.press("Enter")
    await expect(reply_of(page).get_by_text("about elms")).to_be_visible()
    await until_over(page)
    await expect(question.get_by_text("2 / 2")).to_be_visible()
    assert await shown_texts(page) == await stored_texts(client, await shown_session(page)) == ["Elms?", "about elms"]
    await press(question, "Previous")
    await expect(page.get_by_role("article")).to_have_count(4)


async def test_a_session_is_forked_and_a_turn_deleted(page: Page, model: ModelServer, client: Client) -> None:
    model.script(reply(["one"]), reply(["two"]))
    for text in ("First?", "Second?"):
        await send(page, text)
        await until_over(page)
    session_id = await shown_session(page)
    await press(page.get_by_role("article", name="Reply").first, "Go on from here in a new session")
    await expect(page).not_to_have_url(re.compile(session_id))
    await expect(page.get_by_role("article")).to_have_count(2)
    await page.goto(f"/dashboard#/chat/{session_id}")
    await expect(page.get_by_role("article")).to_have_count(4)
    await press(page.get_by_role("article", name="You").first, "Delete turn")
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(page.get_by_role("article")).to_have_count(2)
    assert await stored_texts(client, session_id) == ["Second?", "two"]
