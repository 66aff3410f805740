"""A conversation of 2,000 messages: all of it can be reached, in order, without a jump."""

import pytest
from playwright.async_api import Page, expect

from tests.support.client import Client
from tests.support.imports import import_session

pytestmark = pytest.mark.asyncio(loop_scope="session")

MESSAGES = 2_000

# Scrolls up until nothing older is left; returns by how many pixels what is read moved at most when older ones came.
SCROLL_TO_FIRST = """async () => {
  const scroller = document.querySelector(".messages");
  const frame = () => new Promise(requestAnimationFrame);
  let moved = 0;
  while (document.querySelector(".older")) {
    const message = document.querySelector(".message");
    scroller.scrollTop = 0;
    let top = message.getBoundingClientRect().top;
    while (document.querySelector(".older") && document.querySelector(".message") === message) await frame();
    if (document.querySelector(".message") !== message) {
      moved = Math.max(moved, Math.abs(message.getBoundingClientRect().top - top));
    }
  }
  return moved;
}"""


async def test_all_messages_are_reached_in_order_and_what_is_read_stays_in_place(page: Page, client: Client) -> None:
    turns = [(f"Question {number}", f"Answer **{number}**") for number in range(MESSAGES // 2)]
    session_id = await import_session(client, "admin", turns)
    await page.goto(f"/dashboard#/chat/{session_id}")
    await expect(page.locator(".message").last).to_contain_text(f"Answer {MESSAGES // 2 - 1}")
    assert await page.evaluate(SCROLL_TO_FIRST) <= 1
    texts = [text.strip() for text in await page.locator(".message .body").all_text_contents()]
    assert texts == [text.replace("**", "") for turn in turns for text in turn]
