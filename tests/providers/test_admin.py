"""`/api/v1/providers`: model servers are added, changed, tried and deleted over HTTP, and their secrets stay secret."""

import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import StartServer
from tests.support.answers import reply, status
from tests.support.client import Client
from tests.support.logs import logging_to
from tests.support.model_server import ModelServer
from tests.support.server import Server

PATH = "/api/v1/providers"
KEY = "sk-the-key-of-the-added-server"


@pytest.fixture
async def added() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        yield server


@pytest.fixture
async def server(start_server: StartServer) -> AsyncIterator[Server]:
    async with start_server(providers_allow_private=True) as server:
        yield server


@pytest.fixture
async def admin(server: Server) -> AsyncIterator[Client]:
    async with Client(server, await server.new_key("chat", "config", "file", "im", "admin")) as client:
        yield client


def body_of(server: ModelServer, **fields: Any) -> dict[str, Any]:
    return {"base_url": server.base_url, "default_model": "m-1", "api_key": KEY, "max_retries": 0, **fields}


async def put(admin: Client, id: str, body: dict[str, Any]) -> httpx2.Response:
    return await admin.request("PUT", f"{PATH}/{id}", json=body)


def refusal(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_a_provider_is_added_used_changed_and_deleted(
    server: Server, admin: Client, added: ModelServer, model: ModelServer
) -> None:
    answer = await admin.post(PATH, {"id": "extra", **body_of(added, extra_headers={"X-Org": "secret-org"})})
    assert answer.status_code == 201, answer.text
    data = answer.json()["data"]
    assert (data["id"], data["source"], data["is_default"]) == ("extra", "api", False)
    assert (data["has_api_key"], data["extra_headers"]) == (True, ["X-Org"])
    assert KEY not in answer.text
    assert "secret-org" not in answer.text
    await admin.chat("Hi", selected_provider="extra")
    received = added.requests[-1]
    assert received.headers["authorization"] == f"Bearer {KEY}"
    assert (received.headers["x-org"], received.body["model"]) == ("secret-org", "m-1")
    assert "extra" in [each["owned_by"] for each in (await admin.get("/v1/models")).json()["data"]]
    # The key stays with the address.
    changed = await put(admin, "extra", {"base_url": added.base_url, "default_model": "m-2", "models": ["m-2"]})
    assert changed.json()["data"]["has_api_key"]
    await admin.chat("Hi", selected_provider="extra")
    assert (added.requests[-1].body["model"], added.requests[-1].headers["authorization"]) == ("m-2", f"Bearer {KEY}")
    # It is not sent to another one, and null takes it away.
    moved = await put(admin, "extra", {"base_url": model.base_url, "default_model": "m-2"})
    assert (moved.json()["data"]["has_api_key"], moved.json()["data"]["extra_headers"]) == (False, [])
    assert not (await put(admin, "extra", body_of(added, api_key=None))).json()["data"]["has_api_key"]
    assert [each["id"] for each in (await admin.get(PATH)).json()["data"]["providers"]] == ["scripted", "extra"]
    assert (await admin.request("DELETE", f"{PATH}/extra")).status_code == 200
    gone = await admin.post("/api/v1/chat", {"username": "alice", "message": "Hi", "selected_provider": "extra"})
    assert refusal(gone) == (400, "provider_not_found")
    actions = [each["action"] for each in (await admin.get("/api/v1/audit")).json()["data"]["entries"][:5]]
    assert actions == ["provider.deleted", *["provider.changed"] * 3, "provider.created"]


async def test_a_provider_is_tried_with_one_real_request(server: Server, admin: Client, added: ModelServer) -> None:
    await put(admin, "extra", body_of(added))
    added.script(reply(["ok"]), status(401), reply(["ok"]))
    result = (await admin.post(f"{PATH}/extra/test")).json()["data"]
    assert (result["ok"], result["model"], result["error"]) == (True, "m-1", None)
    assert 0 <= result["first_token_milliseconds"] <= result["milliseconds"]
    failed = await admin.post(f"{PATH}/extra/test", {"model": "m-9"})
    assert (failed.json()["data"]["ok"], failed.json()["data"]["model"]) == (False, "m-9")
    assert "sk-secret" not in failed.text
    assert KEY not in failed.text
    assert (await admin.post(f"{PATH}/scripted/test")).json()["data"]["ok"]
    models = (await admin.get(f"{PATH}/extra/models")).json()["data"]["models"]
    assert models[0] == "m-1"
    assert refusal(await admin.post(f"{PATH}/unknown/test")) == (404, "provider_not_found")
    assert refusal(await admin.get(f"{PATH}/unknown/models")) == (404, "provider_not_found")
    assert (await admin.get("/api/v1/usage")).json()["data"]["rows"] == []


async def test_a_reply_that_goes_on_outlives_its_provider(server: Server, admin: Client, added: ModelServer) -> None:
    await put(admin, "extra", body_of(added))
    added.script(reply([f"t{number} " for number in range(20)], delay=0.05))
    async with admin.chatting("Hi", selected_provider="extra") as events:
        seen = [await anext(events)]
        await added.wait_for_requests(1)
        assert (await admin.request("DELETE", f"{PATH}/extra")).status_code == 200
        seen += [event async for event in events]
    assert seen[-1].type == "end"
    assert "error" not in {event.type for event in seen}


async def test_providers_of_the_settings_are_read_only(admin: Client, added: ModelServer) -> None:
    shown = (await admin.get(f"{PATH}/scripted")).json()["data"]
    assert (shown["source"], shown["is_default"], shown["has_api_key"]) == ("settings", True, True)
    assert refusal(await put(admin, "scripted", body_of(added))) == (409, "provider_configured")
    assert refusal(await admin.post(PATH, {"id": "scripted", **body_of(added)})) == (409, "provider_configured")
    assert refusal(await admin.request("DELETE", f"{PATH}/scripted")) == (409, "provider_configured")
    assert refusal(await admin.request("DELETE", f"{PATH}/unknown")) == (404, "provider_not_found")
    assert (await admin.post(PATH, {"id": "extra", **body_of(added)})).status_code == 201
    assert refusal(await admin.post(PATH, {"id": "extra", **body_of(added)})) == (409, "provider_exists")


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"base_url": "ftp://models.example.com"}, "invalid_provider"),
        ({"base_url": "https://user:word@models.example.com/v1"}, "invalid_provider"),
        ({"base_url": "https://models.example.com/v1/chat/completions"}, "invalid_provider"),
        ({"base_url": "https://models.example.com/v1#x"}, "invalid_provider"),
        ({"api_key": "two\nlines"}, "invalid_provider"),
        ({"extra_headers": {"Bad Name": "x"}}, "invalid_provider"),
        ({"timeout_seconds": 0}, "invalid_request"),
        ({"default_model": ""}, "invalid_request"),
        ({"max_retries": 99}, "invalid_request"),
    ],
)
async def test_what_makes_no_provider_is_refused(
    admin: Client, added: ModelServer, change: dict[str, Any], code: str
) -> None:
    assert refusal(await put(admin, "extra", body_of(added, **change))) == (400, code)
    assert refusal(await put(admin, "a b", body_of(added))) == (400, "invalid_provider")
    assert len((await admin.get(PATH)).json()["data"]["providers"]) == 1


@pytest.mark.databases("sqlite")
async def test_private_addresses_are_the_operators(start_server: StartServer, added: ModelServer) -> None:
    async with start_server() as server, Client(server, await server.new_key("chat", "admin")) as admin:
        assert refusal(await put(admin, "extra", body_of(added))) == (400, "invalid_provider")
        by_name = body_of(added, base_url=added.base_url.replace("127.0.0.1", "localhost"))
        assert (await put(admin, "extra", by_name)).status_code == 200  # a name is looked up at each connection
        assert not (await admin.post(f"{PATH}/extra/test")).json()["data"]["ok"]
        assert added.requests == []


async def test_who_may_manage_providers(server: Server, added: ModelServer) -> None:
    requests = [
        ("GET", PATH, None),
        ("POST", PATH, {"id": "extra", **body_of(added)}),
        ("GET", f"{PATH}/scripted", None),
        ("PUT", f"{PATH}/extra", body_of(added)),
        ("DELETE", f"{PATH}/extra", None),
        ("POST", f"{PATH}/scripted/test", {}),
        ("GET", f"{PATH}/scripted/models", None),
    ]
    for scopes, username, code in (
        (("chat", "config"), None, "insufficient_scope"),
        (("admin",), "alice", "username_not_allowed"),
    ):
        async with Client(server, await server.new_key(*scopes, username=username)) as client:
            for method, path, body in requests:
                assert refusal(await client.request(method, path, json=body)) == (403, code)


async def test_providers_outlast_a_restart_and_their_secrets_are_encrypted(
    start_server: StartServer, added: ModelServer, backend: str
) -> None:
    lines = io.StringIO()
    with logging_to(lines, "debug"):
        async with (
            start_server(providers_allow_private=True) as server,
            Client(server, await server.new_key("chat", "file", "admin")) as admin,
        ):
            await put(admin, "extra", body_of(added))
            key = admin.key
            folder = Path(server.settings.data_dir)
        if backend == "sqlite":
            assert KEY.encode() not in b"".join(path.read_bytes() for path in folder.glob("palaver.db*"))
        async with start_server(providers_allow_private=True) as server, Client(server, key) as admin:
            added.script(reply(["ok"]))
            assert (await admin.get(f"{PATH}/extra")).json()["data"]["has_api_key"]
            body = {"username": "alice", "message": "Hi", "selected_provider": "extra"}
            assert (await admin.post("/api/v1/chat", body)).status_code == 200
    assert KEY not in lines.getvalue()
