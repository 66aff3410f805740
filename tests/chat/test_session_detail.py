"""A session with its history and its replies under way, as later clients of AstrBot read it, and their spellings."""

import asyncio

from tests.support import answers
from tests.support.client import Client, text_of, types_of
from tests.support.model_server import ModelServer

SESSION = "/api/v1/chat/sessions/s1"


async def test_a_session_has_its_history(client: Client) -> None:
    await client.chat("Hi", session_id="s1")
    session = (await client.get(SESSION, username="alice")).json()["data"]
    assert (session["display_name"], session["is_running"], session["active_runs"]) == ("Hi", False, [])
    question, reply = session["history"]
    assert question["content"] == {"type": "user", "message": [{"type": "plain", "text": "Hi"}]}
    assert reply["content"]["type"] == "bot"
    assert (question["sender_id"], reply["sender_id"], reply["user_id"]) == ("alice", "bot", "s1")
    assert reply["id"] == (await client.history("s1"))[1]["id"]
    assert (await client.get(SESSION, username="alice", history="false")).json()["data"]["history"] == []
    assert (await client.get(SESSION, username="alice", history="x")).json()["code"] == "invalid_history"


async def test_a_session_has_its_replies_under_way(client: Client, model: ModelServer) -> None:
    gate = asyncio.Event()
    model.script(answers.reply(["one ", "two"], gate=gate, hold_after=1))
    async with client.chatting("Hi", session_id="s1") as events:
        run_id = (await anext(events)).data["run_id"]
        async for event in events:
            if event.type == "plain":
                break
        async with client.chatting("And?", session_id="s1") as others:
            await anext(others)
            session = (await client.get(SESSION, username="alice")).json()["data"]
            assert session["is_running"] is True
            first, second = session["active_runs"]
            assert (first["run_id"], first["status"], second["status"]) == (run_id, "running", "queued")
            assert first["content"]["message"] == [{"type": "plain", "text": "one "}]
            assert first["revision"] == event.id
            gate.set()
            assert [event async for event in others][-1].type == "end"
    assert (await client.get(SESSION, username="alice")).json()["data"]["is_running"] is False


async def test_flags_may_say_whether_the_reply_streams(client: Client) -> None:
    whole = await client.chat("Hi", session_id="s1", flags={"enable_streaming": False, "other": 1})
    assert "complete" not in types_of(whole)
    streamed = await client.chat("Hi", session_id="s1", flags={"enable_streaming": False}, enable_streaming=True)
    assert "complete" in types_of(streamed)
    body = {"username": "alice", "message": "Hi", "flags": {"enable_streaming": "no"}}
    assert (await client.post("/api/v1/chat", body)).json()["code"] == "invalid_request"


async def test_run_started_comes_where_it_is_asked_for(client: Client) -> None:
    plain, asked = await client.chat("Hi"), await client.chat("Hi", flags={"run_started": True})
    assert types_of(asked) == ["session_id", "run_started", *types_of(plain)[1:]]
    run_id = asked[0].data["run_id"]
    started = {"type": "run_started", "data": {"run_id": run_id}, "run_id": run_id}
    assert asked[1].data == {**started, "message_id": asked[0].data["message_id"]}
    assert asked[1].id == asked[0].id
    assert types_of(await client.replay(run_id)) == types_of(plain)


async def test_later_spellings_do_the_same(client: Client) -> None:
    upload = await client.request("POST", "/api/v1/files", files={"file": ("a.txt", b"text")})
    attachment_id = upload.json()["data"]["attachment_id"]
    assert (await client.get("/api/v1/file", attachment_id=attachment_id)).content == b"text"
    configs = (await client.get("/api/v1/chat/configs")).json()
    assert configs == (await client.get("/api/v1/configs")).json()


async def test_a_stream_may_begin_with_the_reply_so_far(client: Client, model: ModelServer) -> None:
    gate = asyncio.Event()
    model.script(answers.reply(["one ", "two"], gate=gate, hold_after=1))
    async with client.chatting("Hi", session_id="s1") as events:
        run_id = (await anext(events)).data["run_id"]
        async for event in events:
            if event.type == "plain":
                break
        path = f"/api/v1/chat/runs/{run_id}/stream"
        async with client.stream("GET", path, params={"snapshot": "true"}) as others:
            first = await anext(others)
            assert (first.type, first.id, first.data["data"]["status"]) == ("run_snapshot", event.id, "running")
            assert first.data["data"]["content"]["message"] == [{"type": "plain", "text": "one "}]
            gate.set()
            rest = [each async for each in others]
    assert text_of(rest) == "two"
    assert rest[0].id == first.id + 1
    async with client.stream("GET", path, params={"snapshot": "true"}) as events:
        only, end = [each async for each in events]
    assert end.type == "end"
    assert only.data["data"]["content"]["message"] == [{"type": "plain", "text": "one two"}]
    assert only.data["data"]["status"] == "completed"
