"""Chatting in the dashboard."""

import asyncio
import re

import pytest
from playwright.async_api import FilePayload, Locator, Page, expect

from tests.dashboard.conftest import ALL_SCOPES, OpenPage, check_accessible
from tests.support.answers import numbered, reply, status, tool_calls
from tests.support.client import Client
from tests.support.model_server import ModelServer
from tests.support.server import Server
from tests.tools.test_steps import use

pytestmark = pytest.mark.asyncio(loop_scope="session")

USERNAME = "admin"


async def send(page: Page, text: str) -> None:
    await page.get_by_role("textbox", name="Message").fill(text)
    await page.keyboard.press("Enter")


def reply_of(page: Page) -> Locator:
    return page.get_by_role("article", name="Reply").last


async def shown_session(page: Page) -> str:
    await page.wait_for_url(re.compile(r"#/chat/"))
    return page.url.rpartition("/")[2]


async def until_over(page: Page) -> None:
    await expect(page.get_by_role("button", name="Stop")).to_have_count(0)


async def shown_texts(page: Page) -> list[str]:
    """The texts of the messages; also of those that a page in the background does not draw."""
    return [text.strip() for text in await page.locator(".message .body").all_text_contents()]


async def stored_texts(client: Client, session_id: str) -> list[str]:
    messages = await client.history(session_id, USERNAME)
    return ["".join(part.get("text", "") for part in message["parts"]).strip() for message in messages]


async def test_a_reply_is_shown_as_markdown_and_stored(page: Page, model: ModelServer, client: Client) -> None:
    model.script(
        reply(["# Plan\n\n", "Some **bold** text.\n\n", "```python\nprint(1)\n```\n\n", "| a | b |\n|-|-|\n| 1 | 2 |"])
    )
    await send(page, "Make a plan")
    article = page.get_by_role("article", name="Reply")
    await expect(article.get_by_role("heading", name="Plan")).to_be_visible()
    await expect(article.locator("strong")).to_have_text("bold")
    await expect(article.locator("code .hljs-built_in, code .hljs-number").first).to_be_visible()
    await expect(article.get_by_role("cell", name="2")).to_be_visible()
    await until_over(page)
    session_id = await shown_session(page)
    assert len(await stored_texts(client, session_id)) == 2
    await expect(page.get_by_role("link", name=re.compile("Make a plan"))).to_be_visible()


async def test_reply_goes_on_after_a_reload_and_in_a_second_tab(
    page: Page, model: ModelServer, client: Client, open_page: OpenPage, server: Server
) -> None:
    gate = asyncio.Event()
    model.script(reply(numbered(40), gate=gate, hold_after=10))
    await send(page, "Count")
    await expect(reply_of(page).get_by_text("t9")).to_be_visible()
    session_id = await shown_session(page)
    other = await open_page(server.base_url, None, f"#/chat/{session_id}", context=page.context)
    await expect(reply_of(other).get_by_text("t9")).to_be_visible()
    await page.reload()
    await expect(reply_of(page).get_by_text("t9")).to_be_visible()
    await expect(page.get_by_role("button", name="Stop")).to_be_visible()
    gate.set()
    await expect(reply_of(page).get_by_text("t39")).to_be_visible()
    await expect(reply_of(other).get_by_text("t39")).to_be_visible()
    await until_over(page)
    await until_over(other)
    assert await shown_texts(page) == await shown_texts(other) == await stored_texts(client, session_id)


async def test_stop_keeps_what_was_said(page: Page, model: ModelServer, client: Client) -> None:
    model.script(reply(numbered(40), gate=asyncio.Event(), hold_after=5))
    await send(page, "Count")
    await expect(reply_of(page).get_by_text("t4")).to_be_visible()
    await page.get_by_role("button", name="Stop").click()
    await expect(page.get_by_text("Stopped before its end")).to_be_visible()
    texts = await stored_texts(client, await shown_session(page))
    assert texts == await shown_texts(page)
    assert texts[1].endswith("t4")


async def test_a_failed_reply_says_why(page: Page, model: ModelServer) -> None:
    model.script(status(500))
    await send(page, "Hello")
    await expect(page.get_by_role("article", name="Reply").get_by_role("alert")).to_contain_text("upstream")


async def test_refused_message_comes_back(page: Page) -> None:
    await page.route(
        "**/api/v1/chat",
        lambda route: route.fulfill(
            status=429, json={"status": "error", "message": "Too many", "code": "too_many_runs", "request_id": "r-1"}
        ),
    )
    await send(page, "Hello")
    await expect(page.get_by_role("status").filter(has_text="too_many_runs, request r-1")).to_be_visible()
    await expect(page.get_by_role("textbox", name="Message")).to_have_value("Hello")
    assert await page.get_by_role("article").count() == 0


async def test_network_cut_in_mid_reply(page: Page, model: ModelServer, client: Client) -> None:
    gate = asyncio.Event()
    model.script(reply(numbered(60), gate=gate, hold_after=20))
    await send(page, "Count")
    await expect(reply_of(page).get_by_text("t19")).to_be_visible()
    session_id = await shown_session(page)
    await page.context.set_offline(True)
    await expect(page.get_by_text("You are offline")).to_be_visible()
    gate.set()
    await page.context.set_offline(False)
    await expect(reply_of(page).get_by_text("t59")).to_be_visible()
    await until_over(page)
    assert await shown_texts(page) == await stored_texts(client, session_id)


async def test_files_by_paste_and_choice_go_with_the_message(page: Page, model: ModelServer, client: Client) -> None:
    await page.get_by_label("Add files").last.set_input_files(
        FilePayload(name="notes.txt", mimeType="text/plain", buffer=b"The oak is old.")
    )
    await expect(page.get_by_role("list", name="Files to send").get_by_text("notes.txt")).to_be_visible()
    await send(page, "What is old?")
    await expect(page.get_by_role("article", name="You").get_by_role("link", name="notes.txt")).to_be_visible()
    await until_over(page)
    assert "The oak is old." in str(model.requests[-1].body)


async def test_tool_calls_are_folded_with_their_results(page: Page, model: ModelServer, server: Server) -> None:
    (server.settings.data_dir / "configs").mkdir(exist_ok=True)
    (server.settings.data_dir / "configs/default.toml").write_text('[tools]\nuse = ["now"]\n')
    model.script(tool_calls(("c1", "now", "{}")), reply(["It is late."]))
    await send(page, "What time is it?")
    await expect(page.get_by_role("article", name="Reply").get_by_text("It is late.")).to_be_visible()
    await until_over(page)
    call = page.get_by_role("group").filter(has_text="now")
    await expect(call).to_contain_text("done")
    await call.locator("summary").click()
    await expect(call.get_by_role("region", name="Result")).to_be_visible()


def session_item(page: Page, name: str) -> Locator:
    return page.get_by_role("listitem").filter(has=page.get_by_role("link", name=re.compile(name)))


async def open_session_dialog(page: Page, name: str) -> Locator:
    await session_item(page, name).hover()
    await session_item(page, name).get_by_role("button", name="Edit session").click()
    return page.get_by_role("dialog")


async def test_session_is_renamed_labelled_found_and_deleted(page: Page, client: Client) -> None:
    for text in ("Hello", "Another"):
        await page.goto("/dashboard#/chat")
        await expect(page.get_by_role("heading", name="New chat")).to_be_visible()
        await send(page, text)
        await expect(session_item(page, text)).to_be_visible()
        await until_over(page)
    dialog = await open_session_dialog(page, "Hello")
    await dialog.get_by_label("Name").fill("Trees")
    await dialog.get_by_label("Labels").fill("garden, oak")
    await dialog.get_by_role("button", name="Save").click()
    await page.get_by_role("button", name="garden").click()
    await expect(session_item(page, "Another")).to_have_count(0)
    await page.get_by_role("complementary").get_by_role("button", name="garden").first.click()
    await page.get_by_role("searchbox").fill("anoth")
    await expect(session_item(page, "Trees")).to_have_count(0)
    await page.get_by_role("searchbox").fill("Hello")
    await expect(page.get_by_role("heading", name="In messages")).to_be_visible()
    await page.get_by_role("searchbox").fill("")
    await session_item(page, "Trees").hover()
    await session_item(page, "Trees").get_by_role("button", name="Pin").click()
    await expect(page.get_by_role("heading", name="Pinned")).to_be_visible()
    dialog = await open_session_dialog(page, "Trees")
    address = await dialog.get_by_role("link", name="Export as Markdown").get_attribute("href")
    assert "Hello" in await (await page.request.get(str(address))).text()
    await dialog.get_by_role("button", name="Delete").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(session_item(page, "Trees")).to_have_count(0)
    sessions = (await client.get("/api/v1/chat/sessions", username=USERNAME)).json()["data"]["sessions"]
    assert [session["display_name"] for session in sessions] == ["Another"]


async def test_a_reply_is_liked_and_the_like_taken_back(page: Page, client: Client) -> None:
    await send(page, "Hello")
    await until_over(page)
    like = reply_of(page).get_by_role("button", name="Like", exact=True)
    await like.click()
    await expect(like).to_have_attribute("aria-pressed", "true")
    await page.reload()
    await expect(like).to_have_attribute("aria-pressed", "true")
    await like.click()
    await expect(like).to_have_attribute("aria-pressed", "false")
    feedback = (await client.get("/api/v1/feedback", username=USERNAME)).json()["data"]["feedback"]
    assert [each["rating"] for each in feedback if each["rating"]] == []


async def test_a_call_waits_for_a_yes(page: Page, model: ModelServer, server: Server) -> None:
    (server.settings.data_dir / "configs").mkdir(exist_ok=True)
    (server.settings.data_dir / "configs/default.toml").write_text('[tools]\nuse = ["now"]\nask = ["now"]\n')
    model.script(tool_calls(("c1", "now", "{}")), reply(["It is late."]))
    await send(page, "What time is it?")
    approval = page.get_by_role("region", name="Waits for your decision")
    await expect(approval).to_contain_text("now")
    await page.reload()
    await approval.get_by_role("button", name="Allow").click()
    await expect(reply_of(page).get_by_text("It is late.")).to_be_visible()
    await until_over(page)


async def test_tools_are_chosen_among_those_of_the_profile(page: Page, model: ModelServer, server: Server) -> None:
    use(server, "now", "fetch_page")
    await page.get_by_role("button", name="Options of the reply").click()
    await page.get_by_label("Tools").select_option("some")
    names = page.get_by_role("group", name="Tools").get_by_role("checkbox")
    await expect(names).to_have_count(2)
    await page.get_by_role("group", name="Tools").get_by_label("now").check()
    await check_accessible(page)
    await send(page, "Hello")
    await until_over(page)
    await expect(reply_of(page)).to_be_visible()
    assert [tool["function"]["name"] for tool in model.requests[-1].body["tools"]] == ["now"]
    await page.get_by_role("group", name="Tools").get_by_label("now").uncheck()
    await send(page, "Again")
    await expect(page.get_by_role("article")).to_have_count(4)
    await until_over(page)
    assert "tools" not in model.requests[-1].body


async def test_scopes_decide_what_is_shown(server: Server, open_page: OpenPage) -> None:
    page = await open_page(server.base_url, await server.new_key("knowledge", username="alice"))
    areas = page.get_by_role("navigation", name="Areas").get_by_role("link")
    await expect(areas).to_have_text(["Overview", "Knowledge", "Self-test"])
    everything = await open_page(server.base_url, await server.new_key(*ALL_SCOPES))
    await expect(everything.get_by_role("link", name="Audit log")).to_be_visible()
