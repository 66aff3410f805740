"""Every failure below /api/kernel2 in Second Me's envelope, with a status that is true."""

import asyncio
import json
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.support import answers
from tests.support.answers import Answer, reply
from tests.support.client import Client
from tests.support.database import count_rows
from tests.support.model_server import ModelServer
from tests.support.server import Server

CHAT = "/api/kernel2/chat"
HI: Any = [{"role": "user", "content": "hi"}]


def check(response: Any, status: int) -> str:
    """The message of an error of this status."""
    body = response.json()
    assert (response.status_code, set(body)) == (status, {"success", "message", "code"})
    assert (body["success"], body["code"]) == (False, status)
    assert response.headers["x-request-id"]
    return str(body["message"])


WRONG: list[tuple[Any, str]] = [
    ({}, "messages"),
    ([], "object"),
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": None}, "messages"),
    ({"messages": [{"content": "hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": ["hi"]}]}, "messages[0].content[0]"),
    ({"messages": HI, "model": 5}, "model"),
    ({"messages": HI, "stream": "yes"}, "stream"),
    ({"messages": HI, "temperature": "warm"}, "temperature"),
    ({"messages": HI, "temperature": True}, "temperature"),
    ({"messages": HI, "max_tokens": 1.5}, "max_tokens"),
    ({"messages": HI, "max_tokens": False}, "max_tokens"),
    ({"messages": HI, "metadata": []}, "metadata"),
    ({"messages": HI, "metadata": {"role_id": 5}}, "metadata.role_id"),
    ({"messages": HI, "metadata": {"role_id": "x" * 256}}, "metadata.role_id"),
    ({"messages": HI, "metadata": {"enable_l0_retrieval": "yes"}}, "metadata.enable_l0_retrieval"),
    ({"messages": HI, "metadata": {"collections": "a"}}, "metadata.collections"),
    ({"messages": HI, "metadata": {"collections": [" "]}}, "metadata.collections"),
    ({"messages": HI, "metadata": {"collections": ["a\nb"]}}, "metadata.collections"),
    ({"messages": HI, "metadata": {"collections": ["a"] * 51}}, "metadata.collections"),
    ({"messages": HI, "role_id": ["x"]}, "role_id"),
    ({"messages": HI, "enable_l0_retrieval": 1}, "enable_l0_retrieval"),
    ({"message": " "}, "message"),
    ({"message": ["hi"]}, "message"),
    ({"message": "hi", "system_prompt": 5}, "system_prompt"),
    ({"message": "hi", "history": "no"}, "history"),
    ({"message": "hi", "history": ["no"]}, "history[0].role"),
    ({"message": "hi", "history": [{"role": "user", "content": None}]}, "history[0].content"),
]


async def test_a_wrong_request_names_its_field_and_leaves_nothing(
    server: Server, client: Client, model: ModelServer
) -> None:
    for body, named in WRONG:
        assert named in check(await client.post(CHAT, body), 400), body
    assert [request for request in model.requests if request.method == "POST"] == []
    assert await count_rows(server.core.database, "runs") == [0]


FAILURES = (
    (answers.status(500), 502),
    (answers.status(401), 502),
    (answers.status(429, headers={"Retry-After": "7"}), 429),
    (answers.status(503), 503),
    (answers.html(), 502),
    (answers.nothing_but_done(), 502),
)


async def test_keys(server: Server) -> None:
    async with Client(server, None) as nobody:
        response = await nobody.post(CHAT, {"messages": HI})
        assert check(response, 401) == "Missing API key"
        assert response.headers["www-authenticate"]
    async with Client(server, "plv_wrong") as wrong:
        assert check(await wrong.post(CHAT, {"messages": HI}), 401) == "Invalid API key"
    async with Client(server, await server.new_key("config", "file", "im")) as scopeless:
        assert check(await scopeless.post(CHAT, {"messages": HI}), 403) == "Insufficient API key scope"


async def test_every_path_below_the_door_speaks_its_errors(client: Client) -> None:
    for method, path, status in (
        ("GET", "/api/kernel2", 404),
        ("POST", "/api/kernel2/nothing", 404),
        ("GET", CHAT, 405),
        ("PATCH", "/api/kernel2/roles/x", 405),
    ):
        check(await client.http.request(method, path), status)
    headers = {"Content-Type": "text/plain"}
    check(await client.request("POST", CHAT, content=b"hi", headers=headers), 415)
    broken = await client.request("POST", CHAT, content=b"{", headers={"Content-Type": "application/json"})
    assert "JSON" in check(broken, 400)


async def test_a_failure_before_the_first_token_is_a_status_defects_3_and_5(client: Client, model: ModelServer) -> None:
    for answer, status in FAILURES:
        for stream in (False, True):
            model.script(answer, reply(["fine"]))
            response = await client.post(CHAT, {"messages": HI, "stream": stream})
            check(response, status)
            assert answers.SECRET not in response.text
            assert response.headers["x-palaver-run-id"]
            assert response.headers.get("retry-after") == answer.headers.get("Retry-After", {503: "1"}.get(status))
            assert (await client.post(CHAT, {"messages": HI, "stream": stream})).status_code == 200


async def test_the_model_servers_own_refusal_is_passed_on(client: Client, model: ModelServer) -> None:
    refusal = {"message": "This model's context is 8 tokens", "type": "invalid_request_error", "param": "messages"}
    raw = json.dumps({"error": {**refusal, "code": "context_length_exceeded"}}).encode()
    model.script(Answer(status=400, content_type="application/json", raw=raw))
    assert check(await client.post(CHAT, {"messages": HI}), 400) == refusal["message"]


async def test_limits_are_429_and_413(start_server: StartServer, model: ModelServer) -> None:
    gate = asyncio.Event()
    model.script(reply(["a"], gate=gate))
    async with (
        start_server(max_runs_per_key=1, openai_max_body_bytes=2000) as server,
        Client(server, await server.new_key()) as client,
    ):
        first = asyncio.create_task(client.post(CHAT, {"messages": HI}))
        await model.wait_for_requests(1)
        response = await client.post(CHAT, {"messages": HI})
        check(response, 429)
        assert response.headers["retry-after"]
        gate.set()
        assert (await first).status_code == 200
        check(await client.post(CHAT, {"message": "x" * 3000}), 413)


async def test_a_crash_is_500_and_says_nothing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.roles.service import RoleService

    async def crash(self: object, *_: object, **__: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(RoleService, "list_roles", crash)
    message = check(await client.http.get("/api/kernel2/roles"), 500)
    assert "secret" not in message
