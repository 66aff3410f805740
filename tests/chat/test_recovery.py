"""A server that is killed, or asked to go, in the middle of its work: real processes on one data folder."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from app.bootstrap import create_app
from app.core import open_core
from tests.support import answers
from tests.support.answers import numbered, reply
from tests.support.client import Client, SseEvent, text_of, types_of
from tests.support.model_server import ModelServer
from tests.support.processes import API_KEY, ServerProcess, provider_toml
from tests.support.server import Server, make_settings

CRASH_GAP = 1_000_000
BEHIND_SECONDS = 1.0
HELLO = {"username": "alice", "message": "Hi"}

StartProcess = Callable[..., Any]


@pytest.fixture
async def process(data_dir: Path, database: Mapping[str, str], model: ModelServer) -> AsyncIterator[ServerProcess]:
    """A server that answers from the scripted model server, and drains for as long as a test can last."""
    async with _process(data_dir, database, model, drain_seconds=60) as started:
        yield started


@pytest.fixture
def database(backend: str, database_url: str) -> Mapping[str, str]:
    """The environment that names the database."""
    return {} if backend == "sqlite" else {"PALAVER_DATABASE_URL": database_url}


@pytest.fixture
async def client(process: ServerProcess, tmp_path: Path) -> AsyncIterator[Client]:
    async with _client(process, tmp_path) as made:
        yield made


@asynccontextmanager
async def _process(
    data_dir: Path, database: Mapping[str, str], model: ModelServer, *, drain_seconds: float
) -> AsyncIterator[ServerProcess]:
    data_dir.mkdir(exist_ok=True)
    (data_dir / "palaver.toml").write_text(provider_toml(model.base_url))
    process = ServerProcess(data_dir, {"PALAVER_DRAIN_SECONDS": str(drain_seconds), **database})
    try:
        await process.start()
        yield process
    finally:
        await process.close()


@asynccontextmanager
async def _client(process: ServerProcess, tmp_path: Path) -> AsyncIterator[Client]:
    # The application beside it only lends its document, which the answers are held against.
    settings = make_settings(tmp_path / "beside")
    server = Server(create_app(settings), process.base_url, settings, open_core(settings))
    async with Client(server, API_KEY) as client:
        yield client


async def read_until_killed(events: AsyncIterator[SseEvent], kill: Callable[[list[SseEvent]], Any]) -> list[SseEvent]:
    """The events until `kill` is true of them or the connection is gone."""
    seen: list[SseEvent] = []
    async for event in events:
        seen.append(event)
        if kill(seen):
            break
    return seen


async def websocket_resume(process: ServerProcess, run_id: str, after: int) -> list[dict[str, Any]]:
    """The frames that a WebSocket brings for a resumed run, up to its end."""
    frames: list[dict[str, Any]] = []
    async with (
        aiohttp.ClientSession(headers={"X-API-Key": API_KEY}) as http,
        http.ws_connect(f"{process.base_url}/api/v1/chat/ws") as socket,
    ):
        await socket.send_str(msgspec.json.encode({"t": "resume", "run_id": run_id, "after": after}).decode())
        while not frames or frames[-1]["type"] != "end":
            frames.append(msgspec.json.decode(await socket.receive_str(timeout=10)))
    return frames


@pytest.mark.xdist_group("timing")
async def test_kill_9_in_mid_reply_loses_the_last_second_at_most(
    process: ServerProcess, client: Client, model: ModelServer
) -> None:
    model.script(reply(numbered(400), delay=0.02), reply(["fine"]))
    arrived: list[float] = []

    def enough(seen: list[SseEvent]) -> bool:
        arrived.append(time.monotonic())
        return len(seen) == 120

    async with client.chatting("Hi", session_id="s1") as events:
        seen = await read_until_killed(events, enough)
        killed = time.monotonic()
        await process.kill()
    await process.start()

    run_id = seen[0].data["run_id"]
    assert await client.run_status(run_id) == "interrupted"
    question, partial = await client.history("s1")
    assert (question["parts"], question["status"]) == ([{"type": "plain", "text": "Hi"}], "complete")
    assert partial["status"] == "partial"
    kept = partial["parts"][0]["text"]
    assert "".join(numbered(400)).startswith(kept)
    old = [event for event, at in zip(seen, arrived, strict=True) if at < killed - BEHIND_SECONDS]
    assert len(text_of(old)) > 100
    assert kept.startswith(text_of(old))

    assert text_of(await client.chat("Again", session_id="s1")) == "fine"
    assert len(model.requests) == 2


async def test_a_run_that_a_crash_interrupted_resumes_from_every_event_with_the_same_bytes(
    process: ServerProcess, client: Client, model: ModelServer
) -> None:
    model.script(reply(numbered(60), delay=0.02, gate=asyncio.Event(), hold_after=60))
    async with client.chatting("Hi", session_id="s1") as events:
        seen = await read_until_killed(events, lambda seen: "t59 " in text_of(seen))
        await process.kill()
    await process.start()

    run_id = seen[0].data["run_id"]
    whole = await client.replay(run_id)
    stored = [event for event in whole if event.id < CRASH_GAP]
    assert [event.raw for event in stored] == [event.raw for event in seen[: len(stored)]]
    assert types_of(whole[len(stored) :]) == ["message_saved", "error", "end"]
    assert whole[-2].data["code"] == "interrupted"
    assert text_of(whole) == (await client.history("s1"))[1]["parts"][0]["text"]
    for index, event in enumerate(whole):
        assert [e.raw for e in await client.replay(run_id, after=event.id)] == [e.raw for e in whole[index + 1 :]]
    # A reader that saw more than reached the disk gets the end, and nothing twice.
    assert [e.raw for e in await client.replay(run_id, after=seen[-1].id)] == [e.raw for e in whole[len(stored) :]]
    for after in (0, stored[-1].id, seen[-1].id):
        frames = await websocket_resume(process, run_id, after)
        assert [(frame["seq"], frame["type"]) for frame in frames] == [(e.id, e.type) for e in whole if e.id > after]


async def test_kill_9_ends_the_waiting_runs_too_and_keeps_their_messages(
    process: ServerProcess, client: Client, model: ModelServer
) -> None:
    model.script(answers.hang(), reply(["fine"]))
    runs = []
    for number in range(3):
        async with client.chatting(f"m{number}", session_id="s1") as events:
            runs.append((await anext(events)).data["run_id"])
    await model.wait_for_requests(1)
    await process.kill()
    await process.start()
    assert [await client.run_status(run_id) for run_id in runs] == ["interrupted"] * 3
    for run_id in runs:
        assert types_of(await client.replay(run_id)) == ["session_id", "user_message_saved", "error", "end"]
    questions = [message for message in await client.history("s1") if message["role"] == "user"]
    assert [message["parts"][0]["text"] for message in questions] == ["m0", "m1", "m2"]
    assert text_of(await client.chat("Again", session_id="s1")) == "fine"
    assert len(model.requests) == 2


async def test_kill_9_while_starting_leaves_the_rest_to_the_next_start(
    process: ServerProcess, client: Client, model: ModelServer
) -> None:
    model.script(answers.hang_after(3))
    async with client.chatting("Hi", session_id="s1") as events:
        run_id = (await anext(events)).data["run_id"]
    await process.kill()
    for seconds in (0.5, 1.0):
        await process.spawn()
        # Somewhere in the start, wherever that is on this machine.
        await asyncio.sleep(seconds)
        await process.kill()
    await process.start()
    assert await client.run_status(run_id) == "interrupted"
    assert (await client.replay(run_id))[-1].type == "end"


async def until_it_drains(process: ServerProcess) -> None:
    async with asyncio.timeout(10):
        while "Stopping" not in process.log_file.read_text():
            await asyncio.sleep(0.01)


async def test_sigterm_lets_open_runs_finish_and_refuses_new_ones(
    process: ServerProcess, client: Client, model: ModelServer
) -> None:
    gate = asyncio.Event()
    model.script(reply(numbered(4), gate=gate, hold_after=2))
    async with client.chatting("Hi", session_id="s1") as events:
        first = await anext(events)
        await model.wait_for_requests(1)
        ending = asyncio.create_task(process.end(signal.SIGTERM))
        await until_it_drains(process)
        refused = await client.post("/api/v1/chat", {**HELLO, "session_id": "s2"})
        assert (refused.status_code, refused.json()["code"]) == (503, "shutting_down")
        assert int(refused.headers["retry-after"]) >= 1
        assert await client.run_status(first.data["run_id"]) == "running"
        gate.set()
        seen = [first, *[event async for event in events]]
    assert text_of(seen) == "t0 t1 t2 t3 "
    assert types_of(seen)[-3:] == ["complete", "message_saved", "end"]
    assert await ending == 0
    await process.start()
    assert await client.run_status(first.data["run_id"]) == "completed"
    assert (await client.get("/api/v1/chat/sessions/s2", username="alice")).status_code == 404


async def test_a_run_that_outlasts_the_drain_is_kept_and_its_readers_are_told(
    data_dir: Path, database: Mapping[str, str], tmp_path: Path, model: ModelServer
) -> None:
    model.script(answers.hang_after(3))
    async with _process(data_dir, database, model, drain_seconds=0.2) as process, _client(process, tmp_path) as client:
        async with client.chatting("Hi", session_id="s1") as events:
            seen = await read_until_killed(events, lambda seen: text_of(seen) == "t0 t1 t2 ")
            ending = asyncio.create_task(process.end(signal.SIGTERM))
            seen += [event async for event in events]
        run_id = seen[0].data["run_id"]
        assert types_of(seen)[-3:] == ["message_saved", "error", "end"]
        assert seen[-2].data["code"] == "interrupted"
        assert f"/api/v1/chat/runs/{run_id}/stream" in seen[-2].data["data"]
        assert await ending == 0
        await process.start()
        assert await client.run_status(run_id) == "interrupted"
        assert [event.raw for event in await client.replay(run_id)] == [event.raw for event in seen]
        assert (await client.history("s1"))[1]["parts"][0]["text"] == "t0 t1 t2 "


@pytest.mark.xdist_group("timing")
async def test_a_second_sigterm_ends_at_once(process: ServerProcess, client: Client, model: ModelServer) -> None:
    model.script(answers.hang_after(3))
    async with client.chatting("Hi", session_id="s1") as events:
        seen = await read_until_killed(events, lambda seen: text_of(seen) == "t0 t1 t2 ")
        process.process.send_signal(signal.SIGTERM)
        await until_it_drains(process)
        began = time.monotonic()
        assert await process.end(signal.SIGTERM) == -signal.SIGTERM
        assert time.monotonic() - began < 2
    await process.start()
    assert await client.run_status(seen[0].data["run_id"]) == "interrupted"
    assert "t0 t1 t2 ".startswith(text_of(await client.replay(seen[0].data["run_id"])))


async def test_kill_9_while_a_reply_is_made_again_leaves_the_earlier_one_to_choose(
    process: ServerProcess, client: Client, model: ModelServer
) -> None:
    model.script(reply(["first"]), answers.hang_after(3), reply(["third"]))
    await client.chat("Hi", session_id="s1")
    question, answer = await client.history("s1")
    path = f"/api/v1/chat/sessions/s1/messages/{answer['id']}"
    body, headers = {"username": "alice"}, {"Idempotency-Key": "k1"}
    async with client.stream("POST", f"{path}/regenerate", json=body, headers=headers) as events:
        await read_until_killed(events, lambda seen: text_of(seen) == "t0 t1 t2 ")
        await process.kill()
    await process.start()
    shown = await client.history("s1")
    assert shown[0]["id"] == question["id"]
    assert (shown[1]["status"], shown[1]["alternatives"]) == ("partial", [answer["id"]])
    again = await client.request("POST", f"{path}/regenerate", json=body, headers=headers)
    assert b'"code":"interrupted"' in again.content
    assert (await client.post(f"{path}/select", body)).status_code == 200
    assert (await client.history("s1"))[1]["parts"][0]["text"] == "first"
    async with client.stream("POST", f"{path}/regenerate", json=body) as events:
        assert text_of([event async for event in events]) == "third"
    assert len((await client.history("s1"))[1]["alternatives"]) == 2
