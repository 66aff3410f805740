"""Sessions as files: exported, read, and imported again."""

import json
from typing import Any

import httpx2
import pytest

from tests.support import answers
from tests.support.client import Client
from tests.support.database import count_rows, execute
from tests.support.model_server import ModelServer
from tests.support.server import Server

SESSIONS = "/api/v1/chat/sessions"


async def export(client: Client, session_id: str = "s1", **params: str) -> str:
    response = await client.get(f"{SESSIONS}/{session_id}/export", **{"username": "alice", **params})
    assert response.status_code == 200, response.text
    return response.text


async def send(client: Client, text: str | bytes, username: str = "alice", **headers: str) -> httpx2.Response:
    headers = {"Content-Type": "application/jsonl", **headers}
    return await client.request(
        "POST", f"{SESSIONS}/import", params={"username": username}, content=text, headers=headers
    )


async def everything(client: Client, session_id: str, username: str = "alice") -> list[dict[str, Any]]:
    response = await client.get(f"{SESSIONS}/{session_id}/messages", username=username, all="true", limit=100)
    messages: list[dict[str, Any]] = response.json()["data"]["messages"]
    return messages[::-1]


def without_ids(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with their places in the list for ids."""
    places = {message["id"]: place for place, message in enumerate(messages)}
    return [
        {
            **message,
            "id": places[message["id"]],
            "parent_id": places.get(message["parent_id"]),
            "alternatives": [places[each] for each in message["alternatives"]],
            "run_id": None,
            "parts": [
                {**part, "message_id": places[int(part["message_id"])]} if part["type"] == "reply" else part
                for part in message["parts"]
            ],
        }
        for message in messages
    ]


async def make_tree(client: Client) -> None:
    await client.chat("one", session_id="s1")
    first = await client.history("s1")
    quoting = [{"type": "reply", "message_id": first[1]["id"]}, {"type": "plain", "text": "why?\n春天"}]
    await client.chat(quoting, session_id="s1")
    path = f"{SESSIONS}/s1/messages/{first[1]['id']}/regenerate"
    assert (await client.post(path, {"username": "alice"})).status_code == 200
    changes = {"username": "alice", "labels": ["garden"], "pinned": True, "display_name": "Plans"}
    await client.request("PATCH", f"{SESSIONS}/s1", json=changes)


async def test_an_exported_session_is_imported_with_all_its_branches(client: Client) -> None:
    await make_tree(client)
    text = await export(client)
    kinds = [json.loads(line)["type"] for line in text.splitlines()]
    assert kinds == ["session", *["message"] * 5, "end"]
    response = await send(client, text, username="bob")
    assert response.status_code == 200, response.text
    (imported,) = response.json()["data"]["sessions"]
    assert imported["message_count"] == 5
    session = (await client.get(f"{SESSIONS}/{imported['session_id']}", username="bob")).json()["data"]
    assert (session["display_name"], session["labels"], session["pinned"]) == ("Plans", ["garden"], True)
    copies = await everything(client, imported["session_id"], "bob")
    assert without_ids(copies) == without_ids(await everything(client, "s1"))
    assert (await client.get(SESSIONS, username="bob")).json()["data"]["total"] == 1
    # And again the same.
    again = (await send(client, await export(client, imported["session_id"], username="bob"), "bob")).json()["data"]
    assert without_ids(await everything(client, again["sessions"][0]["session_id"], "bob")) == without_ids(copies)


async def test_markdown_is_the_conversation_to_read(client: Client) -> None:
    await make_tree(client)
    text = await export(client, format="markdown")
    assert text.startswith("# Plans\n\n## User, 20")
    assert "\n\none\n\n## Assistant, " in text
    assert "why?" not in text  # which is off the path


async def test_a_reply_that_is_being_made_is_passed_over(client: Client, model: ModelServer) -> None:
    model.script(answers.hang())
    async with client.chatting("one", session_id="s1") as events:
        await anext(events)
        await model.wait_for_requests(1)
        await client.post("/api/v1/im/message", {"umo": "webchat:FriendMessage:s1", "message": "News!"})
        text = await export(client)
        (imported,) = (await send(client, text)).json()["data"]["sessions"]
        copies = await client.history(imported["session_id"])
        assert [message["parts"][0]["text"] for message in copies] == ["one", "News!"]
        await client.post(f"{SESSIONS}/s1/stop", {"username": "alice"})


async def test_a_long_session_is_exported_and_imported_whole(server: Server, client: Client) -> None:
    await client.chat("one", session_id="s1")
    row = (
        "INSERT INTO messages (session_id, parent_id, role, status, parts, reasoning, created_at) "
        "SELECT session_id, id, role, status, parts, reasoning, created_at FROM messages ORDER BY id DESC LIMIT 1"
    )
    for _ in range(449):
        await execute(server.core.database, row)
    text = await export(client)
    assert len(text.splitlines()) == 453
    (imported,) = (await send(client, text)).json()["data"]["sessions"]
    assert imported["message_count"] == 451
    assert len((await export(client, imported["session_id"])).splitlines()) == 453


async def test_a_repeat_with_the_same_key_imports_nothing_more(client: Client) -> None:
    await make_tree(client)
    text = await export(client)
    first = await send(client, text, **{"Idempotency-Key": "k1"})
    assert (await send(client, text, **{"Idempotency-Key": "k1"})).json() == first.json()
    assert (await client.get(SESSIONS, username="alice")).json()["data"]["total"] == 2
    other = await send(client, text, "bob", **{"Idempotency-Key": "k1"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert (await client.get(SESSIONS, username="bob")).json()["data"]["total"] == 0


async def test_files_of_others_become_text(client: Client, server: Server) -> None:
    async with Client(server, await server.new_key(username="carol")) as carol:
        upload = await carol.request("POST", "/api/v1/file", files={"file": ("secret.txt", b"secret")})
        attachment_id = upload.json()["data"]["attachment_id"]
    part = {"type": "file", "attachment_id": attachment_id, "filename": "secret.txt"}
    lines = [
        {"type": "session"},
        {"type": "message", "id": 7, "role": "user", "parts": [part], "created_at": "2026-01-01T00:00:00Z"},
        {"type": "end", "message_count": 1},
    ]
    (imported,) = (await send(client, "\n".join(map(json.dumps, lines)))).json()["data"]["sessions"]
    (message,) = await client.history(imported["session_id"])
    assert message["parts"] == [{"type": "plain", "text": "[file: secret.txt]"}]


HEAD = {"type": "session"}
MESSAGE: dict[str, Any] = {
    "type": "message",
    "id": 1,
    "role": "user",
    "parts": [],
    "created_at": "2026-01-01T00:00:00Z",
}


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["no json"],
        [HEAD],
        [HEAD, MESSAGE],
        [MESSAGE],
        [HEAD, HEAD],
        [HEAD, MESSAGE, {"type": "end", "message_count": 2}],
        [HEAD, MESSAGE, MESSAGE],
        [HEAD, {**MESSAGE, "parent_id": 5}],
        [HEAD, MESSAGE, {**MESSAGE, "id": 2}],
        [HEAD, {**MESSAGE, "role": "system"}],
        [HEAD, {**MESSAGE, "parts": [{"type": "plain"}]}],
        [HEAD, {**MESSAGE, "parts": [{"type": "plain", "text": 5}]}],
        [HEAD, {**MESSAGE, "parts": [{"type": "sound", "text": "x"}]}],
        [HEAD, {**MESSAGE, "parts": [{"type": "plain", "text": "a\0b"}]}],
        [HEAD, {**MESSAGE, "created_at": "0001-01-01T00:00:00+23:00"}, {"type": "end", "message_count": 1}],
        [HEAD, {**MESSAGE, "refs": [{"number": 1}]}],
        [HEAD, {"type": "end", "message_count": 0}, HEAD],
        [{**HEAD, "version": 2}],
        [{**HEAD, "display_name": "x" * 256}],
    ],
)
async def test_a_wrong_file_leaves_nothing(server: Server, client: Client, lines: list[Any]) -> None:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    response = await send(client, text)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_import"), response.text
    assert (await client.get(SESSIONS, username="alice")).json()["data"]["total"] == 0
    assert await count_rows(server.core.database, "sessions", "messages") == [0, 0]


async def test_sessions_of_others_are_neither_exported_nor_imported(server: Server, client: Client) -> None:
    await client.chat("Hi", session_id="s1")
    path = f"{SESSIONS}/s1/export"
    assert (await client.get(path, username="bob")).json()["code"] == "session_not_yours"
    assert (await client.get(f"{SESSIONS}/nope/export", username="bob")).status_code == 404
    assert (await client.get(path, username="alice", format="pdf")).json()["code"] == "invalid_format"
    async with Client(server, await server.new_key(username="bob")) as bob:
        assert (await bob.get(path, username="alice")).json()["code"] == "username_not_allowed"
        assert (await send(bob, "x")).json()["code"] == "username_not_allowed"
    async with Client(server, await server.new_key("config")) as other:
        assert (await other.get(path, username="alice")).status_code == 403
        assert (await send(other, "x")).status_code == 403
