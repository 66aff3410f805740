"""`/api/v1/mcp/servers`: servers by URL, kept in the database with their secrets encrypted."""

import io
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest
from sqlalchemy import select, update

from app.crypto import SecretBox
from app.tools.mcp.models import ServerRow
from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.logs import logging_to
from tests.support.mcp_servers import Json, ScriptedMcp, answering, http_server, scripted, text, tool
from tests.support.model_server import ModelServer
from tests.tools.mcp_steps import SCOPES, call, palaver_with, report, until_state
from tests.tools.test_steps import use

TOKEN = "Bearer very-secret-token-of-the-server"


@pytest.fixture
async def mcp() -> AsyncIterator[ScriptedMcp]:
    respond = answering({"tools/list": {"tools": [tool("it")]}, "tools/call": lambda _request: text("fine")})
    async with scripted(respond) as server:
        yield server


async def put(client: Client, name: str, **body: Any) -> httpx2.Response:
    return await client.request("PUT", f"/api/v1/mcp/servers/{name}", json=body)


async def test_a_server_is_added_used_and_there_after_a_restart(
    start_server: StartServer, model: ModelServer, mcp: ScriptedMcp
) -> None:
    headers = {"Authorization": TOKEN}
    url = f"{mcp.url}?key=in-the-query"
    async with palaver_with(start_server, mcp_allow_private=True) as client:
        response = await put(client, "weather", url=url, headers=headers)
        assert response.status_code == 200
        assert response.json()["data"]["state"] in ("connecting", "connected")
        data = await until_state(client, "weather", "connected")
        assert data == {
            "name": "weather",
            "transport": "streamable_http",
            "source": "api",
            "url": mcp.url,
            "state": "connected",
            "error": None,
            "tools": ["weather_it"],
        }
        assert mcp.headers[0]["authorization"] == TOKEN
    async with start_server(mcp_allow_private=True) as server, Client(server, await server.new_key(*SCOPES)) as client:
        use(server, "weather_*")
        await until_state(client, "weather", "connected")
        assert (await call(client, model, "weather_it", {}))[0] == "fine"
        rows = await server.core.database.read(lambda connection: list(connection.execute(select(ServerRow))))
        assert b"secret" not in rows[0].secrets
        assert "secret" not in str(rows[0].config)
        assert "in-the-query" not in str(rows[0].config)
        assert (await client.request("DELETE", "/api/v1/mcp/servers/weather")).status_code == 200
        assert (await client.get("/api/v1/mcp/servers")).json()["data"]["servers"] == []
        assert (await client.get("/api/v1/mcp/servers/weather")).status_code == 404
        await client.chat("Hi")
        assert "tools" not in model.requests[-1].body


async def test_a_put_replaces_all_of_it_and_a_disabled_server_rests(
    start_server: StartServer, mcp: ScriptedMcp
) -> None:
    async with palaver_with(start_server, mcp_allow_private=True) as client:
        await put(client, "weather", url=mcp.url, headers={"Authorization": TOKEN}, tools=["other"])
        assert (await until_state(client, "weather", "connected"))["tools"] == []
        await put(client, "weather", url=mcp.url)
        assert (await until_state(client, "weather", "connected"))["tools"] == ["weather_it"]
        assert "authorization" not in mcp.headers[-1]
        await put(client, "weather", url=mcp.url, enabled=False)
        assert (await report(client, "weather"))["state"] == "disabled"
        response = await client.post("/api/v1/mcp/servers/weather/test")
        assert (response.json()["data"]["state"], response.json()["data"]["tools"]) == ("disabled", [])


async def test_a_test_asks_now(start_server: StartServer, mcp: ScriptedMcp) -> None:
    async with palaver_with(start_server, mcp_allow_private=True) as client:
        mcp.raw = lambda _request: b"HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n"
        await put(client, "weather", url=mcp.url)
        data = (await client.post("/api/v1/mcp/servers/weather/test")).json()["data"]
        assert (data["state"], data["error"]) == ("failed", "The server answered with status 401")
        mcp.raw = lambda _request: None
        data = (await client.post("/api/v1/mcp/servers/weather/test")).json()["data"]
        assert (data["state"], data["error"], data["tools"]) == ("connected", None, ["weather_it"])


_BAD: Sequence[tuple[str, Json, str]] = (
    ("weather", {}, "invalid_request"),
    ("weather", {"url": 5}, "invalid_request"),
    ("weather", {"url": "ftp://mcp.example.com"}, "invalid_mcp_server"),
    ("weather", {"url": "http://user:pass@mcp.example.com"}, "invalid_mcp_server"),
    ("weather", {"url": "http://127.0.0.1/mcp"}, "invalid_mcp_server"),
    ("weather", {"url": "http://[::ffff:10.0.0.1]/mcp"}, "invalid_mcp_server"),
    ("weather", {"url": "https://mcp.example.com", "headers": {"a b": "c"}}, "invalid_mcp_server"),
    ("weather", {"url": "https://mcp.example.com", "headers": {"Host": "other"}}, "invalid_mcp_server"),
    ("weather", {"url": "https://mcp.example.com", "headers": {"X": "a\r\nb"}}, "invalid_mcp_server"),
    ("weather", {"url": "https://mcp.example.com", "call_timeout_seconds": 0}, "invalid_request"),
    ("weather", {"command": "sh", "args": ["-c", "id"]}, "invalid_request"),
    ("a.b", {"url": "https://mcp.example.com"}, "invalid_mcp_server"),
    ("x" * 33, {"url": "https://mcp.example.com"}, "invalid_mcp_server"),
)


async def test_a_bad_server_is_refused_and_leaves_nothing(start_server: StartServer) -> None:
    async with palaver_with(start_server) as client:
        for name, body, code in _BAD:
            response = await put(client, name, **body)
            assert (response.status_code, response.json()["code"]) == (400, code), body
        assert (await client.get("/api/v1/mcp/servers")).json()["data"]["servers"] == []


async def test_servers_of_the_settings_are_shown_and_not_changed(start_server: StartServer, mcp: ScriptedMcp) -> None:
    async with palaver_with(start_server, http_server("weather", mcp.url)) as client:
        assert (await until_state(client, "weather", "connected"))["source"] == "settings"
        responses = [
            await put(client, "weather", url="https://mcp.example.com/mcp"),
            await client.request("DELETE", "/api/v1/mcp/servers/weather"),
        ]
        assert [(each.status_code, each.json()["code"]) for each in responses] == [(409, "mcp_server_configured")] * 2


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
async def test_only_unbound_admins_manage_servers(start_server: StartServer, method: str) -> None:
    path = "/api/v1/mcp/servers/weather" + ("/test" if method == "POST" else "")
    body: Mapping[str, Any] = {"json": {"url": "https://mcp.example.com/mcp"}} if method == "PUT" else {}
    async with start_server() as server:
        for scopes, username in ((("chat",), None), (("admin",), "alice")):
            async with Client(server, await server.new_key(*scopes, username=username)) as client:
                assert (await client.request(method, path, **body)).status_code == 403


async def test_no_secret_is_shown_or_logged(start_server: StartServer, mcp: ScriptedMcp) -> None:
    def echo(_request: Json) -> bytes:
        body = f'{{"jsonrpc":"2.0","id":1,"error":{{"code":-32000,"message":"Bad token {TOKEN[7:]}"}}}}'.encode()
        return b"HTTP/1.1 401 X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    mcp.raw = echo
    stream = io.StringIO()
    with logging_to(stream, "debug"):
        async with palaver_with(start_server, mcp_allow_private=True) as client:
            await put(client, "weather", url=f"{mcp.url}?k=another-secret", headers={"Authorization": TOKEN})
            data = (await client.post("/api/v1/mcp/servers/weather/test")).json()["data"]
            assert data["error"] == "Bad token [redacted]"
            shown = (await client.get("/api/v1/mcp/servers")).text
    assert "mcp_server_failed" in stream.getvalue()
    for secret in (TOKEN[7:], "another-secret"):
        assert secret not in stream.getvalue() + shown


async def test_a_server_of_another_master_key_is_a_failure(start_server: StartServer, mcp: ScriptedMcp) -> None:
    async with palaver_with(start_server, mcp_allow_private=True) as client:
        await put(client, "weather", url=mcp.url)
    secrets = SecretBox(bytes(32)).encrypt(b"{}")  # as after `palaver db adopt-key`
    async with start_server() as server, Client(server, await server.new_key("admin")) as client:
        await server.core.database.write(
            lambda connection: connection.execute(update(ServerRow).values(secrets=secrets))
        )
        data = await report(client, "weather")
    assert (data["state"], data["url"]) == ("failed", None)
    assert "master key" in data["error"]


async def test_servers_on_one_database_see_each_others_changes(
    start_server: StartServer, mcp: ScriptedMcp, backend: str, tmp_path: Any, database_url: str
) -> None:
    if backend == "sqlite":
        pytest.skip("one server has an embedded database to itself")
    key = "cd" * 32
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(palaver_with(start_server, mcp_allow_private=True, secret_key=key))
        options = {"data_dir": tmp_path / "second", "database_url": database_url, "secret_key": key}
        second = await stack.enter_async_context(palaver_with(start_server, mcp_allow_private=True, **options))
        await put(first, "weather", url=mcp.url)
        await until_state(second, "weather", "connected")
        await first.request("DELETE", "/api/v1/mcp/servers/weather")
        assert (await second.get("/api/v1/mcp/servers")).json()["data"]["servers"] == []
