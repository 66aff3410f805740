"""`POST /api/v1/chat`: the events of a reply, in the contract's order (section 3)."""

import asyncio
import json
import time

import pytest

from tests.conftest import StartServer
from tests.support.answers import numbered, reply, tool_calls
from tests.support.client import Client, text_of, types_of
from tests.support.model_server import ModelServer
from tests.support.server import Server

STREAMING = ["session_id", "user_message_saved", "plain", "agent_stats", "complete", "message_saved", "end"]
WHOLE = ["session_id", "user_message_saved", "plain", "message_saved", "agent_stats", "end"]


async def test_a_streaming_reply_has_the_contracts_events_in_order(client: Client, model: ModelServer) -> None:
    model.script(reply(["Hel", "lo ", "Alice"], usage=(13, 3, 3)))
    before = time.time()
    events = await client.chat("Hi", session_id="s1")
    assert types_of(events) == STREAMING
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    first, user_saved, *plain, stats, complete, saved, end = [event.data for event in events]
    message_id = first["message_id"]
    assert first == {
        "type": "session_id",
        "data": None,
        "session_id": "s1",
        "run_id": first["run_id"],
        "message_id": message_id,
    }
    assert user_saved["data"]["id"] < saved["data"]["id"]
    assert text_of(events) == "Hello Alice"
    assert all(e["streaming"] is True and e["chain_type"] is None and e["message_id"] == message_id for e in plain)
    assert stats["data"]["token_usage"] == {"input_other": 10, "input_cached": 3, "output": 3}
    assert before <= stats["data"]["start_time"] <= stats["data"]["end_time"] <= time.time()
    assert 0 < stats["data"]["time_to_first_token"] < 10
    assert complete == {
        "type": "complete",
        "data": "Hello Alice",
        "reasoning": "",
        "streaming": True,
        "message_id": message_id,
    }
    assert end == {"type": "end", "data": "", "streaming": False, "message_id": message_id}
    history = await client.history("s1")
    assert [(m["role"], m["status"], m["id"]) for m in history] == [
        ("user", "complete", user_saved["data"]["id"]),
        ("assistant", "complete", saved["data"]["id"]),
    ]
    assert history[1]["parts"] == [{"type": "plain", "text": "Hello Alice"}]
    assert history[1]["created_at"] == saved["data"]["created_at"]


async def test_usage_is_the_models_own_defect_23(client: Client, model: ModelServer) -> None:
    model.script(reply(["a"], usage=(100, 40, 7)))
    stats = next(e.data["data"] for e in await client.chat("Hi", session_id="s1") if e.type == "agent_stats")
    assert stats["token_usage"] == {"input_other": 60, "input_cached": 40, "output": 7}
    assert model.requests[0].body["stream_options"] == {"include_usage": True}
    assert (await client.history("s1"))[1]["token_usage"] == stats["token_usage"]


async def test_a_reply_does_not_end_before_its_start_when_the_clock_is_set_back(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    yesterday = time.time() - 86_400
    monkeypatch.setattr(time, "time", lambda: yesterday)
    stats = next(e.data["data"] for e in await client.chat("Hi") if e.type == "agent_stats")
    assert stats["start_time"] <= stats["start_time"] + stats["time_to_first_token"] <= stats["end_time"]


async def test_a_reply_that_is_not_streaming_has_one_plain_event(client: Client, model: ModelServer) -> None:
    model.script(reply(["Hel", "lo"], reasoning=["thinking"]))
    events = await client.chat("Hi", enable_streaming=False)
    assert [event.type for event in events] == WHOLE
    plain = events[2].data
    assert (plain["data"], plain["streaming"], plain["chain_type"]) == ("Hello", False, None)
    assert [event.id for event in events] == sorted({event.id for event in events})


async def test_reasoning_comes_apart_from_the_text(client: Client, model: ModelServer) -> None:
    model.script(reply(["yes"], reasoning=["let me ", "see"]))
    events = await client.chat("Hi", session_id="s1")
    reasoning = "".join(e.data["data"] for e in events if e.data.get("chain_type") == "reasoning")
    assert reasoning == "let me see"
    assert text_of(events) == "yes"
    assert next(e.data["reasoning"] for e in events if e.type == "complete") == "let me see"
    assert (await client.history("s1"))[1]["reasoning"] == "let me see"


async def test_tool_calls_are_told(client: Client, model: ModelServer) -> None:
    model.script(tool_calls(("call_1", "weather", '{"city": "Paris"}')))
    events = await client.chat("Hi")
    (call,) = [e.data for e in events if e.data.get("chain_type") == "tool_call"]
    assert call["streaming"] is False
    told = json.loads(call["data"])
    assert (told["id"], told["name"], told["args"]) == ("call_1", "weather", {"city": "Paris"})
    assert told["ts"] == pytest.approx(time.time(), abs=60)


async def test_tokens_are_sent_when_they_come_defects_6_and_18(client: Client, model: ModelServer) -> None:
    """Neither compression nor a pause holds a token back: the first arrives while the model is still writing."""
    gate = asyncio.Event()
    model.script(reply(["first", " second"], gate=gate, hold_after=1))
    headers = {"Accept-Encoding": "gzip, deflate, br"}
    body = {"username": "alice", "message": "Hi"}
    async with client.http.stream("POST", "/api/v1/chat", json=body, headers=headers) as response:
        assert "content-encoding" not in response.headers
        assert response.headers["cache-control"] == "no-cache, no-transform"
        assert response.headers["x-accel-buffering"] == "no"
        received = b""
        chunks = response.aiter_raw()
        async with asyncio.timeout(5):
            while b"first" not in received:
                received += await anext(chunks)
        assert b"second" not in received
        gate.set()
        async for chunk in chunks:
            received += chunk
    assert received.endswith(b"\n\n")
    assert b'"type":"end"' in received


async def test_tokens_that_come_together_go_out_together(client: Client, model: ModelServer) -> None:
    """No sleep per event: a burst of 2,000 tokens needs few events, and no text is lost."""
    model.script(reply(numbered(2000), one_write=True))
    events = await client.chat("Hi")
    assert text_of(events) == "".join(numbered(2000))
    assert sum(event.type == "plain" for event in events) < 200


async def test_silence_is_filled_with_comments_defect_19(
    start_server: StartServer, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.edge.sse.HEARTBEAT_SECONDS", 0.05)
    gate = asyncio.Event()
    model.script(reply(["late"], gate=gate))
    async with start_server() as server, Client(server, await server.new_key()) as client:
        body = {"username": "alice", "message": "Hi"}
        async with client.http.stream("POST", "/api/v1/chat", json=body) as response:
            received = b""
            chunks = response.aiter_raw()
            async with asyncio.timeout(5):
                while received.count(b": keep-alive\n\n") < 3:
                    received += await anext(chunks)
            gate.set()
            async for chunk in chunks:
                received += chunk
    assert b'"data":"late"' in received


def test_heartbeats_come_every_15_seconds_at_the_latest() -> None:
    from app.edge.sse import HEARTBEAT_SECONDS

    assert HEARTBEAT_SECONDS <= 15


async def test_a_stream_tells_when_to_come_back(client: Client) -> None:
    response = await client.http.post("/api/v1/chat", json={"username": "alice", "message": "Hi"})
    assert response.text.startswith("retry: ")


async def test_without_a_session_id_a_uuid_is_made(client: Client) -> None:
    import uuid

    first = (await client.chat("Hi"))[0].data["session_id"]
    second = (await client.chat("Hi"))[0].data["session_id"]
    assert uuid.UUID(first) != uuid.UUID(second)


async def test_conversation_id_is_an_alias_of_session_id(client: Client) -> None:
    assert (await client.chat("Hi", conversation_id="c1"))[0].data["session_id"] == "c1"
    assert (await client.chat("Hi", conversation_id="c1", session_id="s9"))[0].data["session_id"] == "s9"


async def test_the_username_is_trimmed(client: Client) -> None:
    await client.chat("Hi", username="  alice  ", session_id="s1")
    assert len(await client.history("s1", "alice")) == 2


async def test_the_embedded_model_answers_when_no_provider_is_set(start_server: StartServer) -> None:
    async with start_server(providers=[]) as server, Client(server, await server.new_key()) as client:
        text = text_of(await client.chat("What are you?"))
    assert "OPENAI_API_KEY" in text
    assert "OPENAI_BASE_URL" in text
    assert "What are you?" in text


async def test_the_openai_variables_alone_make_a_provider(
    start_server: StartServer, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-the-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", model.base_url)
    async with start_server(providers=[]) as server, Client(server, await server.new_key()) as client:
        await client.chat("Hi", selected_provider="openai_chat_completion", selected_model="gpt-x")
    assert model.requests[0].headers["authorization"] == "Bearer sk-from-the-environment"
    assert model.requests[0].body["model"] == "gpt-x"


async def test_many_streams_at_once(server: Server, client: Client, model: ModelServer) -> None:
    replies = await asyncio.gather(*(client.chat(f"message {number}") for number in range(50)))
    for number, events in enumerate(replies):
        assert text_of(events) == f"You said: message {number}"
