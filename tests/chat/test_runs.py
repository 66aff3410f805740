"""Runs outlive their readers: leaving, coming back, stopping, and what is kept."""

import asyncio

import pytest
from sqlalchemy import Connection, delete, update

from app.chat.models import MessageRow, RunEventsRow, RunRow
from app.chat.run_store import EVENTS_KEPT, purge_events
from app.clock import utc_now
from tests.conftest import StartServer
from tests.support import answers
from tests.support.answers import Answer, numbered, reply
from tests.support.client import Client, SseEvent, text_of, types_of
from tests.support.model_server import ModelServer
from tests.support.server import Server


async def start_and_leave(client: Client, message: str = "Hi", **body: object) -> str:
    """Send a message and leave after its first event; the run's id."""
    async with client.chatting(message, **body) as events:
        return str((await anext(events)).data["run_id"])


async def test_reply_is_saved_when_the_client_leaves_defects_1_and_2(client: Client, model: ModelServer) -> None:
    gate = asyncio.Event()
    model.script(reply(numbered(5), gate=gate, hold_after=2), reply(["next"]))
    run_id = await start_and_leave(client, session_id="s1")
    await model.wait_for_requests(1)
    gate.set()
    await client.until_run(run_id, "completed")
    assert (await client.history("s1"))[1]["parts"] == [{"type": "plain", "text": "t0 t1 t2 t3 t4 "}]
    assert text_of(await client.chat("Again", session_id="s1")) == "next"


async def test_a_run_that_is_going_on_can_be_joined(client: Client, model: ModelServer) -> None:
    gate = asyncio.Event()
    model.script(reply(numbered(4), gate=gate, hold_after=2))
    async with client.chatting("Hi") as events:
        first = await anext(events)
        run_id = first.data["run_id"]
        joined = asyncio.create_task(client.replay(run_id))
        gate.set()
        seen = [first, *[event async for event in events]]
    assert [event.raw for event in await joined] == [event.raw for event in seen]


@pytest.mark.parametrize("enable_streaming", [True, False])
@pytest.mark.parametrize(
    "answer", [reply(numbered(6)), answers.cut_after(3), answers.status(500), answers.tool_calls(("c", "f", "{}"))]
)
async def test_a_stream_cut_anywhere_and_resumed_is_the_same_bytes(
    client: Client, model: ModelServer, answer: Answer, enable_streaming: bool
) -> None:
    model.script(answer)
    whole = await client.chat("Hi", enable_streaming=enable_streaming)
    run_id = whole[0].data["run_id"]
    for index, event in enumerate(whole):
        rest = await client.replay(run_id, after=event.id)
        assert [e.raw for e in rest] == [e.raw for e in whole[index + 1 :]]
    assert [e.raw for e in await client.replay(run_id)] == [e.raw for e in whole]


async def test_last_event_id_resumes_too(client: Client) -> None:
    whole = await client.chat("one two three")
    path = f"/api/v1/chat/runs/{whole[0].data['run_id']}/stream"
    async with client.stream("GET", path, headers={"Last-Event-ID": str(whole[2].id)}) as events:
        rest = [event async for event in events]
    assert [e.raw for e in rest] == [e.raw for e in whole[3:]]


@pytest.mark.parametrize("after", ["-1", "x", "1.5", "9" * 30])
async def test_a_strange_position_is_400(client: Client, after: str) -> None:
    run_id = (await client.chat("Hi"))[0].data["run_id"]
    response = await client.get(f"/api/v1/chat/runs/{run_id}/stream", after=after)
    assert response.status_code == 400


async def test_beyond_the_end_there_is_nothing_and_the_stream_ends(client: Client) -> None:
    run_id = (await client.chat("Hi"))[0].data["run_id"]
    assert await client.replay(run_id, after=10_000) == []


async def test_a_run_tells_how_far_it_is(client: Client, model: ModelServer) -> None:
    gate = asyncio.Event()
    model.script(reply(["a", "b"], gate=gate, hold_after=1))
    async with client.chatting("Hi", session_id="s1") as events:
        run_id = (await anext(events)).data["run_id"]
        await model.wait_for_requests(1)
        second = await start_and_leave(client, session_id="s1")
        going = (await client.get(f"/api/v1/chat/runs/{run_id}")).json()["data"]
        assert (going["status"], going["reply_id"], going["finished_at"]) == ("running", None, None)
        assert await client.run_status(second) == "queued"
        gate.set()
        saved = [event async for event in events][-2]
    done = (await client.get(f"/api/v1/chat/runs/{run_id}")).json()["data"]
    assert (done["status"], done["reply_id"]) == ("completed", saved.data["data"]["id"])
    assert done["created_at"] <= done["started_at"] <= done["finished_at"]
    await client.until_run(second, "completed")


async def stopped(client: Client, model: ModelServer, path: str, body: object) -> list[SseEvent]:
    model.script(answers.hang_after(3), reply(["fine"]))
    async with client.chatting("Hi", session_id="s1") as events:
        seen = [await anext(events)]
        async for event in events:
            seen.append(event)
            if event.type == "plain" and text_of(seen) == "t0 t1 t2 ":
                break
        response = await client.post(path.format(run_id=seen[0].data["run_id"]), body)
        assert response.json()["data"] == {"run_ids": [seen[0].data["run_id"]], "stopped_count": 1}
        return [*seen, *[event async for event in events]]


@pytest.mark.parametrize(
    ("path", "body"),
    [("/api/v1/chat/sessions/s1/stop", {"username": "alice"}), ("/api/v1/chat/runs/{run_id}/stop", None)],
)
async def test_stop_keeps_the_partial_text(client: Client, model: ModelServer, path: str, body: object) -> None:
    events = await stopped(client, model, path, body)
    assert types_of(events)[-3:] == ["message_saved", "error", "end"]
    assert events[-2].data["code"] == "stopped"
    await model.wait_for_disconnects(1)
    _, partial = await client.history("s1")
    assert (partial["status"], partial["parts"]) == ("partial", [{"type": "plain", "text": "t0 t1 t2 "}])
    assert await client.run_status(events[0].data["run_id"]) == "stopped"
    assert text_of(await client.chat("Again", session_id="s1")) == "fine"


async def test_stop_ends_the_waiting_runs_too(client: Client, model: ModelServer) -> None:
    model.script(answers.hang_after(1), reply(["fine"]))
    runs = [await start_and_leave(client, f"m{n}", session_id="s1") for n in range(3)]
    response = await client.post("/api/v1/chat/sessions/s1/stop", {"username": "alice"})
    assert response.json()["data"] == {"run_ids": runs, "stopped_count": 3}
    assert [await client.run_status(run) for run in runs] == ["stopped"] * 3
    assert len(model.requests) == 1
    assert text_of(await client.chat("Again", session_id="s1")) == "fine"


async def test_stopping_what_is_over_stops_nothing(client: Client) -> None:
    run_id = (await client.chat("Hi", session_id="s1"))[0].data["run_id"]
    assert (await client.post(f"/api/v1/chat/runs/{run_id}/stop")).json()["data"]["stopped_count"] == 0
    response = await client.post("/api/v1/chat/sessions/s1/stop", {"username": "alice"})
    assert response.json()["data"] == {"run_ids": [], "stopped_count": 0}


async def test_a_dropped_log_is_rebuilt_from_the_message(server: Server, client: Client) -> None:
    whole = await client.chat("one two three")
    run_id = whole[0].data["run_id"]
    later = utc_now() + 2 * EVENTS_KEPT
    await server.core.database.write(lambda connection: purge_events(connection, later))
    rebuilt = await client.replay(run_id)
    assert types_of(rebuilt) == ["session_id", "user_message_saved", "plain", "complete", "message_saved", "end"]
    assert text_of(rebuilt) == text_of(whole)
    rest = await client.replay(run_id, after=whole[3].id)
    assert types_of(rest) == ["complete", "message_saved", "end"]
    assert rest[0].data["data"] == text_of(whole)


async def test_a_run_that_no_process_holds_any_more_is_ended_at_the_next_start(start_server: StartServer) -> None:
    def crash(connection: Connection) -> None:
        """Leave the run as a process does that is killed before the first checkpoint."""
        connection.execute(delete(RunEventsRow))
        running = {"status": "running", "finished_at": None, "owner": "nobody"}
        connection.execute(update(RunRow).values(running))
        connection.execute(update(MessageRow).where(MessageRow.role == "assistant").values(status="pending", parts=[]))

    async with start_server() as server, Client(server, await server.new_key()) as client:
        run_id = (await client.chat("Hi", session_id="s1"))[0].data["run_id"]
        await server.core.database.write(crash)
    async with start_server() as server, Client(server, client.key) as client:
        assert await client.run_status(run_id) == "interrupted"
        assert types_of(await client.replay(run_id))[-2:] == ["error", "end"]
        assert text_of(await client.chat("Again", session_id="s1")) == "You said: Hi\n\nAgain"


async def test_a_deleted_session_takes_its_runs_along(client: Client, model: ModelServer) -> None:
    model.script(answers.hang_after(1))
    async with client.chatting("Hi", session_id="s1") as events:
        run_id = (await anext(events)).data["run_id"]
        response = await client.request("DELETE", "/api/v1/chat/sessions/s1", params={"username": "alice"})
        assert response.status_code == 200
        assert [event async for event in events][-1].type == "end"
    assert (await client.get(f"/api/v1/chat/runs/{run_id}")).status_code == 404
    response = await client.get("/api/v1/chat/sessions/s1", username="alice")
    assert response.status_code == 404


async def test_a_key_bound_to_a_user_sees_only_that_users_runs(server: Server, client: Client) -> None:
    run_id = (await client.chat("Hi"))[0].data["run_id"]
    async with Client(server, await server.new_key(username="bob")) as bobs:
        assert (await bobs.get(f"/api/v1/chat/runs/{run_id}")).status_code == 404
        assert (await bobs.get(f"/api/v1/chat/runs/{run_id}/stream")).status_code == 404
        assert (await bobs.post(f"/api/v1/chat/runs/{run_id}/stop")).status_code == 404
        assert (await bobs.post("/api/v1/chat", {"username": "alice", "message": "Hi"})).status_code == 403
        assert (await bobs.get("/api/v1/chat/sessions", username="alice")).status_code == 403


async def test_a_stop_of_the_server_ends_runs_and_keeps_their_text(
    start_server: StartServer, model: ModelServer
) -> None:
    model.script(answers.hang_after(2))
    async with start_server() as server, Client(server, await server.new_key()) as client:
        async with client.chatting("Hi", session_id="s1") as events:
            seen = [await anext(events)]
            while text_of(seen) != "t0 t1 ":
                seen.append(await anext(events))
        key = client.key
    async with start_server() as server, Client(server, key) as client:
        assert await client.run_status(seen[0].data["run_id"]) == "interrupted"
        history = await client.history("s1")
        assert (history[1]["status"], history[1]["parts"][0]["text"]) == ("partial", text_of(seen))
