"""A real browser before a real server: Debian's Chromium, driven by Playwright. Without it the tests are skipped.

Playwright belongs to one event loop: the tests here share that of the session, and so does what they use. They share a
server and a browser's cache too, which is most of their time; what a test leaves in them is cleared away.
"""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect
from sqlalchemy import Connection, delete

from app.chat.models import SessionRow
from app.files.models import AttachmentRow
from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.model_server import ModelServer
from tests.support.server import Server, make_settings, running

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


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_model() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_server(
    shared_model: ModelServer, template: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Server]:
    provider = {"id": "scripted", "base_url": shared_model.base_url, "api_key": "sk-upstream-secret", "max_retries": 0}
    settings = make_settings(tmp_path_factory.mktemp("shared"), providers=[provider], webhook_allow_private=True)
    async with running(settings, template) as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_context(chromium: Browser, shared_server: Server) -> AsyncIterator[BrowserContext]:
    context = await new_context(chromium, shared_server.base_url)
    yield context
    await context.close()


async def new_context(chromium: Browser, base_url: str, **options: object) -> BrowserContext:
    context = await chromium.new_context(base_url=base_url, locale="en-GB", **options)  # type: ignore[arg-type]
    context.set_default_timeout(TIMEOUT_MILLISECONDS)
    await context.add_init_script(_COLLECT_VIOLATIONS)
    return context


@pytest.fixture
def model(shared_model: ModelServer) -> ModelServer:
    shared_model.reset()
    return shared_model


@pytest_asyncio.fixture(loop_scope="session")
async def server(shared_server: Server) -> AsyncIterator[Server]:
    """The shared server, without sessions and files, and with the default profile alone."""
    yield shared_server
    configs = shared_server.settings.data_dir / "configs"
    for file in configs.glob("*.toml"):
        file.unlink()
    (configs / "default.toml").write_text('name = "default"\n')

    def clear(connection: Connection) -> None:
        connection.execute(delete(SessionRow))
        connection.execute(delete(AttachmentRow))

    await shared_server.core.database.write(clear)


@pytest_asyncio.fixture(loop_scope="session")
async def own_server(start_server: StartServer) -> AsyncIterator[Server]:
    """A server that only this test uses."""
    async with start_server() as started:
        yield started


@pytest_asyncio.fixture(loop_scope="session")
async def client(server: Server) -> AsyncIterator[Client]:
    """A program's client with every scope."""
    async with Client(server, await server.new_key(*ALL_SCOPES)) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def own_client(own_server: Server) -> AsyncIterator[Client]:
    async with Client(own_server, await own_server.new_key(*ALL_SCOPES)) as made:
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
            context = await new_context(chromium, base_url, **options)
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
    violations = []
    for page in pages:
        if not page.is_closed():
            violations += await page.evaluate("window.violations")
            await page.close()
    for context in contexts:
        await context.close()
    assert (problems, violations) == ([], [])


@pytest_asyncio.fixture(loop_scope="session")
async def page(server: Server, open_page: OpenPage, shared_context: BrowserContext) -> Page:
    """A page of someone who may do everything."""
    await shared_context.clear_cookies()
    return await open_page(server.base_url, await server.new_key(*ALL_SCOPES), context=shared_context)


async def check_accessible(page: Page, rules: Sequence[str] | None = None) -> None:
    """Check the page with axe-core, by the rules of WCAG 2.2 AA and of good practice, or by some rules alone."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE.read_text(encoding="utf-8"))
    results = await page.evaluate(
        "(rules) => axe.run(document, { resultTypes: ['violations'], ...(rules ? { runOnly: rules } : {}) }).then("
        "(results) => results.violations.map((each) => "
        "`${each.id}: ${each.help}: ${each.nodes.map((node) => node.html.slice(0, 160)).join(' | ')}`))",
        rules,
    )
    assert results == []
