"""What is begun at one server goes on at the other, whatever is between them: a bus, or the database alone."""

import asyncio
import time
from functools import partial
from typing import Any

import aiohttp
import msgspec
import pytest

from tests.cluster.conftest import Pair
from tests.support import answers
from tests.support.answers import numbered, reply
from tests.support.client import Client, SseEvent, text_of, types_of
from tests.support.model_server import ModelServer
from tests.support.waiting import until
from tests.tools.test_steps import use

pytestmark = pytest.mark.databases("postgresql")

TOKENS = 40


async def begun(client: Client, model: ModelServer, **body: Any) -> str:
    """The id of a run in session s1 that has said `t0 t1 ` and says no more."""
    model.script(answers.hang_after(2))
    async with client.chatting("first", session_id="s1", **body) as events:
        seen = [await anext(events)]
        while text_of(seen) != "t0 t1 ":
            seen.append(await anext(events))
    return str(seen[0].data["run_id"])


def patience(bus: str, seconds: float) -> float:
    """How long what takes `seconds` over a bus may take: without one, it waits for the next look."""
    return seconds if bus != "none" else seconds + 1.5


async def test_a_reply_is_followed_at_the_other_server(pair: Pair, model: ModelServer) -> None:
    model.script(reply(numbered(TOKENS), delay=0.02))
    async with pair.a.chatting("Hi", session_id="s1") as events:
        first = await anext(events)
        following = asyncio.create_task(pair.b.replay(first.data["run_id"]))
        frames = asyncio.create_task(websocket_frames(pair.b, first.data["run_id"]))
        seen = [first, *[event async for event in events]]
    assert [event.raw for event in await following] == [event.raw for event in seen]
    assert types_of(seen)[-3:] == ["complete", "message_saved", "end"]
    assert [(frame["seq"], frame["type"]) for frame in await frames] == [(event.id, event.type) for event in seen]


async def websocket_frames(client: Client, run_id: str, after: int = 0) -> list[dict[str, Any]]:
    """The frames that a WebSocket brings for a resumed run, up to its end."""
    frames: list[dict[str, Any]] = []
    async with (
        aiohttp.ClientSession(headers={"X-API-Key": client.key or ""}) as http,
        http.ws_connect(f"{str(client.http.base_url).rstrip('/')}/api/v1/chat/ws") as socket,
    ):
        await socket.send_str(msgspec.json.encode({"t": "resume", "run_id": run_id, "after": after}).decode())
        while not frames or frames[-1]["type"] != "end":
            frames.append(msgspec.json.decode(await socket.receive_str(timeout=20)))
    return frames


async def test_a_stream_that_is_cut_is_resumed_at_the_other_server_without_a_gap(
    pair: Pair, model: ModelServer
) -> None:
    model.script(reply(numbered(TOKENS), delay=0.02))
    async with pair.a.chatting("Hi", session_id="s1") as events:
        seen = [await anext(events)]
        while "t9 " not in text_of(seen):
            seen.append(await anext(events))
    run_id = seen[0].data["run_id"]
    seen += await pair.b.replay(run_id, after=seen[-1].id)
    assert text_of(seen) == "".join(numbered(TOKENS))
    assert types_of(seen)[-3:] == ["complete", "message_saved", "end"]
    assert [event.raw for event in await pair.a.replay(run_id)] == [event.raw for event in seen]


async def test_a_large_event_reaches_the_other_server(pair: Pair, model: ModelServer) -> None:
    gate = asyncio.Event()
    tokens = ["small ", "x" * 30_000, " small"]
    model.script(reply(tokens, gate=gate, hold_after=1))
    async with pair.a.chatting("Hi", session_id="s1") as events:
        run_id = (await anext(events)).data["run_id"]
        following = asyncio.create_task(pair.b.replay(run_id))
        await model.wait_for_requests(1)
        await asyncio.sleep(0.3)
        gate.set()
        assert text_of([event async for event in events]) == "".join(tokens)
    assert text_of(await following) == "".join(tokens)


async def test_a_repeat_at_the_other_server_streams_the_whole_run(pair: Pair, model: ModelServer) -> None:
    model.script(reply(numbered(TOKENS), delay=0.02))
    body = {"username": "alice", "message": "Hi", "session_id": "s1"}
    options = {"json": body, "headers": {"Idempotency-Key": "k1"}}

    async def send(client: Client) -> list[SseEvent]:
        async with client.stream("POST", "/api/v1/chat", **options) as events:
            return [event async for event in events]

    streams = await asyncio.gather(*(send(client) for client in (pair.a, pair.b, pair.a, pair.b)))
    assert len({tuple(event.raw for event in events) for events in streams}) == 1
    assert text_of(streams[0]) == "".join(numbered(TOKENS))
    assert len(model.requests) == 1


async def test_a_completion_is_repeated_at_the_other_server(pair: Pair, model: ModelServer) -> None:
    model.script(reply(numbered(TOKENS), delay=0.02))
    body = {"session_id": "s1", "messages": [{"role": "user", "content": "Hi"}], "stream": True}

    async def send(client: Client) -> bytes:
        headers = {"Idempotency-Key": "k1"}
        answer = await client.request("POST", "/v1/chat/completions", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.content

    whole = asyncio.create_task(send(pair.a))
    await model.wait_for_requests(1)
    during = await send(pair.b)
    assert await whole == during == await send(pair.b)  # by a mirror, and from what is stored
    chunks = [msgspec.json.decode(line[6:]) for line in during.splitlines() if line.startswith(b"data: {")]
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])
    assert text == "".join(numbered(TOKENS))
    assert during.endswith(b"data: [DONE]\n\n")
    assert len(model.requests) == 1


async def test_a_run_is_stopped_from_the_other_server(pair: Pair, model: ModelServer, bus: str) -> None:
    run_id = await begun(pair.a, model)
    following = asyncio.create_task(pair.a.replay(run_id))
    began = time.monotonic()
    answer = await pair.b.post(f"/api/v1/chat/runs/{run_id}/stop")
    assert answer.json()["data"] == {"run_ids": [run_id], "stopped_count": 1}
    assert time.monotonic() - began < patience(bus, 1)
    assert (await following)[-2].data["code"] == "stopped"
    assert [message["status"] for message in await pair.b.history("s1")] == ["complete", "partial"]
    again = await pair.b.post(f"/api/v1/chat/runs/{run_id}/stop")
    assert again.json()["data"]["stopped_count"] == 0


async def test_a_session_is_stopped_and_deleted_from_the_other_server(pair: Pair, model: ModelServer) -> None:
    first = await begun(pair.a, model)
    waiting = []
    for client in (pair.a, pair.b):
        async with client.chatting("waiting", session_id="s1") as events:
            waiting.append((await anext(events)).data["run_id"])
    answer = await pair.b.post("/api/v1/chat/sessions/s1/stop", {"username": "alice"})
    assert answer.json()["data"]["run_ids"] == [first, *waiting]
    assert len(model.requests) == 1
    second = await begun(pair.a, model)
    async with pair.a.stream("GET", f"/api/v1/chat/runs/{second}/stream") as events:
        response = await pair.b.request("DELETE", "/api/v1/chat/sessions/s1", params={"username": "alice"})
        assert response.status_code == 200
        assert [event async for event in events][-1].type == "end"
    assert (await pair.a.get(f"/api/v1/chat/runs/{second}")).status_code == 404


async def test_a_busy_session_is_busy_everywhere(pair: Pair, model: ModelServer) -> None:
    await begun(pair.a, model)
    body = {"username": "alice", "message": "second", "session_id": "s1", "on_busy": "reject"}
    refused = await pair.b.post("/api/v1/chat", body)
    assert (refused.status_code, refused.json()["code"]) == (409, "session_busy")
    urgent = await pair.b.chat("urgent", session_id="s1", on_busy="interrupt")
    assert text_of(urgent) == "You said: urgent"
    assert [message["content"] for message in model.requests[1].body["messages"][1:]] == ["first", "t0 t1 ", "urgent"]


async def test_messages_over_both_servers_are_answered_in_turn(pair: Pair, model: ModelServer, bus: str) -> None:
    count = 12 if bus != "none" else 4
    model.script(*(reply(["fine"]) for _ in range(count)))
    await asyncio.gather(*((pair.a, pair.b)[n % 2].chat(f"m{n}", session_id="s1") for n in range(count)))
    history = await pair.a.history("s1")
    questions = [message["parts"][0]["text"] for message in history[::2]]
    assert [message["role"] for message in history] == ["user", "assistant"] * count
    for turn, request in enumerate(model.requests):
        shown = [message["content"] for message in request.body["messages"] if message["role"] == "user"]
        assert shown == questions[: turn + 1]


async def test_first_messages_of_a_session_at_once(pair: Pair) -> None:
    sessions = range(10)
    replies = await asyncio.gather(
        *(client.chat(f"{n}", session_id=f"s{n}") for n in sessions for client in (pair.a, pair.b))
    )
    assert all(types_of(events)[-1] == "end" and text_of(events) for events in replies)
    for n in sessions:
        assert [message["role"] for message in await pair.b.history(f"s{n}")] == ["user", "assistant"] * 2


async def test_a_revoked_key_is_refused_at_the_other_server_and_its_stream_ends(
    pair: Pair, model: ModelServer, bus: str
) -> None:
    model.script(reply(numbered(400), delay=0.02))
    admin = await pair.server_a.new_key("admin")
    async with pair.a.chatting("Hi", session_id="s1") as events:
        run_id = (await anext(events)).data["run_id"]
    reading = asyncio.create_task(pair.b.replay(run_id))
    await model.wait_for_requests(1)
    assert (await pair.b.get("/api/v1/configs")).status_code == 200
    async with Client(pair.server_a, admin) as keys:
        listed = (await keys.get("/api/v1/api-keys")).json()["data"]["api_keys"]
        (key_id,) = [each["key_id"] for each in listed if "chat" in each["scopes"]]
        assert (await keys.post(f"/api/v1/api-keys/{key_id}/revoke")).status_code == 200
    revoked = time.monotonic()
    await until(partial(is_refused, pair.b))
    assert time.monotonic() - revoked < patience(bus, 1)
    events_seen = await reading
    assert time.monotonic() - revoked < patience(bus, 1.6)
    assert events_seen[-1].type != "end"


async def is_refused(client: Client) -> bool:
    return (await client.get("/api/v1/configs")).status_code == 401


async def test_an_approval_is_given_at_the_other_server(pair: Pair, model: ModelServer) -> None:
    for server in (pair.server_a, pair.server_b):
        use(server, "now", more='ask = ["now"]\n')
    model.script(answers.tool_calls(("c1", "now", "{}")), reply(["Late."]))
    async with pair.a.chatting("What time is it?", session_id="s1") as events:
        first = event = await anext(events)
        while event.type != "approval_required":
            event = await anext(events)
        body = {"approval_id": event.data["data"]["approval_id"], "approve": True, "reason": None}
        run_id = first.data["run_id"]
        assert (await pair.b.post(f"/api/v1/chat/runs/{run_id}/approvals", body)).status_code == 200
        assert text_of([each async for each in events]) == "Late."
