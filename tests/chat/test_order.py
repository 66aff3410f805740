"""Messages of one session are answered one after another, in the order they came (defect 13)."""

import asyncio

import pytest

from tests.conftest import StartServer
from tests.support import answers
from tests.support.answers import numbered, reply
from tests.support.client import Client, text_of
from tests.support.database import execute
from tests.support.model_server import ModelServer
from tests.support.server import Server


async def test_parallel_messages_are_answered_in_turn_defect_13(client: Client, model: ModelServer) -> None:
    count = 8
    everything = await asyncio.gather(*(client.chat(f"message {n}", session_id="s1") for n in range(count)))
    assert [text_of(events) for events in everything] == [f"You said: message {n}" for n in range(count)]
    history = await client.history("s1")
    assert [m["role"] for m in history] == ["user", "assistant"] * count
    for question, answer in zip(history[::2], history[1::2], strict=True):
        assert answer["parts"][0]["text"] == f"You said: {question['parts'][0]['text']}"
        assert question["run_id"] == answer["run_id"]
    for turn, request in enumerate(model.requests):
        shown = request.body["messages"][1:]
        assert [m["role"] for m in shown] == ["user", "assistant"] * turn + ["user"]


async def test_first_messages_of_a_session_at_once_are_all_answered(client: Client) -> None:
    messages = [(f"s{number}", text) for number in range(10) for text in ("one", "two")]
    replies = await asyncio.gather(*(client.chat(text, session_id=session_id) for session_id, text in messages))
    assert [text_of(events) for events in replies] == [f"You said: {text}" for _, text in messages]
    for session_id, _ in messages[::2]:
        assert [message["role"] for message in await client.history(session_id)] == ["user", "assistant"] * 2


@pytest.mark.databases("postgresql")  # SQLite has one writer: nothing comes between the numbers of a turn
async def test_a_waiting_question_is_not_shown_when_numbers_have_gaps(
    server: Server, client: Client, model: ModelServer
) -> None:
    gate = asyncio.Event()
    model.script(reply(["fine"], gate=gate))
    database = server.core.database
    await execute(database, "ALTER SEQUENCE messages_id_seq INCREMENT BY 2")
    try:
        for number in range(4):
            async with client.chatting(f"m{number}", session_id="s1") as events:
                await anext(events)
        gate.set()
        await model.wait_for_requests(4)
    finally:
        await execute(database, "ALTER SEQUENCE messages_id_seq INCREMENT BY 1")
    for number, request in enumerate(model.requests):
        questions = [message["content"] for message in request.body["messages"] if message["role"] == "user"]
        assert questions == [f"m{each}" for each in range(number + 1)]


async def test_other_sessions_do_not_wait(client: Client, model: ModelServer) -> None:
    gate = asyncio.Event()
    model.script(reply(["slow"], gate=gate), reply(["quick"]))
    async with client.chatting("Hi", session_id="s1") as events:
        await anext(events)
        await model.wait_for_requests(1)
        assert text_of(await client.chat("Hi", session_id="s2")) == "quick"
        gate.set()
        assert text_of([event async for event in events]) == "slow"


async def test_a_proactive_message_never_lands_inside_a_reply_defect_13(client: Client, model: ModelServer) -> None:
    gate = asyncio.Event()
    model.script(reply(numbered(4), gate=gate, hold_after=2))
    async with client.chatting("Hi", session_id="s1") as events:
        await anext(events)
        await model.wait_for_requests(1)
        body = {"umo": "webchat:FriendMessage:s1", "message": "News!"}
        assert (await client.post("/api/v1/im/message", body)).status_code == 200
        gate.set()
        assert text_of([event async for event in events]) == "t0 t1 t2 t3 "
    texts = [message["parts"][0]["text"] for message in await client.history("s1")]
    assert texts == ["Hi", "t0 t1 t2 t3 ", "News!"]


async def test_a_full_queue_is_429_at_once(client: Client, model: ModelServer) -> None:
    model.script(answers.hang())
    streams = [client.chatting(f"m{n}", session_id="s1") for n in range(17)]
    runs = []
    for stream in streams:
        async with stream as events:
            runs.append((await anext(events)).data["run_id"])
    response = await client.post("/api/v1/chat", {"username": "alice", "message": "one more", "session_id": "s1"})
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) >= 1
    assert response.json()["code"] == "session_busy"
    await client.post("/api/v1/chat/sessions/s1/stop", {"username": "alice"})
    assert len([m for m in await client.history("s1") if m["role"] == "user"]) == 17


async def test_state_of_idle_sessions_is_freed_defect_14(server: Server, client: Client) -> None:
    from app.chat.runs.engine import RunEngine
    from app.edge.services import service

    await asyncio.gather(*(client.chat("Hi", session_id=f"s{n}") for n in range(20)))
    async with server.app.app_context():
        engine = service(RunEngine)
    async with asyncio.timeout(5):
        while engine.runs or engine.turns.waiting:
            await asyncio.sleep(0.01)


async def test_many_writers_never_find_the_database_locked_defect_20(
    start_server: StartServer, model: ModelServer
) -> None:
    """Chats, uploads, key changes from another process' connection and bot messages, all writing at once."""
    async with start_server() as server, Client(server, await server.new_key()) as client:
        chats = [client.chat(f"m{n}", session_id=f"s{n % 10}") for n in range(60)]
        keys = [server.core.keys.create(name=f"k{n}", scopes=["chat"]) for n in range(40)]
        body = {"message": "Hi"}
        news = [client.post("/api/v1/im/message", {**body, "umo": f"webchat:FriendMessage:n{n}"}) for n in range(60)]
        uploads = [client.request("POST", "/api/v1/file", files={"file": ("a.txt", b"text")}) for _ in range(40)]
        _, _, sent, stored = await asyncio.gather(
            asyncio.gather(*chats), asyncio.gather(*keys), asyncio.gather(*news), asyncio.gather(*uploads)
        )
        assert all(response.status_code == 200 for response in (*sent, *stored))
        assert len(await server.core.keys.list_keys()) == 41
        for n in range(10):
            assert len(await client.history(f"s{n}")) == 12


async def going_on(client: Client, model: ModelServer) -> str:
    """A reply in session s1 that has said `t0 t1 ` and says no more."""
    model.script(answers.hang_after(2))
    async with client.chatting("first", session_id="s1") as events:
        seen = [await anext(events)]
        while text_of(seen) != "t0 t1 ":
            seen.append(await anext(events))
    return str(seen[0].data["run_id"])


async def test_a_message_may_refuse_to_wait(client: Client, model: ModelServer) -> None:
    await going_on(client, model)
    body = {"username": "alice", "message": "second", "session_id": "s1", "on_busy": "reject"}
    response = await client.post("/api/v1/chat", body)
    assert (response.status_code, response.json()["code"]) == (409, "session_busy")
    await client.post("/api/v1/chat/sessions/s1/stop", {"username": "alice"})
    assert [m["role"] for m in await client.history("s1")] == ["user", "assistant"]
    assert text_of(await client.chat("third", session_id="s1", on_busy="reject")) == "You said: third"


async def test_a_message_may_interrupt_and_goes_next(client: Client, model: ModelServer) -> None:
    first = await going_on(client, model)
    waiting = asyncio.create_task(client.chat("waiting", session_id="s1"))
    async with asyncio.timeout(5):
        while len(await client.history("s1")) < 2:  # the waiting one's question
            await asyncio.sleep(0.01)
    urgent = await client.chat("urgent", session_id="s1", on_busy="interrupt")
    assert text_of(urgent) == "You said: urgent"
    assert text_of(await waiting) == "You said: waiting"
    assert await client.run_status(first) == "stopped"
    shown = [[m["content"] for m in request.body["messages"][1:]] for request in model.requests[1:]]
    assert shown == [
        ["first", "t0 t1 ", "urgent"],
        ["first", "t0 t1 ", "urgent", "You said: urgent", "waiting"],
    ]
    partial = (await client.history("s1"))[1]
    assert (partial["status"], partial["parts"][0]["text"]) == ("partial", "t0 t1 ")


async def test_a_later_message_that_was_stopped_while_it_waited_is_not_shown(
    client: Client, model: ModelServer
) -> None:
    first = await going_on(client, model)
    runs = []
    for text in ("second", "third"):
        async with client.chatting(text, session_id="s1") as events:
            runs.append((await anext(events)).data["run_id"])
    for run_id in (runs[1], first):
        await client.post(f"/api/v1/chat/runs/{run_id}/stop")
    assert await client.until_run(runs[0], "completed") == "completed"
    assert [message["content"] for message in model.requests[1].body["messages"][1:]] == ["first", "t0 t1 ", "second"]


async def test_an_interruption_of_an_idle_session_interrupts_nothing(client: Client) -> None:
    await client.chat("one", session_id="s1")
    assert text_of(await client.chat("two", session_id="s1", on_busy="interrupt")) == "You said: two"
    assert [m["status"] for m in await client.history("s1")] == ["complete"] * 4


async def test_an_unknown_on_busy_is_400(client: Client) -> None:
    response = await client.post("/api/v1/chat", {"username": "alice", "message": "Hi", "on_busy": "shout"})
    assert response.status_code == 400


async def test_a_question_is_shown_to_the_model_however_much_came_after_it(client: Client, model: ModelServer) -> None:
    """Sixty bot messages that came while it waited do not push it out of the prompt."""
    await going_on(client, model)
    waiting = asyncio.create_task(client.chat("waiting", session_id="s1"))
    async with asyncio.timeout(5):
        while len(await client.history("s1")) < 2:
            await asyncio.sleep(0.01)
    for number in range(60):
        await client.post("/api/v1/im/message", {"umo": "webchat:FriendMessage:s1", "message": f"news {number}"})
    (first,) = [r["run_id"] for r in (await client.history("s1"))[:1]]
    await client.post(f"/api/v1/chat/runs/{first}/stop")
    assert text_of(await waiting) == "You said: waiting"


async def test_runs_and_streams_of_a_key_are_limited(start_server: StartServer, model: ModelServer) -> None:
    model.script(answers.hang(), answers.hang(), answers.hang())
    async with (
        start_server(max_runs_per_key=2, max_streams_per_key=3) as server,
        Client(server, await server.new_key()) as client,
        Client(server, await server.new_key()) as other,
    ):
        runs = []
        for n in range(2):
            async with client.chatting("Hi", session_id=f"s{n}") as events:
                runs.append((await anext(events)).data["run_id"])
        refused = await client.post("/api/v1/chat", {"username": "alice", "message": "Hi", "session_id": "s3"})
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_runs")
        assert int(refused.headers["retry-after"]) >= 1
        async with other.chatting("Hi") as events:
            await anext(events)
        path = f"/api/v1/chat/runs/{runs[0]}/stream"
        async with client.stream("GET", path) as one, client.stream("GET", path) as two, client.stream("GET", path):
            await anext(one), await anext(two)
            refused = await client.get(path)
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
        await client.post(f"/api/v1/chat/runs/{runs[0]}/stop")
        assert text_of(await client.chat("Hi", session_id="s4")) == "You said: Hi"
        assert (await client.get("/api/v1/chat/sessions/s3", username="alice")).status_code == 404


async def test_the_limits_free_what_ended(start_server: StartServer, model: ModelServer) -> None:
    async with (
        start_server(max_runs_per_key=1, max_streams_per_key=1) as server,
        Client(server, await server.new_key()) as client,
    ):
        for _ in range(5):
            assert text_of(await client.chat("Hi")) == "You said: Hi"
            assert (await client.post("/api/v1/chat", {"username": "alice"})).status_code == 400
