"""Limits of keys: what passes, what is refused, by every door, on several servers and over restarts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx2
import pytest

from app.errors import AppError
from app.settings import ApiKeySettings
from tests.conftest import StartServer
from tests.support.answers import numbered, reply
from tests.support.client import Client
from tests.support.database import execute
from tests.support.model_server import ModelServer
from tests.support.server import Server

KEYS = "/api/v1/api-keys"
HELLO = {"messages": [{"role": "user", "content": "Hi"}]}
CHAT = {"username": "alice", "message": "Hi"}


@pytest.fixture
async def admin(server: Server) -> AsyncIterator[Client]:
    async with Client(server, await server.new_key("chat", "config", "file", "im", "admin")) as client:
        yield client


async def make(admin: Client, **limits: Any) -> tuple[str, str]:
    """Create a key with limits; its id and its text."""
    answer = await admin.post(KEYS, {"name": "limited", "scopes": ["chat", "file"], **limits})
    assert answer.status_code == 201, answer.text
    return answer.json()["data"]["key_id"], answer.json()["data"]["key"]


@asynccontextmanager
async def limited(server: Server, admin: Client, **limits: Any) -> AsyncIterator[Client]:
    _, text = await make(admin, **limits)
    async with Client(server, text) as client:
        yield client


async def change(admin: Client, key_id: str, **values: Any) -> httpx2.Response:
    return await admin.request("PATCH", f"{KEYS}/{key_id}", json=values)


def refusal(answer: httpx2.Response) -> tuple[int, str]:
    body = answer.json()
    return answer.status_code, body["error"]["code"] if "error" in body else body["code"]


async def pass_minute(server: Server) -> None:
    """Have the counters begin anew, as they do after a minute."""
    await execute(server.core.database, "DELETE FROM limit_counters")


async def test_requests_of_a_minute_through_every_door(server: Server, admin: Client) -> None:
    async with limited(server, admin, rpm_limit=4) as client:
        answer = await client.post("/api/v1/chat", CHAT)
        assert answer.status_code == 200
        assert answer.headers["x-ratelimit-limit-requests"] == "4"
        assert answer.headers["x-ratelimit-remaining-requests"] == "3"
        answer = await client.post("/v1/chat/completions", HELLO)
        assert answer.headers["x-ratelimit-remaining-requests"] == "2"
        assert (await client.post("/api/kernel2/chat", HELLO)).status_code == 200
        async with (
            aiohttp.ClientSession(headers={"X-API-Key": client.key or ""}) as http,
            http.ws_connect(f"{server.base_url}/api/v1/chat/ws") as ws,
        ):
            await ws.send_json(CHAT)
            while (event := await ws.receive_json(timeout=10))["type"] != "end":
                assert event["type"] != "error"
            await ws.send_json(CHAT)
            event = await ws.receive_json(timeout=10)
            assert (event["type"], event["code"]) == ("error", "PROCESSING_ERROR")
            assert event["data"] == "The API key has a limit of 4 requests a minute"
        answer = await client.post("/api/v1/chat", CHAT)
        assert refusal(answer) == (429, "rate_limited")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert answer.headers["x-ratelimit-remaining-requests"] == "0"
        answer = await client.post("/v1/chat/completions", HELLO)
        assert refusal(answer) == (429, "rate_limit_exceeded")
        assert answer.headers["x-ratelimit-reset-requests"].endswith("s")
        assert (await client.post("/api/kernel2/chat", HELLO)).json()["code"] == 429
        for _ in range(5):
            assert (await client.get("/v1/models")).status_code == 200
            assert (await client.get("/api/v1/me")).json()["data"]["rpm_limit"] == 4
        await pass_minute(server)
        assert (await client.post("/api/v1/chat", CHAT)).status_code == 200


async def test_what_is_refused_leaves_nothing_and_a_repeat_counts_once(server: Server, admin: Client) -> None:
    async with limited(server, admin, rpm_limit=1) as client:
        for _ in range(3):
            answer = await client.request("POST", "/api/v1/chat", json=CHAT, headers={"Idempotency-Key": "one"})
            assert answer.status_code == 200
        assert refusal(await client.post("/api/v1/chat", {**CHAT, "session_id": "s2"})) == (429, "rate_limited")
        page = (await client.get("/api/v1/chat/sessions", username="alice")).json()["data"]
        assert page["total"] == 1


async def test_tokens_of_a_minute_are_reserved_and_settled(server: Server, admin: Client, model: ModelServer) -> None:
    async with limited(server, admin, tpm_limit=1000) as client:
        model.script(reply(["Hello"], usage=(10, 4, 20)), reply(["Hello"], usage=(900, 0, 100)), reply(["Hello"]))
        answer = await client.post("/v1/chat/completions", {**HELLO, "max_tokens": 700})
        assert answer.headers["x-ratelimit-limit-tokens"] == "1000"
        assert 250 < int(answer.headers["x-ratelimit-remaining-tokens"]) <= 300
        answer = await client.post("/v1/chat/completions", {**HELLO, "max_tokens": 100})
        assert 800 < int(answer.headers["x-ratelimit-remaining-tokens"]) <= 870  # 30 were used, and not 700
        answer = await client.post("/v1/chat/completions", HELLO)
        assert refusal(answer) == (429, "rate_limit_exceeded")
        assert answer.headers["x-ratelimit-remaining-tokens"] == "0"
        answer = await client.post("/api/v1/chat", CHAT)
        assert refusal(answer) == (429, "token_rate_limited")


async def test_replies_at_once(server: Server, admin: Client, model: ModelServer) -> None:
    gate = asyncio.Event()
    async with limited(server, admin, max_parallel_requests=2) as client:
        model.script(reply(numbered(3), gate=gate), reply(numbered(3), gate=gate), reply(["Hello"]))
        going_on = [asyncio.create_task(client.chat("Hi")) for _ in range(2)]
        await model.wait_for_requests(2)
        assert refusal(await client.post("/api/v1/chat", CHAT)) == (429, "too_many_parallel")
        gate.set()
        await asyncio.gather(*going_on)
        assert (await client.post("/api/v1/chat", CHAT)).status_code == 200


async def test_a_reply_whose_session_is_deleted_gives_its_place_back(
    server: Server, admin: Client, model: ModelServer
) -> None:
    async with limited(server, admin, max_parallel_requests=1, budget={"tokens": 600, "per": "day"}) as client:
        model.script(reply(numbered(300), delay=0.05), reply(["Hello"]))
        task = asyncio.create_task(client.chat("Hi", session_id="s1"))
        await model.wait_for_requests(1)
        deletion = await client.request("DELETE", "/api/v1/chat/sessions/s1", params={"username": "alice"})
        assert deletion.status_code == 200
        await task
        assert (await client.post("/api/v1/chat", CHAT)).status_code == 200


@pytest.mark.parametrize("per", ["day", "week", "month"])
async def test_a_budget_of_tokens(server: Server, admin: Client, model: ModelServer, per: str) -> None:
    async with limited(server, admin, budget={"tokens": 100, "per": per}) as client:
        for _ in range(2):  # the second begins with 40 left, and may use more
            model.script(reply(["Hello"], usage=(50, 0, 10)))
            assert (await client.post("/api/v1/chat", CHAT)).status_code == 200
        answer = await client.post("/api/v1/chat", CHAT)
        assert refusal(answer) == (429, "budget_exceeded")
        assert 1 <= int(answer.headers["retry-after"]) <= 32 * 86_400
        assert refusal(await client.post("/v1/chat/completions", HELLO)) == (429, "insufficient_quota")


async def test_what_is_left_of_a_budget_is_for_one_reply_at_a_time(
    server: Server, admin: Client, model: ModelServer
) -> None:
    gate = asyncio.Event()
    async with limited(server, admin, budget={"tokens": 800, "per": "day"}) as client:
        model.script(reply(numbered(3), gate=gate, usage=(10, 0, 790)))
        going_on = asyncio.create_task(client.chat("Hi"))
        await model.wait_for_requests(1)
        answer = await client.post("/api/v1/chat", CHAT)
        assert (*refusal(answer), answer.headers["retry-after"]) == (429, "budget_exceeded", "2")
        gate.set()
        await going_on
        answer = await client.post("/api/v1/chat", CHAT)
        assert refusal(answer) == (429, "budget_exceeded")
        assert "spent" in answer.json()["message"]


async def test_a_budget_of_money(start_server: StartServer, model: ModelServer) -> None:
    prices = {"gpt-4.1-mini": {"input": 2.0, "cached": 1.0, "output": 10.0}}
    async with (
        start_server(prices=prices) as server,
        Client(server, await server.new_key("chat", "file", "admin")) as admin,
        limited(server, admin, budget={"cost": 0.001, "per": "month"}) as client,
    ):
        model.script(reply(["Hello"], usage=(100, 50, 85)))  # 0.0001 + 0.00005 + 0.00085
        assert (await client.post("/api/v1/chat", CHAT)).status_code == 200
        assert refusal(await client.post("/api/v1/chat", CHAT)) == (429, "budget_exceeded")


async def test_a_budget_that_is_set_later_counts_what_was_used_before(
    server: Server, admin: Client, model: ModelServer
) -> None:
    key_id, text = await make(admin)
    async with Client(server, text) as client:
        model.script(reply(["Hello"], usage=(90, 0, 20)))
        assert (await client.post("/api/v1/chat", CHAT)).status_code == 200
        for per in ("day", "week", "month"):
            assert (await change(admin, key_id, budget={"tokens": 100, "per": per})).status_code == 200
            assert refusal(await client.post("/api/v1/chat", CHAT)) == (429, "budget_exceeded")
        assert (await change(admin, key_id, budget={"tokens": 200, "per": "month"})).status_code == 200
        assert (await client.post("/api/v1/chat", CHAT)).status_code == 200
        assert (await change(admin, key_id, budget=None)).json()["data"]["budget"] is None


async def test_a_stopped_reply_is_not_free(server: Server, admin: Client, model: ModelServer) -> None:
    async with limited(server, admin, budget={"tokens": 50, "per": "day"}) as client:
        gate = asyncio.Event()
        model.script(reply(["x" * 400, "y"], gate=gate, hold_after=1))
        async with client.chatting("Hi") as events:
            async for event in events:
                if event.type == "session_id":
                    run_id = event.data["run_id"]
                if event.type == "plain":
                    await client.post(f"/api/v1/chat/runs/{run_id}/stop")
        assert refusal(await client.post("/api/v1/chat", CHAT)) == (429, "budget_exceeded")


async def test_limits_of_each_end_user(server: Server, admin: Client) -> None:
    async with limited(server, admin, per_user={"rpm_limit": 1}) as client:
        for user in ("alice", "bob"):
            assert (await client.post("/api/v1/chat", {**CHAT, "username": user})).status_code == 200
            again = await client.post("/api/v1/chat", {**CHAT, "username": user})
            assert refusal(again) == (429, "rate_limited")
        for field in ("user", "safety_identifier"):
            assert (await client.post("/v1/chat/completions", {**HELLO, field: f"new {field}"})).status_code == 200
            assert (await client.post("/v1/chat/completions", {**HELLO, field: "alice"})).status_code == 429


async def names_of(client: Client) -> list[str]:
    return [each["id"] for each in (await client.get("/v1/models")).json()["data"]]


async def test_models_and_profiles_of_a_key(server: Server, admin: Client, model: ModelServer) -> None:
    (server.settings.data_dir / "configs" / "poet.toml").write_text('name = "Poet"\nmodel = "verse-1"')
    async with limited(server, admin, models=["verse-*", "scripted/gpt-4.1*"]) as client:
        for name, status in (("verse-2", 200), ("gpt-4.1-mini", 200), ("gpt-5", 403)):
            answer = await client.post("/api/v1/chat", {**CHAT, "selected_model": name})
            assert answer.status_code == status
            assert (await client.post("/v1/chat/completions", {**HELLO, "model": name})).status_code == status
        assert refusal(answer) == (403, "model_not_allowed")
        assert await names_of(client) == ["default", "poet", "gpt-4.1-mini"]
    async with limited(server, admin, configs=["poet"], models=["verse-*"]) as client:
        assert await names_of(client) == ["poet"]
        await client.chat("Hi")
        assert model.requests[-1].body["model"] == "verse-1"
        answer = await client.post("/api/v1/chat", {**CHAT, "config_id": "default"})
        assert refusal(answer) == (403, "config_not_allowed")


async def test_addresses_of_a_key(server: Server, admin: Client) -> None:
    key_id, text = await make(admin, ip_ranges=["10.0.0.0/8", "::1"])
    async with Client(server, text) as client:
        assert refusal(await client.get("/api/v1/me")) == (403, "address_not_allowed")
        assert refusal(await client.post("/api/v1/browser-sessions", {"key": text})) == (403, "address_not_allowed")
        assert (await change(admin, key_id, ip_ranges=["127.0.0.0/8"])).status_code == 200
        assert (await client.get("/api/v1/me")).status_code == 200
    for address in ("nowhere", "10.0.0.0/99", ""):
        assert refusal(await change(admin, key_id, ip_ranges=[address])) == (400, "invalid_request")


async def test_a_blocked_key_is_refused_until_it_is_unblocked(
    server: Server, admin: Client, model: ModelServer
) -> None:
    key_id, text = await make(admin)
    async with Client(server, text) as client:
        model.script(reply(numbered(300), delay=0.05))
        async with client.chatting("Hi") as events:
            async for event in events:
                if event.type == "plain":
                    break
            assert (await change(admin, key_id, blocked=True)).json()["data"]["status"] == "blocked"
            async with asyncio.timeout(10):
                assert "end" not in [event.type async for event in events]
        assert refusal(await client.get("/api/v1/me")) == (403, "key_blocked")
        assert refusal(await client.post("/v1/chat/completions", HELLO)) == (403, "key_blocked")
        assert (await change(admin, key_id, blocked=False)).json()["data"]["status"] == "live"
        assert (await client.get("/api/v1/me")).status_code == 200


async def test_a_key_is_changed_by_those_who_manage_it(server: Server, admin: Client) -> None:
    key_id, text = await make(admin, rpm_limit=5)
    data = (await change(admin, key_id, name=" new ", scopes=["im"], tpm_limit=7)).json()["data"]
    assert (data["name"], data["scopes"], data["rpm_limit"], data["tpm_limit"]) == ("new", ["im"], 5, 7)
    listed = (await admin.get(KEYS)).json()["data"]["api_keys"][0]
    assert {name: listed[name] for name in data} == data
    async with Client(server, text) as client:
        assert (await client.get("/api/v1/me")).json()["data"]["scopes"] == ["im"]
        assert refusal(await change(client, key_id, rpm_limit=None)) == (403, "insufficient_scope")
    assert refusal(await change(admin, key_id, scopes=["knowledge"])) == (403, "scope_not_held")
    assert refusal(await change(admin, "unknown", name="x")) == (404, "api_key_not_found")
    wrongs: list[dict[str, Any]] = [
        {"rpm_limit": 0},
        {"rpm_limit": "many"},
        {"budget": {"per": "day"}},
        {"budget": {"tokens": 5, "per": "year"}},
        {"scopes": []},
        {"name": ""},
        {"per_user": {"models": []}},
    ]
    for wrong in wrongs:
        assert refusal(await change(admin, key_id, **wrong)) == (400, "invalid_request")
    async with Client(server, await server.new_key("admin", username="alice")) as alices:
        assert refusal(await change(alices, key_id, name="x")) == (404, "api_key_not_found")
    await admin.post(f"{KEYS}/{key_id}/revoke")
    assert refusal(await change(admin, key_id, name="x")) == (400, "key_not_live")
    entries = (await admin.get("/api/v1/audit")).json()["data"]["entries"]
    actions = [each["action"] for each in entries if each["target"] == key_id]
    assert actions == ["api_key.revoked", "api_key.changed", "api_key.created"]


async def test_embeddings_count_too(server: Server, admin: Client) -> None:
    async with limited(server, admin, rpm_limit=1, models=["text-*"]) as client:
        body = {"model": "text-embedding-3-small", "input": "Hi"}
        await client.post("/v1/embeddings", body)
        assert refusal(await client.post("/v1/embeddings", body)) == (429, "rate_limit_exceeded")
        assert (await client.post("/v1/embeddings", {**body, "model": "other"})).status_code == 403


async def test_limits_hold_over_a_restart(start_server: StartServer, model: ModelServer) -> None:
    async with start_server() as server, Client(server, await server.new_key("chat", "file", "admin")) as admin:
        _, text = await make(admin, rpm_limit=3, budget={"tokens": 10_000, "per": "day"})
        async with Client(server, text) as client:
            for _ in range(2):
                assert (await client.post("/api/v1/chat", CHAT)).status_code == 200
    async with start_server() as server, Client(server, text) as client:
        assert (await client.post("/api/v1/chat", CHAT)).status_code == 200
        assert refusal(await client.post("/api/v1/chat", CHAT)) == (429, "rate_limited")


async def test_keys_of_the_settings_have_limits_too(start_server: StartServer) -> None:
    text = "a-key-of-the-operators-own"
    key = ApiKeySettings.model_validate({"key": text, "limits": {"rpm_limit": 1, "models": ["gpt-*"]}})
    async with start_server(api_keys=[key]) as server, Client(server, text) as client:
        assert (await client.get("/api/v1/me")).json()["data"]["rpm_limit"] == 1
        assert (await client.post("/api/v1/chat", CHAT)).status_code == 200
        assert refusal(await client.post("/api/v1/chat", CHAT)) == (429, "rate_limited")
        other = await client.post("/api/v1/chat", {**CHAT, "selected_model": "verse-1"})
        assert refusal(other) == (403, "model_not_allowed")
    wrong = ApiKeySettings.model_validate({"key": text, "limits": {"rpm": 1}})
    with pytest.raises(AppError, match="rpm"):
        async with start_server(api_keys=[wrong]):
            pass
