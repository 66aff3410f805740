"""Browser tokens and sessions: a web page acts for one user, without the text of a key, and for a while."""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx2
import pytest

from app.auth.browser.service import BrowserSessions
from app.auth.keytext import SESSION_PREFIX, TOKEN_PREFIX, is_well_formed, new_key_text
from app.edge.services import service
from tests.conftest import StartServer
from tests.support.answers import numbered, reply
from tests.support.client import Client
from tests.support.database import count_rows, execute
from tests.support.logs import logging_to
from tests.support.model_server import ModelServer
from tests.support.server import Server

TOKENS, SESSIONS = "/api/v1/browser-tokens", "/api/v1/browser-sessions"
PAGE = {"X-Palaver-Browser": "1"}
NOW = 0.0001  # hours: less than a second


async def new_token(client: Client, username: str = "alice", **body: Any) -> str:
    answer = await client.post(TOKENS, {"username": username, **body})
    assert answer.status_code == 201, answer.text
    token: str = answer.json()["data"]["token"]
    return token


@asynccontextmanager
async def browser(server: Server, sign_in: Mapping[str, Any]) -> AsyncIterator[Client]:
    """A browser that has signed in, and sends its cookie and the header of Palaver's own page."""
    async with Client(server, None) as client:
        answer = await client.post(SESSIONS, dict(sign_in))
        assert answer.status_code == 201, answer.text
        client.http.headers.update(PAGE)
        yield client


@asynccontextmanager
async def page_of(server: Server, shop: Client, username: str = "alice", **body: Any) -> AsyncIterator[Client]:
    async with browser(server, {"token": await new_token(shop, username, **body)}) as client:
        yield client


@pytest.fixture
async def shop(server: Server) -> AsyncIterator[Client]:
    """A program's key, which is not bound to a user."""
    async with Client(server, await server.new_key()) as client:
        yield client


async def refusal(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_a_token_becomes_a_session_of_one_user(server: Server, shop: Client) -> None:
    answer = await shop.post(TOKENS, {"username": " alice ", "scopes": ["chat", "config"]})
    token = answer.json()["data"]
    assert is_well_formed(token["token"], TOKEN_PREFIX)
    assert (token["username"], token["scopes"]) == ("alice", ["chat", "config"])
    assert answer.headers["cache-control"] == "no-store"
    async with Client(server, None) as page:
        answer = await page.post(SESSIONS, {"token": token["token"]})
        assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
        session = answer.json()["data"]
        assert (session["session"], session["username"], session["scopes"]) == (None, "alice", ["chat", "config"])
        cookie = answer.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
        assert "Secure" not in cookie
        me = (await page.get("/api/v1/me")).json()["data"]
        assert (me["name"], me["username"], me["scopes"]) == ("test", "alice", ["chat", "config"])
        assert (me["is_browser_session"], me["expires_at"]) == (True, session["expires_at"])


async def test_the_cookie_is_secure_where_the_page_came_by_https(server: Server, shop: Client) -> None:
    for headers in ({"Origin": "https://chat.example.com"}, {"X-Forwarded-Proto": "https"}):
        async with Client(server, None) as page:
            body = {"token": await new_token(shop)}
            answer = await page.request("POST", SESSIONS, json=body, headers=headers)
            assert "Secure" in answer.headers["set-cookie"].split("; ")


async def test_a_token_is_good_once_also_for_two_at_a_time(server: Server, shop: Client) -> None:
    token = await new_token(shop)
    async with Client(server, None) as page:
        answers = await asyncio.gather(*(page.post(SESSIONS, {"token": token}) for _ in range(5)))
        assert sorted(answer.status_code for answer in answers) == [201, 401, 401, 401, 401]
        assert {await refusal(each) for each in answers if each.status_code == 401} == {(401, "invalid_browser_token")}
    assert await count_rows(server.core.database, "browser_tokens", "browser_sessions") == [0, 1]


async def test_tokens_expire_and_are_purged(server: Server, shop: Client) -> None:
    token = await new_token(shop)
    async with browser(server, {"token": await new_token(shop)}), Client(server, None) as page:
        await execute(server.core.database, "UPDATE browser_tokens SET expires_at = '2020-01-01 00:00:00'")
        assert await refusal(await page.post(SESSIONS, {"token": token})) == (401, "invalid_browser_token")
        await new_token(shop)
        await execute(server.core.database, "UPDATE browser_tokens SET expires_at = '2020-01-01 00:00:00'")
        async with server.app.app_context():
            await service(BrowserSessions).purge()
    assert await count_rows(server.core.database, "browser_tokens", "browser_sessions") == [0, 1]


async def test_sessions_end_after_their_time_with_their_streams(start_server: StartServer, model: ModelServer) -> None:
    async with (
        start_server(browser_session_hours=NOW * 20) as server,
        Client(server, await server.new_key()) as shop,
        page_of(server, shop) as page,
    ):
        (cookie,) = (f"{name}={value}" for name, value in page.http.cookies.items())
        model.script(reply(numbered(200), delay=0.1))
        async with asyncio.timeout(30):
            events = [event async for event in _chatting(page)]
        assert "end" not in {event["type"] for event in events}
        page.http.cookies.clear()
        answer = await page.request("GET", "/api/v1/me", headers={"Cookie": cookie})
        assert await refusal(answer) == (401, "browser_session_ended")


async def _chatting(page: Client) -> AsyncIterator[dict[str, Any]]:
    async with page.chatting("Hi") as events:
        async for event in events:
            yield event.data


async def test_a_page_acts_for_its_user_only(server: Server, shop: Client) -> None:
    await shop.chat("a secret", session_id="bobs", username="bob")
    async with page_of(server, shop) as page:
        assert (await page.chat("Hi"))[-1].type == "end"
        for method, path in (("GET", "bobs"), ("GET", "bobs/messages"), ("DELETE", "bobs")):
            params = {"username": "bob"}
            answer = await page.request(method, f"/api/v1/chat/sessions/{path}", params=params)
            assert await refusal(answer) == (403, "username_not_allowed")
        answer = await page.get("/api/v1/chat/sessions/bobs", username="alice")
        assert await refusal(answer) == (403, "session_not_yours")
        assert await refusal(await page.get("/api/v1/api-keys")) == (403, "insufficient_scope")


async def test_users_of_one_key_share_no_session_of_v1(server: Server, shop: Client) -> None:
    body = {"session_id": "plans", "messages": [{"role": "user", "content": "Hi"}]}
    async with page_of(server, shop) as alice, page_of(server, shop, "bob") as bob:
        for client in (alice, bob, shop, alice):
            answer = await client.post("/v1/chat/completions", body)
            assert answer.status_code == 200, answer.text
        page = (await alice.get("/api/v1/chat/sessions", username="alice")).json()["data"]
        assert page["total"] == 1
    assert await count_rows(server.core.database, "sessions") == [3]


async def test_what_a_page_uploads_is_its_users(server: Server, shop: Client) -> None:
    uploaded = await shop.request("POST", "/api/v1/file", files={"file": ("a.txt", b"of the key")})
    ownerless = uploaded.json()["data"]["attachment_id"]
    async with page_of(server, shop) as alice, page_of(server, shop, "bob") as bob:
        uploaded = await alice.request("POST", "/api/v1/file", files={"file": ("a.txt", b"a secret")})
        hers = uploaded.json()["data"]["attachment_id"]
        assert (await alice.get(f"/api/v1/files/{hers}")).status_code == 200
        assert (await bob.get(f"/api/v1/files/{hers}")).status_code == 404
        assert (await alice.get(f"/api/v1/files/{ownerless}")).status_code == 404
        message = [{"type": "file", "attachment_id": ownerless}]
        answer = await alice.post("/api/v1/chat", {"username": "alice", "message": message})
        assert await refusal(answer) == (400, "attachment_not_found")


async def test_what_changes_anything_needs_the_header_of_the_page(server: Server, shop: Client) -> None:
    async with page_of(server, shop) as page:
        del page.http.headers["X-Palaver-Browser"]
        assert (await page.get("/api/v1/me")).status_code == 200
        chat = {"username": "alice", "message": "Hi"}
        missing = (403, "browser_header_missing")
        for value in (None, "0", ""):
            headers = {} if value is None else {"X-Palaver-Browser": value}
            answer = await page.request("POST", "/api/v1/chat", json=chat, headers=headers)
            assert await refusal(answer) == missing
        assert await refusal(await page.request("DELETE", SESSIONS)) == missing
        answer = await page.request("POST", "/v1/chat/completions", json={"messages": []})
        assert answer.status_code == 403
        page.http.headers["X-API-Key"] = shop.key or ""  # a key counts before the cookie, and needs no header
        assert (await page.http.post("/api/v1/chat", json=chat)).status_code == 200


@pytest.mark.databases("sqlite")
async def test_other_pages_cannot_use_the_cookie(start_server: StartServer) -> None:
    trusted = "https://chat.example.com"
    async with (
        start_server(cors_origins=f"{trusted},*") as server,
        Client(server, await server.new_key()) as shop,
        page_of(server, shop) as page,
    ):
        host = server.base_url.removeprefix("http://")
        for origin in (f"http://{host}", f"https://{host}", trusted):
            assert (await page.request("GET", "/api/v1/me", headers={"Origin": origin})).status_code == 200
        for headers in (
            {"Origin": "https://evil.example.com"},
            {"Origin": "null"},
            {"Origin": f"http://{host}.evil.example.com"},
            {"Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": "cross-site", "Origin": f"http://{host}"},
        ):
            answer = await page.request("GET", "/api/v1/me", headers=headers)
            assert await refusal(answer) == (403, "origin_not_allowed")


async def test_a_websocket_takes_the_cookie_from_its_own_page(server: Server, shop: Client) -> None:
    async with page_of(server, shop) as page:
        cookie = "; ".join(f"{name}={value}" for name, value in page.http.cookies.items())
        url = f"{server.base_url}/api/v1/chat/ws"
        async with (
            aiohttp.ClientSession(headers={"Cookie": cookie}) as http,
            http.ws_connect(url, headers={"Origin": server.base_url}) as ws,
        ):
            await ws.send_json({"username": "alice", "message": "Hi"})
            while (event := await ws.receive_json(timeout=10))["type"] != "end":
                pass
            await ws.send_json({"username": "bob", "message": "Hi"})
            assert (await ws.receive_json(timeout=10))["type"] == "error"
            assert (await page.request("DELETE", SESSIONS)).status_code == 200
            await ws.send_json({"username": "alice", "message": "Hi"})
            event = json.loads(await ws.receive_str(timeout=10))
            assert (event["code"], event["data"]) == ("UNAUTHORIZED", "The browser session has ended")
        async with page_of(server, shop) as other:
            cookie = "; ".join(f"{name}={value}" for name, value in other.http.cookies.items())
            async with aiohttp.ClientSession(headers={"Cookie": cookie}) as http:
                async with http.ws_connect(url) as ws:
                    assert (await ws.receive_json(timeout=10))["code"] == "UNAUTHORIZED"
                async with http.ws_connect(url, headers={"Origin": "https://evil.example.com"}) as ws:
                    assert (await ws.receive(timeout=10)).type is aiohttp.WSMsgType.CLOSE


async def test_signing_out_ends_the_session_at_once(server: Server, shop: Client) -> None:
    async with page_of(server, shop) as page:
        cookies = dict(page.http.cookies)
        answer = await page.request("DELETE", SESSIONS)
        assert (answer.status_code, answer.json()["data"]) == (200, {"signed_out": True})
        assert not page.http.cookies
        page.http.cookies.update(cookies)
        assert await refusal(await page.get("/api/v1/me")) == (401, "browser_session_ended")
    assert await refusal(await shop.request("DELETE", SESSIONS)) == (409, "not_a_browser_session")


async def test_a_session_as_a_bearer_needs_no_cookie(server: Server, shop: Client) -> None:
    async with Client(server, None) as page:
        answer = await page.post(SESSIONS, {"token": await new_token(shop), "bearer": True})
        assert "set-cookie" not in answer.headers
        text = answer.json()["data"]["session"]
        assert is_well_formed(text, SESSION_PREFIX)
        page.http.headers["Authorization"] = f"Bearer {text}"
        assert (await page.get("/api/v1/me")).json()["data"]["is_browser_session"]
        assert (await page.chat("Hi"))[-1].type == "end"
        assert (await page.request("DELETE", SESSIONS)).status_code == 200
        assert await refusal(await page.get("/api/v1/me")) == (401, "browser_session_ended")


async def test_a_key_signs_in_with_its_own_rights(server: Server) -> None:
    for username in (None, "alice"):
        key = await server.new_key("chat", "admin", username=username)
        async with browser(server, {"key": key}) as page:
            me = (await page.get("/api/v1/me")).json()["data"]
            assert (me["scopes"], me["username"]) == (["chat", "admin"], username)
            made = await page.post("/api/v1/api-keys", {"name": "made", "scopes": ["chat"], "username": "alice"})
            assert made.json()["data"]["created_by"] == me["key_id"]
    async with Client(server, None) as page:
        assert await refusal(await page.post(SESSIONS, {"key": new_key_text()})) == (401, "invalid_api_key")
        for body in ({}, {"key": key, "token": "x"}, {"token": 7}):
            assert await refusal(await page.post(SESSIONS, body)) == (400, "invalid_request")
        answer = await page.post(SESSIONS, {"key": key, "bearer": True})
        again = await page.post(SESSIONS, {"key": answer.json()["data"]["session"]})
        assert await refusal(again) == (401, "invalid_api_key")


@pytest.mark.parametrize("end", ["revoke", "delete", "rotate"])
async def test_a_session_ends_with_its_key(server: Server, end: str) -> None:
    key, text = await server.core.keys.create(name="shop", scopes=["chat"])
    async with Client(server, text) as shop, page_of(server, shop) as page:
        unused = await new_token(shop)
        assert (await page.get("/api/v1/me")).status_code == 200
        await getattr(server.core.keys, end)(key.id)
        assert await refusal(await page.get("/api/v1/me")) == (401, "browser_session_ended")
        async with Client(server, None) as other:
            assert await refusal(await other.post(SESSIONS, {"token": unused})) == (401, "browser_session_ended")


async def test_a_session_outlasts_a_restart_and_ends_with_a_key_of_the_settings(start_server: StartServer) -> None:
    async with (
        start_server(api_keys="shop=a-key-of-the-operators-own") as server,
        Client(server, "a-key-of-the-operators-own") as shop,
        page_of(server, shop) as page,
    ):
        cookies = dict(page.http.cookies)
    for keys, status in (("shop=a-key-of-the-operators-own", 200), ("other=another-key-of-the-operators", 401)):
        async with start_server(api_keys=keys) as server, Client(server, None) as page:
            page.http.cookies.update(cookies)
            assert (await page.get("/api/v1/me")).status_code == status


async def test_a_token_has_no_more_than_its_key(server: Server, shop: Client) -> None:
    async def refused(client: Client, **body: Any) -> tuple[int, str]:
        return await refusal(await client.post(TOKENS, {"username": "alice", **body}))

    assert await refused(shop, scopes=["chat", "admin"]) == (403, "scope_not_held")
    assert await refused(shop, scopes=[]) == (400, "invalid_request")
    assert await refused(shop, username=" ") == (400, "invalid_request")
    assert await refused(shop, username="api:shop") == (400, "username_reserved")
    assert await refusal(await shop.post(TOKENS, {})) == (400, "missing_key")
    async with Client(server, await server.new_key("chat", username="bob")) as bob:
        assert await refused(bob) == (403, "username_not_allowed")
    async with Client(server, await server.new_key("admin")) as admin:
        assert await refused(admin) == (403, "scope_not_held")
        assert (await admin.post(TOKENS, {"username": "alice", "scopes": ["admin"]})).status_code == 201
    async with page_of(server, shop) as page:
        assert await refused(page) == (403, "browser_session_not_allowed")
    async with Client(server, await server.new_key("im")) as other:
        assert (await other.get("/api/v1/me")).json()["data"]["scopes"] == ["im"]
    async with Client(server, None) as nobody:
        assert await refused(nobody) == (401, "missing_api_key")
        assert (await nobody.get("/api/v1/me")).status_code == 401


@pytest.mark.databases("sqlite")
async def test_without_keys_there_is_nothing_to_sign_in_to(start_server: StartServer) -> None:
    async with start_server(no_auth=True) as server, Client(server, None) as client:
        assert (await client.get("/api/v1/me")).json()["data"]["key_id"] == "anonymous"
        assert await refusal(await client.post(TOKENS, {"username": "alice"})) == (409, "no_keys")
        assert await refusal(await client.post(SESSIONS, {"token": "x"})) == (409, "no_keys")


@pytest.mark.databases("sqlite")
async def test_neither_tokens_nor_sessions_are_logged_or_stored(start_server: StartServer) -> None:
    lines = io.StringIO()
    with logging_to(lines, "debug"):
        async with start_server() as server, Client(server, await server.new_key()) as shop:
            token = await new_token(shop)
            async with browser(server, {"token": token}) as page:
                await page.get("/api/v1/me")
                (text,) = dict(page.http.cookies).values()
            stored = (server.settings.data_dir / "palaver.db").read_bytes()
            stored += (server.settings.data_dir / "palaver.db-wal").read_bytes()
    for secret in (token, text):
        assert secret not in lines.getvalue()
        assert secret.encode() not in stored


async def test_sign_ins_are_in_the_audit_trail(server: Server, shop: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    me = (await shop.get("/api/v1/me")).json()["data"]["key_id"]
    async with page_of(server, shop) as page:
        assert (await page.request("DELETE", SESSIONS)).status_code == 200
    admin = Client(server, await server.new_key("admin"))
    async with browser(server, {"key": shop.key}), Client(server, None) as stranger, admin:
        for _ in range(3):
            assert await refusal(await stranger.post(SESSIONS, {"token": "nothing"})) == (401, "invalid_browser_token")
        now = time.monotonic()
        monkeypatch.setattr("app.auth.browser.refusals.time.monotonic", lambda: now + 61)
        assert await refusal(await stranger.post(SESSIONS, {"key": "nothing"})) == (401, "invalid_api_key")
        audit = (await admin.get("/api/v1/audit")).json()["data"]["entries"]
    trail = [(each["key_id"], each["action"], each["target"], each["address"]) for each in audit]
    assert [entry for entry in trail if entry[1].startswith("browser")] == [
        (None, "browser_session.refused", "invalid_api_key", "127.0.0.1"),
        (None, "browser_session.refused", "invalid_browser_token", "127.0.0.1"),
        (me, "browser_session.created", "", "127.0.0.1"),
        (me, "browser_session.deleted", "alice", "127.0.0.1"),
        (me, "browser_session.created", "alice", "127.0.0.1"),
        (me, "browser_token.created", "alice", "127.0.0.1"),
    ]
