"""The page at /dashboard and its files, without a browser."""

import gzip
import re
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.server import Server

pytestmark = pytest.mark.asyncio(loop_scope="session")

STATIC = Path(__file__).parents[2] / "app/static/dashboard"
FIRST_LOAD_BYTES = 150 * 1024


async def test_the_page_allows_nothing_from_elsewhere(server: Server) -> None:
    async with Client(server, None) as client:
        answer = await client.get("/dashboard")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert not re.search(r"https?://|<style|<script>|\son\w+=|style=", answer.text)


async def test_files_are_kept_for_good_and_the_page_is_not(server: Server) -> None:
    async with Client(server, None) as client:
        page = await client.get("/dashboard")
        assert page.headers["cache-control"] == "no-cache"
        again = await client.request("GET", "/dashboard", headers={"If-None-Match": page.headers["etag"]})
        assert again.status_code == 304
        (entry,) = re.findall(r'<script type="module" src="([^"]+)"', page.text)
        asset = await client.get(f"/{entry}")
        assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert asset.headers["content-type"] == "text/javascript; charset=utf-8"
        assert asset.headers["content-encoding"] == "gzip"
        version = entry.split("/")[2]
        for path in (entry.replace(version, "0" * 16), entry.replace("main.js", "index.html"), f"{entry}/x"):
            assert (await client.get(f"/{path}")).status_code == 404


async def test_first_load_is_small(server: Server) -> None:
    """The page, its styles, and the modules of the chat with those that they import."""
    async with Client(server, None) as client:
        page = (await client.get("/dashboard")).text
        base = re.findall(r'src="(dashboard/assets/[0-9a-f]+/)main.js"', page)[0]
        names = {
            name.removeprefix(base) for name in re.findall(r'(?:href|src)="([^"]+)"', page) if name.startswith(base)
        }
        queue = ["chat/chat_page.js"]
        while queue:
            name = queue.pop()
            names.add(name)
            for target in re.findall(r'from"?\s*"(\.[^"]+)"', (STATIC / name).read_text()):
                path = str((STATIC / name).parent.joinpath(target).resolve().relative_to(STATIC))
                # Nothing waits for an import of an import.
                assert f'rel="modulepreload" href="{base}{path}"' in page
                if path not in names:
                    queue.append(path)
        total = len(gzip.compress(page.encode()))
        for name in names:
            async with client.http.stream("GET", f"/{base}{name}") as answer:
                assert answer.status_code == 200, name
                total += len(b"".join([piece async for piece in answer.aiter_raw()]))
    assert 50_000 < total < FIRST_LOAD_BYTES
