"""Every area, filled: accessible, and with its pictures, in light and wide, and in dark and narrow.

With DASHBOARD_PICTURES=1 they are written to docs/images (`make pictures`).
"""

import io
import os
from pathlib import Path

import pytest
from PIL import Image
from playwright.async_api import Page, expect

from tests.dashboard.conftest import ALL_SCOPES, OpenPage, check_accessible
from tests.dashboard.content import ARABIC, ARABIC_QUESTION, USERNAME, fill
from tests.dashboard.test_hostile import fits
from tests.support.client import Client
from tests.support.model_server import ModelServer
from tests.support.server import Server

pytestmark = pytest.mark.asyncio(loop_scope="session")

IMAGES = Path(__file__).parents[2] / "docs/images"
LOOKS: dict[str, dict[str, object]] = {
    "": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "-dark": {"viewport": {"width": 390, "height": 780}, "color_scheme": "dark"},
}
AREAS = (
    *("overview", "knowledge", "files", "roles", "tools", "bots", "keys", "profiles", "providers", "audit", "doctor"),
)


# What a page can be better or worse at in other colours, and with less room.
RULES_OF_LOOKS = ("color-contrast", "link-in-text-block", "scrollable-region-focusable", "target-size")


async def take(page: Page, name: str, suffix: str) -> None:
    """Check the page as it is, and take its picture."""
    await page.mouse.move(0, 0)
    await expect(page.get_by_text("Loading")).to_have_count(0)
    await check_accessible(page, RULES_OF_LOOKS if suffix else None)
    assert await fits(page)
    if os.environ.get("DASHBOARD_PICTURES"):
        picture = await page.screenshot(animations="disabled", caret="hide")
        IMAGES.mkdir(exist_ok=True)
        small = Image.open(io.BytesIO(picture)).convert("RGB").quantize(192, dither=Image.Dither.NONE)
        small.save(IMAGES / f"dashboard-{name}{suffix}.png", optimize=True)


async def test_every_area_is_accessible_and_has_its_pictures(
    own_server: Server, own_client: Client, model: ModelServer, open_page: OpenPage
) -> None:
    session_id = await fill(own_server, own_client, model)
    key = await own_server.new_key(*ALL_SCOPES)
    for suffix, look in LOOKS.items():
        await open_look(own_server, key, open_page, session_id, suffix, look)


async def open_look(
    server: Server, key: str, open_page: OpenPage, session_id: str, suffix: str, look: dict[str, object]
) -> None:
    signing = await open_page(server.base_url, None, **look)
    await expect(signing.get_by_label("API key")).to_be_visible()
    await take(signing, "sign-in", suffix)
    page = await open_page(server.base_url, key, f"#/chat/{session_id}", **look)
    await page.evaluate(f"localStorage.setItem('palaver.username', '{USERNAME}')")
    await page.reload()
    await expect(page.get_by_text("look after themselves").first).to_be_visible()
    await expect(page.locator(".hljs-keyword").first).to_be_visible()
    await take(page, "chat", suffix)
    for arabic in (ARABIC_QUESTION, ARABIC):
        style = "element => [getComputedStyle(element).direction, getComputedStyle(element).textAlign]"
        assert await page.locator(".markdown p", has_text=arabic).evaluate(style) == ["rtl", "start"]
    for area in AREAS:
        await page.goto(f"/dashboard#/{area}")
        await expect(page.get_by_role("heading", level=1)).to_be_focused()
        await expect(page.get_by_text("running")).to_have_count(0)
        await take(page, area, suffix)
    await page.goto("/dashboard#/bots")
    await page.get_by_role("button", name="Add bot").first.click()
    await expect(page.get_by_label("Telegram token")).to_be_visible()
    await take(page, "bot-form", suffix)
    await page.keyboard.press("Escape")
    await page.goto("/dashboard#/knowledge")
    await page.get_by_role("link", name="Garden").click()
    await expect(page.get_by_text("ready").first).to_be_visible()
    await page.get_by_role("searchbox").fill("what grows in the shade?")
    await page.get_by_role("button", name="Search").click()
    await expect(page.get_by_text("barrenwort")).to_be_visible()
    await take(page, "collection", suffix)
