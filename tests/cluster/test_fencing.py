"""A server that was taken for dead, and is not: its whole reply counts."""

import asyncio

import pytest

from app.auth.limits import Budget
from app.chat import run_store
from app.chat.runs.events import EventBatch, Failed
from app.chat.runs.recovery import CRASH_GAP
from app.chat.runs.reply import cut_short
from app.chat.values import RunStatus
from app.database.engine import Database
from tests.support.answers import numbered, reply
from tests.support.client import Client, text_of, types_of
from tests.support.database import execute
from tests.support.model_server import ModelServer
from tests.support.server import Server

pytestmark = pytest.mark.databases("postgresql")


async def take_for_lost(database: Database, run_id: str) -> None:
    """End a run as another server does that takes its server for dead."""
    run = await database.read(lambda connection: run_store.find_run(connection, run_id))
    events = await database.read(lambda connection: run_store.run_events(connection, run_id))
    assert run is not None
    result = cut_short(run, [event for _, event in events], RunStatus.INTERRUPTED, Failed("interrupted", "It stopped"))
    batch = EventBatch(events[-1][0] + CRASH_GAP + 1, result.events)
    assert await database.write(lambda connection: run_store.end_run(connection, run, result, batch))


async def test_the_whole_reply_replaces_the_part_that_another_server_stored(
    server: Server, client: Client, model: ModelServer
) -> None:
    gate = asyncio.Event()
    model.script(reply(numbered(8), gate=gate, hold_after=3), reply(["fine"]))
    async with client.chatting("Hi", session_id="s1") as events:
        seen = [await anext(events)]
        run_id = seen[0].data["run_id"]
        while text_of(seen) != "t0 t1 t2 ":
            seen.append(await anext(events))
        async with asyncio.timeout(10):
            while await client.run_status(run_id) != "running":
                await asyncio.sleep(0.05)
        await take_for_lost(server.core.database, run_id)
        assert (await client.history("s1"))[1]["status"] == "partial"
        gate.set()
        seen += [event async for event in events]
    assert text_of(seen) == "".join(numbered(8))
    assert types_of(seen)[-3:] == ["complete", "message_saved", "end"]
    _, answer = await client.history("s1")
    assert (answer["status"], answer["parts"][0]["text"]) == ("complete", "".join(numbered(8)))
    assert await client.run_status(run_id) == "completed"
    assert [event.raw for event in await client.replay(run_id)] == [event.raw for event in seen]
    assert text_of(await client.chat("Again", session_id="s1")) == "fine"


async def test_a_reply_whose_session_was_deleted_is_not_brought_back(
    server: Server, client: Client, model: ModelServer
) -> None:
    gate = asyncio.Event()
    model.script(reply(numbered(4), gate=gate, hold_after=4))
    async with client.chatting("Hi", session_id="s1") as events:
        run_id = (await anext(events)).data["run_id"]
        await model.wait_for_requests(1)
        await take_for_lost(server.core.database, run_id)
        await execute(server.core.database, "DELETE FROM sessions WHERE id = 's1'")
        gate.set()
        seen = [event async for event in events]
    assert [event.type for event in seen[-2:]] == ["error", "end"]
    assert seen[-2].data["code"] == "session_deleted"
    assert (await client.get("/api/v1/chat/sessions/s1", username="alice")).status_code == 404


async def test_what_the_whole_reply_used_counts_once_in_the_budget(server: Server, model: ModelServer) -> None:
    limits = {"budget": Budget(per="day", tokens=100)}
    _, text = await server.core.keys.create(name="limited", scopes=["chat"], limits=limits)
    gate = asyncio.Event()
    whole = reply(numbered(8), gate=gate, hold_after=3, usage=(50, 0, 10))
    model.script(whole, reply(["fine"], usage=(50, 0, 10)), reply(["too much"]))
    async with Client(server, text) as client:
        async with client.chatting("Hi", session_id="s1") as events:
            run_id = (await anext(events)).data["run_id"]
            await model.wait_for_requests(1)
            await take_for_lost(server.core.database, run_id)
            gate.set()
            assert [event async for event in events][-1].type == "end"
        assert await client.run_status(run_id) == "completed"
        assert text_of(await client.chat("Again")) == "fine"  # 40 tokens were left
        refused = await client.post("/api/v1/chat", {"username": "alice", "message": "Hi"})
        assert (refused.status_code, refused.json()["code"]) == (429, "budget_exceeded")
