"""What a key opened does not outlive it."""

import asyncio

import pytest

from tests.support.answers import numbered, reply
from tests.support.client import Client, text_of
from tests.support.model_server import ModelServer
from tests.support.server import Server


async def test_a_stream_ends_when_its_key_is_revoked(
    server: Server, client: Client, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.auth.guards.RECHECK_SECONDS", 0.0)
    key, text = await server.core.keys.create(name="short", scopes=["chat"])
    gate = asyncio.Event()
    model.script(reply(numbered(4), gate=gate, hold_after=1))
    async with Client(server, text) as short, short.chatting("Hi", session_id="s1") as events:
        seen = [await anext(events)]
        while text_of(seen) != "t0 ":
            seen.append(await anext(events))
        await server.core.keys.revoke(key.id)
        gate.set()
        assert text_of([event async for event in events]) == ""
    await client.until_run(seen[0].data["run_id"], "completed")
    assert (await client.history("s1"))[1]["parts"][0]["text"] == "t0 t1 t2 t3 "


async def test_a_stream_of_the_openai_door_ends_when_its_key_is_revoked(
    server: Server, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.auth.guards.RECHECK_SECONDS", 0.0)
    key, text = await server.core.keys.create(name="short", scopes=["chat"])
    gate = asyncio.Event()
    model.script(reply(numbered(4), gate=gate, hold_after=1))
    body = {"model": "scripted", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    async with Client(server, text) as short, short.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.aiter_lines()
        while "t0 " not in await anext(lines):
            pass
        await server.core.keys.revoke(key.id)
        gate.set()
        assert [line async for line in lines if line] == []


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ('{"a":' * 32 + "1" + "}" * 32, 400),  # deep, and within the limit: refused for what it lacks
        ('{"a":' * 33 + "1" + "}" * 33, 400),
        ('{"a": "' + "[" * 1000 + '", "username": "alice", "message": "Hi"}', 200),
        ('{"a": "\\\\", "b": "\\"' + "{" * 1000 + '", "username": "alice", "message": "Hi"}', 200),
        ('{"username": "alice", "message": "Hi", "a": [' + ",".join(["[]"] * 5000) + "]}", 200),
    ],
)
async def test_brackets_count_only_where_they_nest(client: Client, text: str, status: int) -> None:
    headers = {"Content-Type": "application/json"}
    response = await client.http.post("/api/v1/chat", content=text.encode(), headers=headers)
    assert response.status_code == status
    if status == 400:
        deeper = text.count("{") > 32
        assert ("nested deeper" in response.json()["message"]) is deeper


async def test_a_page_of_ten_thousand_digits_is_empty(client: Client) -> None:
    await client.chat("Hi")
    response = await client.get("/api/v1/chat/sessions", username="alice", page="9" * 5000)
    assert (response.status_code, response.json()["data"]["sessions"]) == (200, [])


async def test_nobody_can_make_a_session_in_a_keys_name(client: Client, server: Server) -> None:
    """The sessions of `/v1` begin with their key's id: who knows the id cannot take the name first."""
    (key, *_) = await server.core.keys.list_keys()
    taken = {"username": "mallory", "message": "Hi", "session_id": f"v1:{key.id}:plans"}
    response = await client.post("/api/v1/chat", taken)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_session_id")
    umo = {"umo": f"webchat:FriendMessage:v1:{key.id}:plans", "message": "Hi"}
    assert (await client.post("/api/v1/im/message", umo)).status_code == 400
