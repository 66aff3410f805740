"""Every run ends, whatever its model server sends and whatever goes wrong at its end."""

import json
import time
from typing import Any

import pytest
from sqlalchemy import Connection

from app.chat import run_store
from app.chat.runs.reply import RunResult
from tests.conftest import StartServer
from tests.support import answers
from tests.support.answers import reply
from tests.support.client import Client, text_of, types_of
from tests.support.model_server import ModelServer

DONE = b"data: [DONE]\n\n"


def event(value: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps(value).encode()


def said(text: str, finish: str | None = None) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]})


async def active_runs(client: Client) -> float:
    text = (await client.http.get("/metrics")).text
    return float(text.rpartition("\npalaver_runs_active ")[2].partition("\n")[0])


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 2**70, "completion_tokens": 2**70},
        {"prompt_tokens": -(2**70), "completion_tokens": -1},
        {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 2**64}},
        {"prompt_tokens": 1e308, "completion_tokens": "nan"},
    ],
)
async def test_no_usage_keeps_a_run_from_its_end(client: Client, model: ModelServer, usage: dict[str, Any]) -> None:
    model.script(answers.raw(said("Hello", "stop") + event({"choices": [], "usage": usage}) + DONE))
    events = await client.chat("Hi", session_id="s1")
    assert types_of(events)[-3:] == ["complete", "message_saved", "end"]
    (stats,) = [event.data["data"] for event in events if event.type == "agent_stats"]
    assert all(count >= 0 for count in json.loads(json.dumps(stats))["token_usage"].values())
    assert await client.run_status(events[0].data["run_id"]) == "completed"
    assert await active_runs(client) == 0


async def test_no_text_keeps_a_run_from_its_end(client: Client, model: ModelServer) -> None:
    model.script(answers.raw(said("a\0b \ud83d c", "stop") + DONE), reply(["fine"]))
    events = await client.chat("Hi", session_id="s1")
    assert types_of(events)[-1] == "end"
    assert await client.run_status(events[0].data["run_id"]) == "completed"
    assert text_of(await client.chat("Again", session_id="s1")) == "fine"


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_an_end_that_crashes_is_an_end(
    client: Client, model: ModelServer, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    end_run = run_store.end_run
    results: list[RunResult] = []

    def crash(connection: Connection, run: Any, result: RunResult, events: Any, on_end: Any) -> bool:
        results.append(result)
        if len(results) <= times:
            raise OverflowError("secret")
        return end_run(connection, run, result, events, on_end)

    monkeypatch.setattr(run_store, "end_run", crash)
    model.script(reply(["Hello"]), reply(["fine"]))
    events = await client.chat("Hi", session_id="s1")
    assert types_of(events)[-2:] == ["error", "end"]
    assert events[-2].data["code"] == "internal_error"
    assert "secret" not in str(events)
    assert await active_runs(client) == 0
    status = await client.run_status(events[0].data["run_id"])
    assert status == ("failed" if times < 3 else "queued")
    monkeypatch.setattr(run_store, "end_run", end_run)
    assert text_of(await client.chat("Again", session_id="s1")) == "fine"
    history = await client.history("s1")
    assert [message["status"] for message in history if message["parts"] == [{"type": "plain", "text": "Hello"}]] == (
        ["failed"] if times == 1 else []
    )


async def test_a_reply_has_a_longest_time(start_server: StartServer, model: ModelServer) -> None:
    model.script(answers.hang_after(2), reply(["fine"]))
    async with (
        start_server(max_reply_seconds=0.2) as server,
        Client(server, await server.new_key()) as client,
    ):
        start = time.monotonic()
        events = await client.chat("Hi", session_id="s1")
        assert time.monotonic() - start < 10
        assert events[-2].data["data"] == "The reply took longer than 0.2 seconds"
        assert await client.run_status(events[0].data["run_id"]) == "failed"
        await model.wait_for_disconnects(1)
        _, kept = await client.history("s1")
        assert (kept["status"], kept["parts"]) == ("failed", [{"type": "plain", "text": "t0 t1 "}])
        assert text_of(await client.chat("Again", session_id="s1")) == "fine"


async def test_a_completion_that_takes_too_long_is_504(start_server: StartServer, model: ModelServer) -> None:
    model.script(answers.hang())
    async with (
        start_server(max_reply_seconds=0.2) as server,
        Client(server, await server.new_key()) as client,
    ):
        response = await client.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]})
        assert (response.status_code, response.json()["error"]["code"]) == (504, "timeout")
