"""A database that goes away, or loses rows, under replies that are being made."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from functools import partial

import pytest
from structlog.testing import capture_logs

from app.chat import run_store
from app.chat.runs.events import EventBatch, TextDelta
from app.chat.values import Run, RunStatus
from app.clock import utc_now
from app.database.engine import Database, open_database
from tests.conftest import StartServer
from tests.support import answers
from tests.support.answers import numbered, reply
from tests.support.client import Client, text_of, types_of
from tests.support.database import execute, lose_confirmation
from tests.support.model_server import ModelServer
from tests.support.proxy import Proxy

TOKENS = 30


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The server's database, from beside it."""
    database = open_database(database_url)
    yield database
    await database.close()


@pytest.fixture
def quiet() -> Iterator[None]:
    """Keep the log's long tracebacks from being rendered, which takes seconds of the loop's time for each."""
    with capture_logs():
        yield


@pytest.mark.databases("postgresql")
@pytest.mark.usefixtures("quiet")
async def test_a_database_that_is_away_costs_no_reply(
    start_server: StartServer, model: ModelServer, proxy: Proxy, proxied_url: str
) -> None:
    gate = asyncio.Event()
    model.script(*(reply(numbered(TOKENS), gate=gate, hold_after=3) for _ in range(6)))
    async with (
        start_server(database_url=proxied_url, database_connect_timeout_seconds=1.0) as server,
        Client(server, await server.new_key()) as client,
    ):
        chats = [asyncio.create_task(client.chat("Hi", session_id=f"s{number}")) for number in range(4)]
        waiting = asyncio.create_task(client.chat("And then?", session_id="s0"))
        await model.wait_for_requests(4)
        async with asyncio.timeout(20):
            while len(await client.history("s0")) < 2:  # both messages are accepted
                await asyncio.sleep(0.01)
        await proxy.go_away()
        gate.set()
        async with asyncio.timeout(20):
            while (await client.get("/ready")).status_code == 200:
                await asyncio.sleep(0.05)
        refused = await client.post("/api/v1/chat", {"username": "alice", "message": "Now?"})
        assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
        # Longer than every loop of the server's waits, all of which have failed by then.
        await asyncio.sleep(6)
        assert not any(chat.done() for chat in chats)
        await proxy.open()
        for events in await asyncio.wait_for(asyncio.gather(*chats, waiting), 30):
            assert text_of(events) == "".join(numbered(TOKENS))
            assert types_of(events)[-3:] == ["complete", "message_saved", "end"]
        assert [message["status"] for message in await client.history("s0")] == ["complete"] * 4
        async with asyncio.timeout(15):
            while (await client.get("/ready")).status_code != 200:
                await asyncio.sleep(0.05)
        assert text_of(await client.chat("Again", session_id="s1")) == "".join(numbered(TOKENS))


@pytest.mark.databases("postgresql")  # of a commit of SQLite's the outcome is known
async def test_a_run_whose_acceptance_was_not_confirmed_comes_to_an_end(
    start_server: StartServer, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.chat.runs.upkeep.SWEEP_SECONDS", 0.3)
    monkeypatch.setattr("app.chat.runs.recovery.START_TIME", timedelta(seconds=1))
    async with start_server() as server, Client(server, await server.new_key()) as client:
        lost = lose_confirmation(monkeypatch, "runs")
        body = {"username": "alice", "message": "Hi", "session_id": "s1"}
        refused = await client.post("/api/v1/chat", body)
        assert (refused.status_code, refused.json()["code"], lost) == (503, "database_unavailable", ["runs"])
        assert "not known" in refused.json()["message"]
        # The message is there after all, and its run is in the way of the next one until it is ended.
        assert text_of(await client.chat("Again", session_id="s1")) == "You said: Hi\n\nAgain"
        async with asyncio.timeout(20):
            while not any(message["status"] == "partial" for message in await client.history("s1")):
                await asyncio.sleep(0.05)
        assert [message["status"] for message in await client.history("s1")] == [
            "complete",
            "partial",
            *2 * ["complete"],
        ]
    assert len(model.requests) == 1


async def test_a_run_whose_session_is_gone_ends_and_keeps_no_other_from_being_stored(
    start_server: StartServer, model: ModelServer, database: Database
) -> None:
    model.script(answers.hang_after(3), answers.hang_after(3))
    async with (
        start_server() as server,
        Client(server, await server.new_key()) as client,
        client.chatting("Hi", session_id="gone") as gone,
        client.chatting("Hi", session_id="here") as here,
    ):
        run_id = (await anext(here)).data["run_id"]
        await model.wait_for_requests(2)
        await execute(database, "DELETE FROM sessions WHERE id = 'gone'")
        async with asyncio.timeout(20):
            events = [event async for event in gone]
            assert [event.type for event in events[-2:]] == ["error", "end"]
            assert events[-2].data["code"] == "session_deleted"
            while not _text(await database.read(partial(run_store.run_events, run_id=run_id))):
                await asyncio.sleep(0.05)


def _text(events: Sequence[tuple[int, object]]) -> str:
    return "".join(event.text for _, event in events if isinstance(event, TextDelta))


async def test_events_whose_storing_was_not_confirmed_are_stored_once(database: Database) -> None:
    now = utc_now()
    run = Run(
        id="r1",
        session_id=None,
        username="alice",
        key_id="k1",
        status=RunStatus.QUEUED,
        streaming=True,
        message_id="m1",
        config_id="default",
        provider_id="p",
        model="m",
        created_at=now,
    )
    events = [TextDelta(f"t{number} ") for number in range(5)]
    await database.write(lambda connection: run_store.add_run(connection, run, events[:1]))
    for count in (2, 2, 4):
        progress = [run_store.Progress("r1", now, EventBatch(2, events[1 : 1 + count]))]
        checkpoint = partial(run_store.checkpoint_runs, progress=progress, now=now)
        assert await database.write(checkpoint) == []
    stored = await database.read(lambda connection: run_store.run_events(connection, "r1"))
    assert stored == list(enumerate(events, 1))
    unknown = run_store.Progress("r2", now, EventBatch(1, events))
    assert await database.write(lambda connection: run_store.checkpoint_runs(connection, [unknown], now)) == ["r2"]
