"""The areas for content and management, each driven once through."""

import io
import re
from collections.abc import AsyncIterator

import pytest
from PIL import Image
from playwright.async_api import FilePayload, Locator, Page, expect

from tests.dashboard.conftest import OpenPage, check_accessible
from tests.support.answers import reply, tool_calls
from tests.support.client import Client, SseEvent, text_of
from tests.support.model_server import ModelServer
from tests.support.server import Server
from tests.support.webhook_receiver import webhook_receiver
from tests.tools.test_steps import use

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def go(page: Page, area: str) -> None:
    await page.goto(f"/dashboard#/{area}")
    await expect(page.get_by_role("heading", level=1)).to_be_focused()


def row(page: Page, text: str) -> Locator:
    return page.get_by_role("row").filter(has_text=text)


async def confirm(page: Page, button: str = "Delete") -> None:
    await page.get_by_role("dialog").get_by_role("button", name=button, exact=True).click()
    await expect(page.get_by_role("dialog")).to_have_count(0)


async def test_keys(page: Page, server: Server, client: Client) -> None:
    await go(page, "keys")
    await page.get_by_role("button", name="Create key").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Name").fill("shop")
    await dialog.get_by_label("file").check()
    await dialog.get_by_role("button", name="Create").click()
    text = await page.get_by_role("region", name="Key").inner_text()
    assert f"X-API-Key: {text}" in await page.get_by_role("region", name="Try it").inner_text()
    await confirm(page, "I have stored it")
    assert text not in await page.content()
    async with Client(server, text) as shop:
        assert (await shop.get("/api/v1/me")).json()["data"]["scopes"] == ["chat", "file"]
        await row(page, "shop").get_by_role("button", name="Change key: shop").click()
        await dialog.get_by_label("Requests a minute").fill("60")
        await dialog.get_by_label("Budget: tokens").fill("100000")
        await dialog.get_by_role("button", name="Save").click()
        await expect(row(page, "shop")).to_contain_text("60 requests / min · 100K tokens / Month")
        me = (await shop.get("/api/v1/me")).json()["data"]
        assert (me["rpm_limit"], me["budget"]["tokens"]) == (60, 100_000)
        await row(page, "shop").get_by_role("button", name="Give it a new text: shop").click()
        await dialog.get_by_label("The old text stays valid").select_option("0")
        await dialog.get_by_role("button", name="Give it a new text").click()
        await confirm(page, "I have stored it")
        assert (await shop.get("/api/v1/me")).status_code == 401
    await row(page, "shop").get_by_role("button", name="Revoke key: shop").click()
    await confirm(page, "Revoke key")
    await expect(row(page, "shop")).to_contain_text("revoked")
    await row(page, "shop").get_by_role("button", name="Delete: shop").click()
    await confirm(page)
    await expect(row(page, "shop")).to_have_count(0)
    await go(page, "audit")
    await expect(row(page, "api_key.rotated")).to_be_visible()


async def test_knowledge(page: Page) -> None:
    await go(page, "knowledge")
    await expect(page.get_by_text("No collections yet")).to_be_visible()
    await page.get_by_role("button", name="New collection").first.click()
    await page.get_by_role("dialog").get_by_label("Name").fill("Garden")
    await page.get_by_role("dialog").get_by_role("button", name="Create").click()
    await expect(page.get_by_role("heading", name="Garden")).to_be_visible()
    files = [
        FilePayload(name="shade.txt", mimeType="text/plain", buffer=b"Ferns grow in the shade."),
        FilePayload(name="broken.pdf", mimeType="application/pdf", buffer=b"%PDF-1.7 broken"),
    ]
    await page.get_by_label("Add documents").set_input_files(files)
    await expect(row(page, "shade.txt")).to_contain_text("ready")
    await expect(row(page, "broken.pdf")).to_contain_text("failed")
    await page.get_by_role("searchbox").fill("shade")
    await page.get_by_role("button", name="Search").click()
    await expect(page.get_by_text("Ferns grow in the shade.")).to_be_visible()
    await row(page, "broken.pdf").get_by_role("button", name="Delete: broken.pdf").click()
    await expect(row(page, "broken.pdf")).to_have_count(0)
    await go(page, "knowledge")
    await page.get_by_role("button", name="Delete: Garden").click()
    await confirm(page)
    await expect(page.get_by_text("No collections yet")).to_be_visible()


async def test_roles(page: Page, client: Client) -> None:
    await go(page, "roles")
    await page.get_by_role("button", name="New role").first.click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Name").fill("Poet")
    await dialog.get_by_label("Prompt").fill("Answer in verse.")
    await dialog.get_by_role("button", name="Save").click()
    await page.get_by_role("button", name="Edit: Poet").click()
    await dialog.get_by_label("Prompt").fill("Answer in rhymes.")
    await dialog.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Answer in rhymes.")).to_be_visible()
    (role,) = (await client.get("/api/kernel2/roles")).json()["data"]
    assert role["system_prompt"] == "Answer in rhymes."
    await page.get_by_role("button", name="Delete: Poet").click()
    await confirm(page)
    await expect(page.get_by_text("No roles yet")).to_be_visible()


async def test_profiles(page: Page, client: Client, server: Server) -> None:
    await go(page, "profiles")
    await page.get_by_role("button", name="New profile").first.click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Id", exact=True).fill("poet")
    await dialog.get_by_label("Model server").fill("nowhere")
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("nowhere")
    await dialog.get_by_label("Model server").fill("")
    await dialog.get_by_label("System prompt").fill("Answer in verse.")
    await dialog.get_by_label("Other settings").fill('{"parameters": {"temperature": 1.2}}')
    await dialog.get_by_role("button", name="Save").click()
    await row(page, "poet").get_by_role("button", name="Edit: poet").click()
    await expect(dialog.get_by_label("System prompt")).to_have_value("Answer in verse.")
    # Meanwhile somebody edits the file.
    file = server.settings.data_dir / "configs/poet.toml"
    text = file.read_text()
    assert "temperature = 1.2" in text
    file.write_text(text.replace("verse", "prose"))
    await dialog.get_by_label("Name").fill("Poet")
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog.get_by_role("alert")).to_be_visible()
    assert "prose" in file.read_text()
    await dialog.get_by_role("button", name="Cancel").click()
    await row(page, "poet").get_by_role("button", name="Delete: poet").click()
    await confirm(page)
    await expect(row(page, "poet")).to_have_count(0)


async def test_bots_and_their_deliveries(page: Page, client: Client) -> None:
    async with webhook_receiver() as receiver:
        await go(page, "bots")
        await page.get_by_role("button", name="Add bot").first.click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Kind").select_option("webhook")
        await dialog.get_by_label("Id", exact=True).fill("hook")
        await dialog.get_by_label("URL").fill(receiver.url)
        await dialog.get_by_role("button", name="Add").click()
        await expect(dialog.get_by_role("region", name="secret")).to_contain_text("whsec_")
        await confirm(page, "I have stored it")
        await client.post("/api/v1/im/message", {"umo": "hook:FriendMessage:42", "message": "Hello"})
        await page.reload()
        await expect(row(page, "hook:FriendMessage:42")).to_contain_text("sent")
        await row(page, "webhook").get_by_role("button", name="Disable").click()
        await expect(row(page, "webhook")).to_contain_text("disabled")
        await row(page, "webhook").get_by_role("button", name="Delete: hook").click()
        await confirm(page)
        await expect(page.get_by_text("No bots yet")).to_be_visible()


async def test_a_bot_is_made_and_changed_by_the_form_of_its_kind(page: Page, client: Client) -> None:
    await go(page, "bots")
    await page.get_by_role("button", name="Add bot").first.click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Kind").select_option("line")
    await dialog.get_by_label("Id", exact=True).fill("webchat")
    await dialog.get_by_role("button", name="Add").click()
    assert await dialog.get_by_label("Channel secret").evaluate("field => field.validity.valueMissing")
    for name in ("Channel access token", "Channel secret"):
        await expect(dialog.get_by_label(name)).to_have_attribute("type", "password")
        await dialog.get_by_label(name).fill("very-secret")
    await check_accessible(page)
    await dialog.get_by_role("button", name="Add").click()
    await expect(dialog.get_by_label("Id", exact=True)).to_be_focused()
    await expect(dialog.get_by_label("Id", exact=True)).to_have_accessible_description(re.compile("reserved: webchat"))
    await dialog.get_by_label("Id", exact=True).fill("line1")
    await dialog.get_by_text("Who may write, and how").click()
    await dialog.get_by_label("Address of the platform's API").fill("nonsense")
    await dialog.get_by_label("Who may write", exact=True).fill("u1\nu2")
    await dialog.get_by_label("In groups, answer").select_option("all")
    await dialog.get_by_label("Let others ask").uncheck()
    await dialog.get_by_role("button", name="Add").click()
    await expect(dialog.get_by_label("Address of the platform's API")).to_have_attribute("aria-invalid", "true")
    await expect(dialog.get_by_label("Address of the platform's API")).to_be_focused()
    await dialog.get_by_label("Address of the platform's API").fill("")
    await dialog.get_by_text("Advanced").click()
    await dialog.get_by_label("Further settings").fill("{")
    await dialog.get_by_role("button", name="Add").click()
    await expect(dialog.get_by_label("Further settings")).to_have_attribute("aria-invalid", "true")
    await dialog.get_by_label("Further settings").fill('{"per_user_sessions": true}')
    await dialog.get_by_role("button", name="Add").click()
    await row(page, "line1").get_by_role("button", name="Edit: line1").click()
    config = (await client.get("/api/v1/bots/line1")).json()["data"]["config"]
    chosen = {name: config[name] for name in ("allow", "groups", "pairing", "per_user_sessions", "live_replies")}
    assert chosen == {
        **{"allow": ["u1", "u2"], "groups": "all", "pairing": False, "per_user_sessions": True, "live_replies": True}
    }
    await expect(dialog.get_by_label("Channel secret")).to_have_value("")
    await dialog.get_by_text("Who may write, and how").click()
    await expect(dialog.get_by_label("Who may write", exact=True)).to_have_value("u1\nu2")
    await dialog.get_by_label("Who may write", exact=True).fill("")
    await dialog.get_by_label("Name").fill("Flowers")
    await dialog.get_by_role("button", name="Save").click()
    await expect(row(page, "Flowers")).to_be_visible()
    changed = (await client.get("/api/v1/bots/line1")).json()["data"]
    assert (changed["name"], changed["config"]) == ("Flowers", {**config, "allow": []})
    await client.request("DELETE", "/api/v1/bots/line1")


async def test_what_waits_for_a_decision_is_listed_and_decided(
    page: Page, model: ModelServer, server: Server, client: Client
) -> None:
    use(server, "now", more='ask = ["now"]\n')
    await go(page, "tools")
    await expect(page.get_by_text("Nothing waits for a decision")).to_be_visible()
    model.script(tool_calls(("c1", "now", '{"timezone": "UTC"}')), reply(["It is late."]))
    async with client.chatting("What time is it?", username="bob") as events:
        seen = [event async for event in approving(page, events)]
    assert text_of(seen) == "It is late."


async def approving(page: Page, events: AsyncIterator[SseEvent]) -> AsyncIterator[SseEvent]:
    """The events; a call that waits is allowed on the page."""
    async for event in events:
        yield event
        if event.type == "approval_required":
            await page.reload()
            waiting = page.get_by_role("region", name="Waits for your decision: now")
            await expect(waiting).to_contain_text("for bob")
            await expect(waiting).to_contain_text('"timezone": "UTC"')
            await check_accessible(page)
            await waiting.get_by_role("button", name="Allow").click()
            await expect(page.get_by_text("Nothing waits for a decision")).to_be_visible()


async def test_tools_and_mcp_servers(page: Page) -> None:
    await go(page, "tools")
    await expect(page.get_by_role("group").filter(has_text="search_knowledge")).to_be_visible()
    await page.get_by_role("button", name="Add MCP server").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Name").fill("weather")
    await dialog.get_by_label("URL").fill("http://127.0.0.1:9/mcp")
    await dialog.get_by_role("button", name="Add").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("url")
    await dialog.get_by_label("URL").fill("https://mcp.example.com/mcp")
    await dialog.get_by_label("Connect to it").uncheck()
    await dialog.get_by_role("button", name="Add").click()
    await expect(row(page, "weather")).to_contain_text("disabled")
    await row(page, "weather").get_by_role("button", name="Delete: weather").click()
    await confirm(page)
    await expect(page.get_by_text("No MCP servers yet")).to_be_visible()


async def test_files(page: Page, client: Client) -> None:
    await go(page, "files")
    await page.get_by_label("Upload files").set_input_files(
        FilePayload(name="日記.txt", mimeType="text/plain", buffer=b"Dear diary")
    )
    link = row(page, "日記.txt").get_by_role("link")
    answer = await page.request.get(str(await link.get_attribute("href")))
    assert await answer.body() == b"Dear diary"
    picture = io.BytesIO()
    Image.new("RGB", (8, 8), "green").save(picture, "PNG")
    upload = {"file": ("green.png", picture.getvalue(), "image/png")}
    file_id = (await client.request("POST", "/api/v1/file", files=upload)).json()["data"]["attachment_id"]
    for number in range(50):
        await client.request("POST", "/api/v1/file", files={"file": (f"{number}.log", b"x")})
    await page.reload()
    await expect(page.get_by_role("row")).to_have_count(51)
    await page.get_by_role("button", name="Show more").click()
    await expect(page.get_by_role("row")).to_have_count(53)
    search = page.get_by_role("searchbox", name="Name or id")
    await search.fill("green")
    await expect(page.get_by_role("row")).to_have_count(2)
    thumbnail = row(page, "green.png").locator("img")
    assert await thumbnail.evaluate("image => image.decode().then(() => image.naturalWidth)") == 8
    await search.fill(file_id)
    await expect(page.get_by_role("row")).to_have_count(2)
    await search.fill("")
    await page.get_by_role("combobox", name="Type").select_option("image")
    await expect(page.get_by_role("row")).to_have_count(2)
    await row(page, "green.png").get_by_role("button", name="Delete: green.png").click()
    await confirm(page)
    await expect(page.get_by_text("No file was found")).to_be_visible()
    assert (await client.get(f"/api/v1/files/{file_id}")).status_code == 404
    await page.get_by_role("combobox", name="Type").select_option("")
    await page.route("**/api/v1/file", lambda route: route.abort())
    await page.get_by_label("Upload files").set_input_files(
        FilePayload(name="cut.txt", mimeType="text/plain", buffer=b"x")
    )
    await expect(page.get_by_role("listitem").filter(has_text="cut.txt").get_by_role("alert")).to_be_visible()


async def test_overview(open_page: OpenPage, own_server: Server, own_client: Client) -> None:
    page = await open_page(own_server.base_url, own_client.key)
    await go(page, "overview")
    await expect(page.get_by_text("Nothing was used in this time")).to_be_visible()
    await own_client.chat("Hello", username="alice")
    await own_client.chat("[[status:500]]", username="alice")
    await page.get_by_role("button", name="Month").click()
    await expect(page.get_by_role("definition").first).to_have_text("2")
    await expect(page.get_by_role("img", name="Chart: 2 requests")).to_be_visible()
    await expect(page.get_by_role("table", name="Failures by cause")).to_contain_text("1")
    await page.get_by_role("combobox", name="In detail").select_option("user")
    await expect(row(page, "alice")).to_be_visible()


async def test_model_servers(page: Page, client: Client) -> None:
    await go(page, "providers")
    await row(page, "scripted").get_by_role("button", name="Test").click()
    await expect(row(page, "scripted")).to_contain_text("answers in")
    await page.get_by_role("button", name="Add model server").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Id", exact=True).fill("other")
    await dialog.get_by_label("Default model").fill("m-1")
    await dialog.get_by_label("Address").fill("https://models.example.com/v1")
    await dialog.get_by_label("API key").fill("sk-very-secret")
    await dialog.get_by_role("button", name="Save").click()
    await expect(row(page, "other")).to_contain_text("m-1")
    assert "sk-very-secret" not in await page.content()
    await row(page, "other").get_by_role("button", name="Delete: other").click()
    await confirm(page)
    await expect(row(page, "other")).to_have_count(0)
