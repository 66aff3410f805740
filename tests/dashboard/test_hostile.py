"""Hostile content in the dashboard: it runs nothing, loads nothing, and breaks no layout."""

import json

import pytest
from playwright.async_api import Page, expect

from tests.dashboard.conftest import ALL_SCOPES, OpenPage
from tests.dashboard.test_chat import reply_of, send, until_over
from tests.support.answers import reply, tool_calls
from tests.support.client import Client
from tests.support.model_server import ModelServer
from tests.support.server import Server

pytestmark = pytest.mark.asyncio(loop_scope="session")

SCRIPT = "<script>window.ran = 1</script><img src=x onerror='window.ran = 2'>"
MARKDOWN = f"""{SCRIPT}

<svg onload="window.ran = 3"><style>* {{ display: none }}</style></svg>

[a link](javascript:window.ran=4) [another](JaVaScRiPt:window.ran=5) [data](data:text/html,<script>window.ran=6</script>)

![a picture](https://evil.example/track.png) <a href="javascript:window.ran=7">raw</a> <iframe src="https://evil.example"></iframe>

<form action="https://evil.example"><button>press</button></form>

```html
{SCRIPT}
```

| {SCRIPT} | b |
|---|---|
| `{SCRIPT}` | <b onmouseover="window.ran=8">x</b> |

{"W" * 5000}
"""


async def fits(page: Page) -> bool:
    """Whether nothing stands out of the page to the side."""
    return bool(await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


async def ran(page: Page) -> object:
    return await page.evaluate("window.ran ?? null")


async def test_scripts_in_messages_run_nothing(page: Page, model: ModelServer) -> None:
    model.script(reply([MARKDOWN[start : start + 40] for start in range(0, len(MARKDOWN), 40)], reasoning=[SCRIPT]))
    await send(page, MARKDOWN)
    await until_over(page)
    article = reply_of(page)
    await expect(article.locator(".body").get_by_text("window.ran = 1").first).to_be_visible()
    for link in await article.get_by_role("link").all():
        assert (await link.get_attribute("href") or "").startswith("https://")
        await expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")
    assert await article.locator("img, iframe, script, style, form, svg:not(.icon)").count() == 0
    assert await fits(page)
    assert await ran(page) is None


async def test_scripts_in_tool_results_and_names_run_nothing(page: Page, model: ModelServer, server: Server) -> None:
    (server.settings.data_dir / "configs").mkdir(exist_ok=True)
    (server.settings.data_dir / "configs/default.toml").write_text('[tools]\nuse = ["now"]\n')
    arguments = json.dumps({"timezone": SCRIPT})
    model.script(tool_calls(("c1", "now", arguments), (f"c2{SCRIPT}", "<b>x</b>", arguments)), reply(["Done"]))
    await send(page, "Now?")
    await until_over(page)
    for summary in await reply_of(page).locator("summary").all():
        await summary.click()
    await expect(reply_of(page).get_by_text("window.ran").first).to_be_visible()
    assert await ran(page) is None
    await page.reload()
    await expect(reply_of(page).get_by_text("Done")).to_be_visible()
    assert await ran(page) is None


async def test_hostile_names_are_only_names(own_server: Server, own_client: Client, open_page: OpenPage) -> None:
    name = f"<img src=x onerror='window.ran=1'>{'n' * 60}"
    await own_client.post("/api/v1/api-keys", {"name": name, "scopes": ["chat"]})
    await own_client.post(
        "/api/kernel2/roles", {"name": name, "system_prompt": SCRIPT, "icon": SCRIPT, "description": SCRIPT}
    )
    made = await own_client.post("/api/v1/knowledge/collections", {"name": name, "description": SCRIPT})
    collection = made.json()["data"]["collection_id"]
    await own_client.post(f"/api/v1/knowledge/collections/{collection}/documents", {"title": name, "text": SCRIPT})
    await own_client.chat(SCRIPT, session_id="s1", username="admin")
    await own_client.request("PATCH", "/api/v1/chat/sessions/s1", json={"username": "admin", "display_name": name})
    upload = {"file": (f"{name[:100]}.html", SCRIPT.encode(), "text/html")}
    file = (await own_client.request("POST", "/api/v1/file", files=upload)).json()["data"]["attachment_id"]
    await own_client.chat(
        [{"type": "file", "attachment_id": file, "filename": name}], session_id="s1", username="admin"
    )
    key = await own_server.new_key(*ALL_SCOPES)
    page = await open_page(own_server.base_url, key, "#/chat/s1", viewport={"width": 360, "height": 740})
    await expect(page.get_by_role("heading", name=name)).to_be_visible()
    for place in ("keys", "roles", "knowledge", f"knowledge/{collection}", "tools", "files", "audit"):
        await page.goto(f"/dashboard#/{place}")
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        await expect(page.get_by_text("Loading")).to_have_count(0)
        assert await fits(page), place
        assert await ran(page) is None, place


async def test_a_megabyte_in_a_line_is_shown_in_part(page: Page, model: ModelServer) -> None:
    model.script(reply(["<b>" + "x" * 250_000] * 4))
    await send(page, "Much")
    await until_over(page)
    await expect(reply_of(page).get_by_role("button", name="Show all of it")).to_be_visible()
    assert await fits(page)
    assert len(await reply_of(page).locator(".plain-text").inner_text()) == 100_000
