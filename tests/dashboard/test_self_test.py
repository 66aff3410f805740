"""The self-test in the dashboard."""

import pytest
from playwright.async_api import Page, expect

from tests.dashboard.conftest import OpenPage
from tests.support.answers import status
from tests.support.model_server import ModelServer
from tests.support.server import Server

pytestmark = pytest.mark.asyncio(loop_scope="session")
TICKS = "".join(f'id: {n}\ndata: {{"type":"tick","sent_ms":{n * 200}}}\n\n' for n in range(1, 6))


async def test_all_is_well(page: Page) -> None:
    await page.goto("/dashboard#/doctor")
    await expect(page.get_by_role("row").filter(has_text="Streams (SSE)")).to_contain_text("one by one")
    for name in (
        "Version",
        "Migrations",
        "Database",
        "Storage",
        "Disk",
        "Model server scripted",
        "Clocks",
        "WebSockets",
    ):
        await expect(page.get_by_role("row").filter(has_text=name)).to_contain_text("ok")


async def test_a_proxy_that_collects_streams_is_named_with_what_mends_it(page: Page, model: ModelServer) -> None:
    model.script(status(500))
    await page.route(
        "**/api/v1/doctor/stream", lambda route: route.fulfill(body=TICKS, content_type="text/event-stream")
    )
    await page.goto("/dashboard#/doctor")
    await expect(page.get_by_role("heading", name="Your proxy buffers SSE")).to_be_visible()
    await expect(page.get_by_text("proxy_buffering off;")).to_be_visible()
    await expect(page.get_by_role("row").filter(has_text="Model server scripted")).to_contain_text("failed")


async def test_without_admin_rights_only_the_way_is_checked(server: Server, open_page: OpenPage) -> None:
    page = await open_page(server.base_url, await server.new_key("chat"), "#/doctor")
    await expect(page.get_by_role("row").filter(has_text="WebSockets")).to_contain_text("They pass")
    await expect(page.get_by_role("row")).to_have_count(3)
