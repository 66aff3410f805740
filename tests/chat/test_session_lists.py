"""Making, marking, listing and deleting sessions."""

from datetime import timedelta
from typing import Any

import pytest

from app.clock import utc_now
from tests.support import answers
from tests.support.client import Client, text_of
from tests.support.model_server import ModelServer
from tests.support.server import Server

SESSIONS = "/api/v1/chat/sessions"


async def listed(client: Client, **params: Any) -> list[str]:
    response = await client.get(SESSIONS, username="alice", **params)
    assert response.status_code == 200, response.text
    return [session["session_id"] for session in response.json()["data"]["sessions"]]


async def change(client: Client, session_id: str, **changes: Any) -> dict[str, Any]:
    response = await client.request("PATCH", f"{SESSIONS}/{session_id}", json={"username": "alice", **changes})
    assert response.status_code == 200, response.text
    session: dict[str, Any] = response.json()["data"]
    return session


async def test_an_empty_session_is_made_and_gone_on_with(client: Client) -> None:
    body = {"username": " alice ", "session_id": "s1", "display_name": "Plans", "labels": ["garden"]}
    response = await client.post(SESSIONS, body)
    assert response.json()["data"] == {"session_id": "s1", "platform_id": "webchat"}
    session = (await client.get(f"{SESSIONS}/s1", username="alice")).json()["data"]
    assert (session["display_name"], session["labels"], session["pinned"]) == ("Plans", ["garden"], False)
    assert await client.history("s1") == []
    assert text_of(await client.chat("Hi", session_id="s1")) == "You said: Hi"
    again = await client.post(SESSIONS, body)
    assert (again.status_code, again.json()["code"]) == (409, "session_exists")
    new = await client.get(f"{SESSIONS}/new", username="alice", platform_id="webchat")
    assert new.json()["data"]["platform_id"] == "webchat"
    assert new.json()["data"]["session_id"] in await listed(client)
    headers = {"Idempotency-Key": "k1"}
    made = [await client.request("POST", SESSIONS, json={"username": "alice"}, headers=headers) for _ in range(2)]
    assert made[0].json() == made[1].json()
    assert len(await listed(client)) == 3


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "missing_key"),
        ({"username": "api:test"}, "username_reserved"),
        ({"username": "alice", "session_id": "v1:k:x"}, "invalid_session_id"),
        ({"username": "alice", "session_id": "x" * 256}, "invalid_session_id"),
        ({"username": "alice", "config_id": "nope"}, "config_not_found"),
        ({"username": "alice", "platform_id": "telegram1"}, "invalid_platform_id"),
        ({"username": "alice", "labels": [""]}, "invalid_request"),
        ({"username": "alice", "labels": ["a\0"]}, "invalid_request"),
        ({"username": "alice", "display_name": "\x1b"}, "invalid_request"),
    ],
)
async def test_a_wrong_session_is_not_made(client: Client, body: dict[str, Any], code: str) -> None:
    response = await client.post(SESSIONS, body)
    assert (response.status_code, response.json()["code"]) == (400, code)
    assert await listed(client) == []


async def test_labels_and_pins_are_set_and_listed_by(client: Client) -> None:
    for name in ("s1", "s2", "s3"):
        await client.chat("Hi", session_id=name)
    assert (await change(client, "s1", labels=["garden", 'a"b'], pinned=True))["labels"] == ["garden", 'a"b']
    await change(client, "s2", labels=["gardening"])
    assert await listed(client) == ["s3", "s2", "s1"]  # a label or a pin moves nothing up
    assert await listed(client, label="garden") == ["s1"]
    assert await listed(client, label='a"b') == ["s1"]
    assert await listed(client, label="gard") == []
    assert await listed(client, label='garden","a') == []
    assert await listed(client, pinned="true") == ["s1"]
    assert await listed(client, pinned="false") == ["s3", "s2"]
    assert (await change(client, "s1", labels=[], pinned=False))["pinned"] is False
    assert await listed(client, pinned="true") == []
    for wrong in ({"labels": "garden"}, {"labels": ["x" * 65]}, {"labels": ["l"] * 51}, {"pinned": "yes"}):
        response = await client.request("PATCH", f"{SESSIONS}/s1", json={"username": "alice", **wrong})
        assert (response.status_code, response.json()["code"]) == (400, "invalid_request")


async def test_sessions_are_listed_by_title_and_time(client: Client) -> None:
    await client.chat("Plants of the shade", session_id="s1")
    await client.chat("花园里的植物", session_id="s2")
    await client.chat("100% sure", session_id="s3")
    assert await listed(client, search="SHADE") == ["s1"]
    assert await listed(client, search="植物") == ["s2"]
    assert await listed(client, search="%") == ["s3"]
    assert await listed(client, search="nothing") == []
    sessions = (await client.get(SESSIONS, username="alice")).json()["data"]["sessions"]
    assert await listed(client, updated_after=sessions[1]["updated_at"]) == ["s3"]
    assert await listed(client, updated_after=(utc_now() + timedelta(days=1)).isoformat()) == []
    page = (await client.get(SESSIONS, username="alice", search="a", page_size=1)).json()["data"]
    assert page["total"] == 1


async def test_a_cursor_is_not_moved_by_what_happens_meanwhile(client: Client) -> None:
    for number in range(5):
        await client.chat("Hi", session_id=f"s{number}")
    seen: list[str] = []
    params: dict[str, Any] = {"page_size": 2}
    while True:
        data = (await client.get(SESSIONS, username="alice", **params)).json()["data"]
        seen += [session["session_id"] for session in data["sessions"]]
        if data["next_cursor"] is None:
            break
        params["cursor"] = data["next_cursor"]
        await client.chat("Hi", session_id=f"new{len(seen)}")
    assert seen == ["s4", "s3", "s2", "s1", "s0"]
    assert data["total"] > len(seen)


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"cursor": "x"}, "invalid_cursor"),
        ({"cursor": "é"}, "invalid_cursor"),
        ({"updated_after": "yesterday"}, "invalid_updated_after"),
        ({"updated_after": "0001-01-01T00:00:00+23:00"}, "invalid_updated_after"),
        ({"pinned": "maybe"}, "invalid_pinned"),
        ({"search": "a\0"}, "invalid_search"),
        ({"label": "a\0"}, "invalid_label"),
    ],
)
async def test_a_wrong_filter_is_400(client: Client, params: dict[str, str], code: str) -> None:
    response = await client.get(SESSIONS, username="alice", **params)
    assert (response.status_code, response.json()["code"]) == (400, code)


async def test_many_sessions_are_deleted_at_once(client: Client, model: ModelServer) -> None:
    model.script(answers.hang())
    async with client.chatting("Hi", session_id="s1") as events:
        run_id = (await anext(events)).data["run_id"]
    await client.post(SESSIONS, {"username": "alice", "session_id": "s2"})
    await client.post(SESSIONS, {"username": "bob", "session_id": "bobs"})
    body = {"username": "alice", "session_ids": ["s1", "s2", "nope", "bobs", "s2"]}
    response = await client.post(f"{SESSIONS}/batch-delete", body)
    assert response.json()["data"] == {
        "deleted_count": 2,
        "failed_count": 2,
        "failed_items": [
            {"session_id": "nope", "reason": "session_not_found"},
            {"session_id": "bobs", "reason": "session_not_yours"},
        ],
    }
    assert await listed(client) == []
    assert (await client.get(f"/api/v1/chat/runs/{run_id}")).status_code == 404
    assert (await client.get(f"{SESSIONS}/bobs", username="bob")).status_code == 200
    for ids in ([], ["x"] * 101, "s1", [5], [""]):
        response = await client.post(f"{SESSIONS}/batch-delete", {"username": "alice", "session_ids": ids})
        assert (response.status_code, response.json()["code"]) == (400, "invalid_request")


async def test_a_key_makes_and_deletes_sessions_of_its_own_user_only(server: Server, client: Client) -> None:
    await client.chat("Hi", session_id="s1")
    async with Client(server, await server.new_key(username="bob")) as bob:
        refused = [
            await bob.post(SESSIONS, {"username": "alice"}),
            await bob.get(f"{SESSIONS}/new", username="alice"),
            await bob.post(f"{SESSIONS}/batch-delete", {"username": "alice", "session_ids": ["s1"]}),
        ]
        assert [response.json()["code"] for response in refused] == ["username_not_allowed"] * 3
    async with Client(server, await server.new_key("config")) as other:
        refused = [
            await other.post(SESSIONS, {"username": "alice"}),
            await other.get(f"{SESSIONS}/new", username="alice"),
            await other.post(f"{SESSIONS}/batch-delete", {"username": "alice", "session_ids": ["s1"]}),
        ]
        assert [response.status_code for response in refused] == [403] * 3
    assert await listed(client) == ["s1"]
