"""A real browser before a real server: Debian's Chromium, driven by Playwright. Without it the tests are skipped.

Playwright belongs to one event loop: the tests here share that of the session, and so does what they use.
"""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.model_server import ModelServer
from tests.support.server import Server

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ALL_SCOPES = ("chat", "config", "file", "im", "knowledge", "admin")
AXE = Path(__file__).parent / "vendor/axe.js"
TIMEOUT_MILLISECONDS = 15_000

# What a page was kept from loading or running is collected in the page itself, before its first script.
_COLLECT_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.effectiveDirective} ${event.blockedURI} ${event.sample}`);
});
"""

OpenPage = Callable[..., Awaitable[Page]]

expect.set_options(timeout=TIMEOUT_MILLISECONDS)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    if shutil.which(CHROMIUM) is None:
        pytest.skip(f"there is no {CHROMIUM}: apt-get install chromium, or name another in CHROMIUM")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def model() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def server(start_server: StartServer) -> AsyncIterator[Server]:
    async with start_server() as started:
        yield started


@pytest_asyncio.fixture(loop_scope="session")
async def client(server: Server) -> AsyncIterator[Client]:
    """A program's client with every scope."""
    async with Client(server, await server.new_key(*ALL_SCOPES)) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(chromium: Browser) -> AsyncIterator[OpenPage]:
    """Open a page of the dashboard, signed in with `key`; at the end nothing may have gone wrong in it."""
    contexts: list[BrowserContext] = []
    pages: list[Page] = []
    problems: list[str] = []

    async def open_page(
        base_url: str, key: str | None, place: str = "", *, context: BrowserContext | None = None, **options: object
    ) -> Page:
        if context is None:
            context = await chromium.new_context(base_url=base_url, locale="en-GB", **options)  # type: ignore[arg-type]
            context.set_default_timeout(TIMEOUT_MILLISECONDS)
            await context.add_init_script(_COLLECT_VIOLATIONS)
            contexts.append(context)
        if key is not None:
            answer = await context.request.post("/api/v1/browser-sessions", data={"key": key})
            assert answer.status == 201, await answer.text()
        page = await context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        pages.append(page)
        await page.goto(f"/dashboard{place}")
        return page

    yield open_page
    violations = [line for page in pages if not page.is_closed() for line in await page.evaluate("window.violations")]
    for context in contexts:
        await context.close()
    assert (problems, violations) == ([], [])


@pytest_asyncio.fixture(loop_scope="session")
async def page(server: Server, open_page: OpenPage) -> Page:
    """A page of someone who may do everything."""
    return await open_page(server.base_url, await server.new_key(*ALL_SCOPES))


async def check_accessible(page: Page) -> None:
    """Check the page with axe-core, by the rules of WCAG 2.2 AA and of good practice."""
    await page.evaluate(AXE.read_text(encoding="utf-8"))
    results = await page.evaluate(
        "() => axe.run(document, { resultTypes: ['violations'] }).then((results) => results.violations.map("
        "(each) => `${each.id}: ${each.help}: ${each.nodes.map((node) => node.html.slice(0, 160)).join(' | ')}`))"
    )
    assert results == []
