"""Requests that are made to break the server: each is refused with a 4xx, and what comes after is answered."""

import json
from typing import Any

import pytest
from aiohttp import ClientSession

from app.edge.json_scan import MAX_DEPTH
from tests.support.client import Client
from tests.support.server import Server

QUOTE = {"type": "reply", "message_id": "1"}
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"username":"alice","message":' + b"[" * 100_000,
        b'{"username":"alice","message":' + b"9" * 100_000 + b"}",
        b'{"username":"alice","message":NaN}',
        b'{"username":"alice","message":"x","session_id":1e999}',
        b'{"username":"alice","message":"\\ud800"}',
        b'{"username":"al\\udc00ice","message":"x"}',
        b'{"username":"alice","message":"\xed\xa0\x80"}',
        b'{"username":"alice","message":"\xff"}',
        b'{"username":"al\\u0000ice","message":"x"}',
        b'{"username":"alice","message":"x","session_id":"\\u0000"}',
        "{}".encode("utf-16"),
    ],
    ids=lambda body: str(body[:40]),
)
async def test_json_that_is_no_request_is_refused(client: Client, body: bytes) -> None:
    response = await client.request("POST", "/api/v1/chat", content=body, headers=JSON)
    assert response.status_code == 400
    assert (await client.get("/api/v1/chat/sessions", username="alice")).json()["data"]["total"] == 0


async def test_brackets_in_a_text_are_no_depth(client: Client) -> None:
    assert (await client.chat("[{" * MAX_DEPTH * 2))[-1].type == "end"


@pytest.mark.parametrize(
    "part",
    [
        {"type": {}},
        {"type": ["plain"]},
        {"type": 1},
        {"type": None},
        {**QUOTE, "message_id": "9" * 5000},
        {**QUOTE, "message_id": "0" * 5000 + "1"},
        {**QUOTE, "message_id": 2**63},
        {**QUOTE, "message_id": -1},
        {**QUOTE, "message_id": "²"},
        {**QUOTE, "message_id": 1.5},
    ],
    ids=lambda part: str(part)[:60],
)
async def test_a_part_of_another_shape_is_refused(client: Client, part: dict[str, Any]) -> None:
    message = [{"type": "plain", "text": "x"}, part]
    for path, body in (
        ("/api/v1/chat", {"username": "alice", "message": message}),
        ("/api/v1/im/message", {"umo": "webchat:FriendMessage:s1", "message": message}),
    ):
        assert (await client.post(path, body)).status_code == 400


async def test_a_hostile_frame_does_not_end_its_socket(server: Server) -> None:
    headers = {"X-API-Key": await server.new_key("chat")}
    frames = [
        "[" * 100_000,
        json.dumps({"t": ["send"]}),
        json.dumps({"username": "a", "message": [{"type": {}}]}),
        json.dumps({"username": "a", "message": [{"type": "plain", "text": "x"}, {**QUOTE, "message_id": "9" * 5000}]}),
    ]
    async with ClientSession() as http, http.ws_connect(f"{server.base_url}/api/v1/chat/ws", headers=headers) as socket:
        for frame in frames:
            await socket.send_str(frame)
            assert (await socket.receive_json())["code"] == "INVALID_MESSAGE"
        await socket.send_bytes(b'{"t":"ping"}')
        assert (await socket.receive_json())["type"] == "pong"


@pytest.mark.parametrize("host", [".", "a..b", "a" * 64 + ".example.com"])
async def test_a_webhook_host_that_no_resolver_takes_is_refused(server: Server, host: str) -> None:
    async with Client(server, await server.new_key("admin")) as admin:
        response = await admin.post(
            "/api/v1/bots", {"id": "hook", "adapter": "webhook", "config": {"url": f"https://{host}/x"}}
        )
        assert (response.status_code, response.json()["code"]) == (400, "invalid_config")
