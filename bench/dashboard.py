"""`python -m bench.dashboard`: what the dashboard costs a browser.

Bytes and time of the first visit, the frames of a reply of 2,000 tokens, and those of scrolling through 2,000 messages,
in Chromium, on a server of this process with a scripted model server.
"""

import asyncio
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright

from app.telemetry.logs import configure_logging
from tests.support.answers import reply
from tests.support.client import Client
from tests.support.imports import import_session
from tests.support.model_server import ModelServer
from tests.support.server import Server, make_settings, migrated_template, running

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
TOKENS, MESSAGES = 2_000, 2_000
LONG_MILLISECONDS = 50
PARAGRAPH = "Some **words** of a `reply`, with a [link](https://example.com) and more of them. "

# A frame's length is the time since the one before.
WATCH_FRAMES = """() => {
  window.frames_seen = [];
  let last = performance.now();
  const watch = (now) => {
    window.frames_seen.push(now - last);
    last = now;
    window.watcher = requestAnimationFrame(watch);
  };
  window.watcher = requestAnimationFrame(watch);
}"""
END_WATCH = "() => { cancelAnimationFrame(window.watcher); return window.frames_seen; }"


async def main() -> None:
    """Print the figures."""
    configure_logging("error", "console", secrets=[])
    with tempfile.TemporaryDirectory() as folder:
        template = migrated_template(Path(folder) / "template")
        async with ModelServer() as model, async_playwright() as playwright:
            provider = {"id": "scripted", "base_url": model.base_url, "api_key": "sk-none"}
            settings = make_settings(Path(folder) / "data", providers=[provider], log_level="error")
            async with running(settings, template) as server:
                browser = await playwright.chromium.launch(executable_path=CHROMIUM)
                await measure(server, model, browser)
                await browser.close()


async def measure(server: Server, model: ModelServer, browser: Browser) -> None:
    key = await server.new_key("chat", "file", "config")
    await first_visit(await signed_in(server, browser, key))
    page = await signed_in(server, browser, key)
    await long_reply(page, model)
    async with Client(server, key) as client:
        session_id = await fill(client)
    await scrolling(page, session_id)


async def signed_in(server: Server, browser: Browser, key: str) -> Page:
    context = await browser.new_context(base_url=server.base_url, viewport={"width": 1280, "height": 800})
    await context.request.post("/api/v1/browser-sessions", data={"key": key})
    return await context.new_page()


async def first_visit(page: Page) -> None:
    sizes: list[int] = []
    session = await page.context.new_cdp_session(page)
    await session.send("Network.enable")
    session.on("Network.loadingFinished", lambda event: sizes.append(int(event["encodedDataLength"])))
    started = time.perf_counter()
    await page.goto("/dashboard")
    await page.get_by_role("textbox", name="Message").wait_for()
    took = (time.perf_counter() - started) * 1000
    await page.wait_for_load_state("networkidle")
    print(
        f"First visit: {len(sizes)} requests, {sum(sizes) / 1024:.0f} KB on the wire, interactive after {took:.0f} ms"
    )
    started = time.perf_counter()
    await page.reload()
    await page.get_by_role("textbox", name="Message").wait_for()
    print(f"Second visit: interactive after {(time.perf_counter() - started) * 1000:.0f} ms")


async def long_reply(page: Page, model: ModelServer) -> None:
    words = (PARAGRAPH * 9 + "\n\n" + "- a point\n" * 4 + "\n```python\nprint('code')\n```\n\n").split(" ")
    tokens = [f"{words[index % len(words)]} " for index in range(TOKENS)]
    model.script(reply(tokens, delay=0.005))
    await page.goto("/dashboard#/chat")
    await page.get_by_role("textbox", name="Message").fill("Much")
    await page.evaluate(WATCH_FRAMES)
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="Stop").wait_for()
    await page.get_by_role("button", name="Stop").wait_for(state="detached", timeout=120_000)
    report(f"A reply of {TOKENS} tokens", await page.evaluate(END_WATCH))


async def fill(client: Client) -> str:
    """Import a session of many messages; returns its id."""
    texts = [(f"Question {number}", f"{PARAGRAPH * 3}\n\n{PARAGRAPH}") for number in range(MESSAGES // 2)]
    return await import_session(client, "admin", texts)


async def scrolling(page: Page, session_id: str) -> None:
    await page.goto(f"/dashboard#/chat/{session_id}")
    await page.get_by_role("article").get_by_text(f"Question {MESSAGES // 2 - 1}").wait_for()
    await page.evaluate(WATCH_FRAMES)
    await page.mouse.move(900, 400)
    deadline = time.monotonic() + 180
    # Whether more is to come is asked seldom and cheaply: the question is part of what is measured.
    while time.monotonic() < deadline and await page.evaluate("document.querySelector('.older') !== null"):
        for _ in range(20):
            await page.mouse.wheel(0, -900)
            await asyncio.sleep(0.016)
    report("Scrolling up to the first message", await page.evaluate(END_WATCH))
    count = await page.evaluate("document.querySelectorAll('.message').length")
    await page.evaluate(WATCH_FRAMES)
    for _ in range(150):
        await page.mouse.wheel(0, 1200)
        await asyncio.sleep(0.016)
    report(f"Scrolling down through {count} messages", await page.evaluate(END_WATCH))


def report(name: str, frames: list[Any]) -> None:
    long = [each for each in frames if each > LONG_MILLISECONDS]
    share = 100 * len(long) / len(frames)
    print(f"{name}: {len(frames)} frames, {share:.1f} % above {LONG_MILLISECONDS} ms, the longest {max(frames):.0f} ms")


if __name__ == "__main__":
    asyncio.run(main())
