"""A request that is sent twice is done once."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import update

from app.clock import utc_now
from app.idempotency import RETENTION, IdempotencyRow
from tests.conftest import StartServer
from tests.support import answers
from tests.support.answers import numbered, reply
from tests.support.client import Client, text_of
from tests.support.database import execute
from tests.support.model_server import ModelServer
from tests.support.server import Server

BODY = {"username": "alice", "message": "Hi", "session_id": "s1"}


async def send(client: Client, key: str, body: dict[str, Any] | None = None, **headers: str) -> httpx2.Response:
    headers = {name.replace("_", "-"): value for name, value in headers.items()} | {"Idempotency-Key": key}
    return await client.request("POST", "/api/v1/chat", json=body or BODY, headers=headers)


async def test_a_repeat_replays_what_came_of_the_first(client: Client, model: ModelServer) -> None:
    first = await send(client, "k1")
    second = await send(client, "k1", {"session_id": "s1", "message": "Hi", "username": "alice"})
    assert first.content == second.content
    assert len(model.requests) == 1
    assert len(await client.history("s1")) == 2


async def test_a_repeat_without_a_session_id_gets_the_same_session(client: Client, model: ModelServer) -> None:
    body = {"username": "alice", "message": "Hi"}
    assert (await send(client, "k1", body)).content == (await send(client, "k1", body)).content
    assert len(model.requests) == 1


async def test_a_repeat_joins_the_run_that_is_going_on(client: Client, model: ModelServer) -> None:
    gate = asyncio.Event()
    model.script(reply(numbered(4), gate=gate, hold_after=2))
    first = asyncio.create_task(send(client, "k1"))
    await model.wait_for_requests(1)
    second = asyncio.create_task(send(client, "k1"))
    gate.set()
    assert (await first).content == (await second).content
    assert len(model.requests) == 1


async def test_a_repeat_goes_on_beyond_the_last_event_that_was_received(client: Client, model: ModelServer) -> None:
    first = (await send(client, "k1")).content
    rest = (await send(client, "k1", Last_Event_ID="4")).content
    assert rest.startswith(b"retry: 2000\n\nid: 5\n")
    assert first.endswith(rest.removeprefix(b"retry: 2000\n\n"))
    assert len(model.requests) == 1


async def test_a_repeat_goes_on_beyond_an_event_while_the_run_goes_on(client: Client, model: ModelServer) -> None:
    gate = asyncio.Event()
    model.script(reply(numbered(4), gate=gate, hold_after=2))
    first = asyncio.create_task(send(client, "k1"))
    await model.wait_for_requests(1)
    second = asyncio.create_task(send(client, "k1", Last_Event_ID="2"))
    gate.set()
    whole = (await first).content
    assert (await second).content == b"retry: 2000\n\n" + whole[whole.index(b"id: 3\n") :]


async def test_a_first_request_with_a_last_event_id_is_answered_from_the_start(client: Client) -> None:
    """Of a reply that the client read of a former server, or whose claim has expired."""
    assert b"\nid: 1\n" in (await send(client, "k1", Last_Event_ID="7")).content


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Last-Event-ID": "4"}, "missing_idempotency_key"),
        ({"Last-Event-ID": "four", "Idempotency-Key": "k1"}, "invalid_last_event_id"),
    ],
)
async def test_a_last_event_id_that_would_send_again_is_refused(
    client: Client, model: ModelServer, headers: dict[str, str], code: str
) -> None:
    response = await client.request("POST", "/api/v1/chat", json=BODY, headers=headers)
    assert (response.status_code, response.json()["code"]) == (400, code)
    assert model.requests == []


async def test_a_blank_last_event_id_is_none(client: Client) -> None:
    response = await client.request("POST", "/api/v1/chat", json=BODY, headers={"Last-Event-ID": ""})
    assert response.status_code == 200


async def test_fifty_parallel_copies_make_one_run(client: Client, model: ModelServer) -> None:
    responses = await asyncio.gather(*(send(client, "k1") for _ in range(50)))
    assert {response.status_code for response in responses} == {200}
    assert len({response.content for response in responses}) == 1
    assert len(model.requests) == 1
    assert len(await client.history("s1")) == 2


async def test_another_body_with_the_same_key_is_422(client: Client, model: ModelServer) -> None:
    await send(client, "k1")
    response = await send(client, "k1", {**BODY, "message": "other"})
    assert (response.status_code, response.json()["code"]) == (422, "idempotency_key_reused")
    assert len(model.requests) == 1


async def test_what_was_refused_is_not_recorded(client: Client) -> None:
    assert (await send(client, "k1", {**BODY, "config_id": "nope"})).status_code == 400
    assert (await send(client, "k1", {**BODY, "message": ""})).status_code == 400
    assert (await send(client, "k1")).status_code == 200


async def test_a_failed_run_is_replayed_and_not_tried_again(client: Client, model: ModelServer) -> None:
    model.script(answers.status(500))
    first = await send(client, "k1")
    assert b'"type":"error"' in first.content
    assert (await send(client, "k1")).content == first.content
    assert len(model.requests) == 1


async def test_keys_are_the_api_keys_own_and_survive_its_rotation(server: Server, model: ModelServer) -> None:
    key, text = await server.core.keys.create(name="one", scopes=["chat"])
    async with Client(server, text) as one, Client(server, await server.new_key()) as other:
        first = await send(one, "k1")
        await send(other, "k1", {**BODY, "session_id": "s2"})
        assert len(model.requests) == 2
    _, rotated = await server.core.keys.rotate(key.id)
    async with Client(server, rotated) as one:
        assert (await send(one, "k1")).content == first.content
    assert len(model.requests) == 2


async def test_keys_survive_a_restart_and_end_after_a_day(start_server: StartServer, model: ModelServer) -> None:
    async with start_server() as server:
        text = await server.new_key()
        async with Client(server, text) as client:
            first = await send(client, "k1")
    async with start_server() as server, Client(server, text) as client:
        assert (await send(client, "k1")).content == first.content
        assert len(model.requests) == 1
        await server.core.database.write(
            lambda connection: connection.execute(
                update(IdempotencyRow).values(created_at=utc_now() - timedelta(hours=24))
            )
        )
        assert (await send(client, "k1")).content != first.content
    assert len(model.requests) == 2


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_a_key_that_is_none_is_400(client: Client, key: str) -> None:
    assert (await send(client, key)).status_code == 400


async def test_an_upload_is_stored_once(client: Client, server: Server) -> None:
    async def upload(key: str, content: bytes, name: str = "a.txt") -> httpx2.Response:
        files = {"file": (name, content)}
        return await client.request("POST", "/api/v1/file", files=files, headers={"Idempotency-Key": key})

    responses = await asyncio.gather(*(upload("u1", b"text") for _ in range(10)))
    assert {r.status_code for r in responses} == {200}
    assert len({r.json()["data"]["attachment_id"] for r in responses}) == 1
    assert (await upload("u1", b"other")).status_code == 422
    assert (await upload("u1", b"text", "b.txt")).status_code == 422
    objects = [path for path in (server.settings.data_dir / "attachments").rglob("*") if path.is_file()]
    assert len(objects) == 1


async def test_an_upload_that_is_broken_off_takes_its_claim_along(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken off when the row was just committed: neither the row nor the claim stays, and a retry stores the file."""
    from app.idempotency import record as real

    def record_and_be_cancelled(*arguments: Any) -> None:
        real(*arguments)
        monkeypatch.setattr("app.files.service.record", real)
        raise asyncio.CancelledError

    monkeypatch.setattr("app.files.service.record", record_and_be_cancelled)
    files, headers = {"file": ("a.txt", b"text")}, {"Idempotency-Key": "u1"}
    assert (await client.http.post("/api/v1/file", files=files, headers=headers)).status_code == 500
    response = await client.request("POST", "/api/v1/file", files=files, headers=headers)
    assert response.status_code == 200
    download = await client.http.get("/api/v1/file", params={"attachment_id": response.json()["data"]["attachment_id"]})
    assert download.content == b"text"


async def test_a_bot_message_is_sent_once(client: Client) -> None:
    body = {"umo": "webchat:FriendMessage:s1", "message": "News"}

    async def announce(sent: dict[str, str]) -> httpx2.Response:
        headers = {"Idempotency-Key": "m1"}
        return await client.request("POST", "/api/v1/im/message", json=sent, headers=headers)

    responses = await asyncio.gather(*(announce(body) for _ in range(20)))
    assert {r.status_code for r in responses} == {200}
    assert len({r.json()["data"]["message_id"] for r in responses}) == 1
    assert (await announce({**body, "message": "other"})).status_code == 422
    assert len(await client.history("s1", "s1")) == 1


async def test_a_bot_message_is_another_one_when_its_key_is_forgotten(client: Client, server: Server) -> None:
    """The key and the message are stored by one transaction: none outlives a crash without the other."""
    body = {"umo": "webchat:FriendMessage:s1", "message": "News"}
    headers = {"Idempotency-Key": "m1"}
    first = await client.request("POST", "/api/v1/im/message", json=body, headers=headers)
    await execute(server.core.database, "DELETE FROM idempotency_keys")
    second = await client.request("POST", "/api/v1/im/message", json=body, headers=headers)
    assert first.json()["data"]["delivery_id"] != second.json()["data"]["delivery_id"]
    assert len(await client.history("s1", "s1")) == 2


def test_claims_are_kept_for_a_day() -> None:
    assert timedelta(hours=24) == RETENTION


async def test_a_repeat_is_text_for_text_the_reply(client: Client) -> None:
    events = await client.chat("one two", session_id="s1")
    assert text_of(events) == "You said: one two"
