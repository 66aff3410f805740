"""`/api/v1/chat/ws` (section 7)."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.conftest import StartServer
from tests.support.answers import numbered, reply
from tests.support.client import Client
from tests.support.model_server import ModelServer
from tests.support.server import Server


class Socket:
    """A WebSocket of the chat."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws

    async def send(self, **frame: Any) -> None:
        await self.ws.send_str(json.dumps(frame))

    async def receive(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(await self.ws.receive_str(timeout=10))
        return event

    async def until_end(self) -> list[dict[str, Any]]:
        events = [await self.receive()]
        while events[-1]["type"] != "end":
            events.append(await self.receive())
        return events


@asynccontextmanager
async def connected(server: Server, headers: dict[str, str], query: str = "") -> AsyncIterator[Socket]:
    url = f"{server.base_url}/api/v1/chat/ws{query}"
    async with aiohttp.ClientSession() as session, session.ws_connect(url, headers=headers) as ws:
        yield Socket(ws)


@pytest.fixture
async def socket(server: Server) -> AsyncIterator[Socket]:
    async with connected(server, {"X-API-Key": await server.new_key()}) as made:
        yield made


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "Missing API key"),
        ({"X-API-Key": "plv_wrong"}, "Invalid API key"),
        ({"Authorization": "Bearer nonsense"}, "Invalid API key"),
    ],
)
async def test_without_a_good_key_the_socket_is_closed(server: Server, headers: dict[str, str], message: str) -> None:
    async with connected(server, headers) as socket:
        assert await socket.receive() == {"type": "error", "code": "UNAUTHORIZED", "data": message}
        assert (await socket.ws.receive()).type == aiohttp.WSMsgType.CLOSE
        assert socket.ws.close_code == 1008


async def test_a_key_without_the_scope_is_closed_out(server: Server) -> None:
    async with connected(server, {"X-API-Key": await server.new_key("file")}) as socket:
        assert (await socket.receive())["data"] == "Insufficient API key scope"
        await socket.ws.receive()
        assert socket.ws.close_code == 1008


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "ApiKey", "APIKEY"])
async def test_authorization_headers_do_too(server: Server, scheme: str) -> None:
    async with connected(server, {"Authorization": f"{scheme} {await server.new_key()}"}) as socket:
        await socket.send(t="ping")
        assert await socket.receive() == {"type": "pong"}


async def test_a_key_in_the_query_is_refused_unless_admitted(start_server: StartServer) -> None:
    async with start_server() as server, connected(server, {}, f"?api_key={await server.new_key()}") as socket:
        assert (await socket.receive())["data"] == "Missing API key"
    async with (
        start_server(allow_query_keys=True) as server,
        connected(server, {}, f"?api_key={await server.new_key()}") as socket,
    ):
        await socket.send(t="ping")
        assert await socket.receive() == {"type": "pong"}


async def test_a_message_brings_the_events_of_a_chat(socket: Socket, model: ModelServer) -> None:
    model.script(reply(["Hel", "lo"]))
    await socket.send(t="send", username="alice", message="Hi", session_id="s1", message_id="mine-1")
    events = await socket.until_end()
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["session_id", "user_message_saved"]
    assert kinds[-4:] == ["agent_stats", "complete", "message_saved", "end"]
    assert {event["session_id"] for event in events} == {"s1"}
    assert events[0]["message_id"] == "mine-1"
    assert events[-1]["message_id"] == "mine-1"
    assert len({event["run_id"] for event in events}) == 1
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert "".join(event["data"] for event in events if event["type"] == "plain") == "Hello"


async def test_send_is_what_a_frame_means_by_default(socket: Socket) -> None:
    await socket.send(username="alice", message="Hi")
    assert (await socket.until_end())[-1]["type"] == "end"


@pytest.mark.parametrize(
    ("frame", "code", "message"),
    [
        ({"message": "Hi"}, "BAD_USER", "Missing key: username"),
        ({"message": "Hi", "username": " "}, "BAD_USER", "username is empty"),
        ({"username": "alice"}, "INVALID_MESSAGE", "Missing key: message"),
        ({"username": "alice", "message": ""}, "INVALID_MESSAGE", None),
        ({"username": "alice", "message": [{"type": "image"}]}, "INVALID_MESSAGE", "image part missing attachment_id"),
        (
            {"username": "alice", "message": [{"type": "file", "attachment_id": "x"}]},
            "INVALID_MESSAGE",
            "attachment not found: x",
        ),
        ({"username": "bob", "message": "Hi", "session_id": "alices"}, "SESSION_ERROR", None),
        ({"username": "alice", "message": "Hi", "session_id": 5}, "SESSION_ERROR", "session_id must be a string"),
        ({"username": "alice", "message": "Hi", "config_id": "x"}, "CONFIG_ERROR", "config_id not found: x"),
        ({"username": "alice", "message": "Hi", "selected_provider": "x"}, "CONFIG_ERROR", None),
        ({"username": 5, "message": "Hi"}, "BAD_USER", "username must be a string"),
        ({"username": "alice", "message": "Hi", "conversation_id": 5}, "SESSION_ERROR", None),
        ({"username": "alice", "message": "Hi", "session_id": "v1:k:x"}, "SESSION_ERROR", None),
        ({"username": "alice", "message": "Hi", "config_name": "x"}, "CONFIG_ERROR", "config_name not found: x"),
        ({"username": "alice", "message": "Hi", "selected_model": 5}, "CONFIG_ERROR", None),
        ({"username": "alice", "message": "Hi", "message_id": 5}, "INVALID_MESSAGE", None),
        ({"username": "alice", "message": "Hi", "on_busy": "x"}, "INVALID_MESSAGE", None),
        ({"username": "alice", "message": "Hi", "knowledge": "x"}, "INVALID_MESSAGE", None),
        ({"username": "alice", "message": "Hi", "knowledge": ["x"]}, "PROCESSING_ERROR", "collection not found: x"),
        ({"username": "alice", "message": "Hi", "role": 5}, "INVALID_MESSAGE", None),
        ({"username": "alice", "message": "Hi", "role": "x"}, "PROCESSING_ERROR", "Role not found"),
        ({"username": "alice", "message": [{"type": "reply", "message_id": 1}, "x"]}, "INVALID_MESSAGE", None),
        (
            {"username": "alice", "message": [{"type": "reply", "message_id": 10**9}, {"type": "plain", "text": "x"}]},
            "INVALID_MESSAGE",
            "reply message not found: 1000000000",
        ),
        ({"username": "alice", "message": "Hi", "enable_streaming": "x"}, "INVALID_MESSAGE", None),
        ({"t": "dance"}, "INVALID_MESSAGE", None),
        ({"t": "resume", "run_id": "unknown"}, "PROCESSING_ERROR", "Run not found"),
    ],
)
async def test_a_bad_frame_gets_an_error_and_the_socket_stays_open(
    client: Client, socket: Socket, frame: dict[str, Any], code: str, message: str | None
) -> None:
    await client.chat("Hi", session_id="alices")
    await socket.send(**frame)
    error = await socket.receive()
    assert (error["type"], error["code"]) == ("error", code)
    assert message is None or error["data"] == message
    await socket.send(t="ping")
    assert await socket.receive() == {"type": "pong"}


@pytest.mark.parametrize("text", ["{", "[]", "", '"x"', "{" * 100, '{"message": NaN}'])
async def test_a_frame_that_is_no_json_object_gets_an_error(socket: Socket, text: str) -> None:
    await socket.ws.send_str(text)
    assert (await socket.receive())["code"] == "INVALID_MESSAGE"
    await socket.ws.send_bytes(b"\xff\xfe")
    assert (await socket.receive())["code"] == "INVALID_MESSAGE"
    await socket.send(t="ping")
    assert await socket.receive() == {"type": "pong"}


async def test_several_replies_stream_on_one_socket(socket: Socket, model: ModelServer) -> None:
    gate = asyncio.Event()
    model.script(reply(["slow"], gate=gate), reply(["quick"]))
    await socket.send(username="alice", message="one", session_id="s1", message_id="one")
    await model.wait_for_requests(1)
    await socket.send(username="alice", message="two", session_id="s2", message_id="two")
    ends: list[str] = []
    while len(ends) < 2:
        event = await socket.receive()
        if event["type"] == "end":
            ends.append(event["message_id"])
            gate.set()
    assert ends == ["two", "one"]


async def test_a_client_that_leaves_loses_nothing(server: Server, client: Client, model: ModelServer) -> None:
    gate = asyncio.Event()
    model.script(reply(numbered(3), gate=gate, hold_after=1))
    async with connected(server, {"X-API-Key": client.key or ""}) as socket:
        await socket.send(username="alice", message="Hi", session_id="s1")
        run_id = (await socket.receive())["run_id"]
        await model.wait_for_requests(1)
    gate.set()
    await client.until_run(run_id, "completed")
    assert (await client.history("s1"))[1]["parts"][0]["text"] == "t0 t1 t2 "


async def test_a_repeated_message_id_joins_the_first_run(client: Client, socket: Socket, model: ModelServer) -> None:
    frame = {"username": "alice", "message": "Hi", "session_id": "s1", "message_id": "once"}
    await socket.send(**frame)
    first = await socket.until_end()
    await socket.send(**frame)
    assert await socket.until_end() == first
    await socket.send(**{**frame, "message": "other"})
    assert (await socket.receive())["code"] == "PROCESSING_ERROR"
    assert len(model.requests) == 1
    assert len(await client.history("s1")) == 2


async def test_a_run_can_be_resumed_from_every_event(socket: Socket, model: ModelServer) -> None:
    model.script(reply(numbered(5)))
    await socket.send(username="alice", message="Hi")
    whole = await socket.until_end()
    for index, event in enumerate(whole[:-1]):
        await socket.send(t="resume", run_id=event["run_id"], after=event["seq"])
        assert await socket.until_end() == whole[index + 1 :]


async def test_a_key_that_is_revoked_meanwhile_can_send_no_more(server: Server) -> None:
    key, text = await server.core.keys.create(name="short", scopes=["chat"])
    async with connected(server, {"X-API-Key": text}) as socket:
        await socket.send(username="alice", message="Hi")
        await socket.until_end()
        await server.core.keys.revoke(key.id)
        await socket.send(username="alice", message="Hi again")
        assert (await socket.receive())["code"] == "UNAUTHORIZED"
        await socket.ws.receive()
        assert socket.ws.close_code == 1008


async def test_a_key_bound_to_a_user_speaks_as_that_user_only(server: Server) -> None:
    async with connected(server, {"X-API-Key": await server.new_key(username="bob")}) as socket:
        await socket.send(username="alice", message="Hi")
        assert (await socket.receive())["code"] == "BAD_USER"
        await socket.send(username="bob", message="Hi")
        assert (await socket.until_end())[-1]["type"] == "end"


async def test_an_idle_socket_is_kept_open_defect_19(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.doors.open_api.websocket.PONG_SECONDS", 0.02)
    async with connected(server, {"X-API-Key": client.key or ""}) as socket:
        assert [await socket.receive() for _ in range(3)] == [{"type": "pong"}] * 3


async def test_a_socket_is_told_when_the_server_goes_down(start_server: StartServer) -> None:
    from app.doors.open_api.websocket import Sockets
    from app.edge.services import service

    async with start_server() as server, connected(server, {"X-API-Key": await server.new_key()}) as socket:
        await socket.send(username="alice", message="Hi")
        assert (await socket.until_end())[-1]["type"] == "end"
        async with server.app.app_context():
            service(Sockets).go_down()
        await socket.ws.receive()
        assert socket.ws.close_code == 1001


async def test_a_socket_too_many_is_refused_until_another_closes(start_server: StartServer) -> None:
    async with start_server(max_websockets_per_key=2) as server:
        headers = {"X-API-Key": await server.new_key()}
        async with connected(server, headers) as first, connected(server, headers):
            async with connected(server, headers) as third:
                error = await third.receive()
                assert (error["code"], error["data"]) == ("PROCESSING_ERROR", "Too many WebSockets at once")
                await third.ws.receive()
                assert third.ws.close_code == 1013
            async with Client(server, None) as client:
                assert "palaver_open_websockets 2.0" in (await client.http.get("/metrics")).text
            await first.ws.close()
            async with asyncio.timeout(10):
                while True:
                    async with connected(server, headers) as next_one:
                        await next_one.send(t="ping")
                        if (await next_one.receive())["type"] == "pong":
                            break


async def test_a_socket_without_frames_and_replies_is_closed(
    start_server: StartServer, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.doors.open_api.websocket.PONG_SECONDS", 0.05)
    gate = asyncio.Event()
    model.script(reply(numbered(2), gate=gate, hold_after=1))
    async with (
        start_server(websocket_idle_seconds=0.2) as server,
        connected(server, {"X-API-Key": await server.new_key()}) as socket,
    ):
        await socket.send(username="alice", message="Hi")
        pongs = 0
        while pongs < 10:  # longer than an idle socket is kept
            pongs += (await socket.receive())["type"] == "pong"
        gate.set()
        await socket.until_end()
        async with asyncio.timeout(10):
            while not socket.ws.closed:
                await socket.ws.receive()
        assert socket.ws.close_code == 1001


async def test_run_started_comes_where_it_is_asked_for(socket: Socket) -> None:
    await socket.send(username="alice", message="Hi", flags={"run_started": True})
    first, second, *_ = await socket.until_end()
    assert (first["type"], second["type"]) == ("session_id", "run_started")
    assert (second["run_id"], second["seq"]) == (first["run_id"], first["seq"])
