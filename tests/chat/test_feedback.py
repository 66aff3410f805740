"""What people think of messages."""

from typing import Any

import httpx2
import pytest

from tests.support.client import Client
from tests.support.server import Server


async def give(client: Client, message_id: int, session_id: str = "s1", **body: Any) -> httpx2.Response:
    path = f"/api/v1/chat/sessions/{session_id}/messages/{message_id}/feedback"
    return await client.post(path, {"username": "alice", **body})


async def listed(client: Client, **params: Any) -> dict[str, Any]:
    response = await client.get("/api/v1/feedback", **params)
    assert response.status_code == 200, response.text
    data: dict[str, Any] = response.json()["data"]
    return data


async def test_an_opinion_is_given_changed_and_taken_back(client: Client) -> None:
    await client.chat("Hi", session_id="s1")
    reply = (await client.history("s1"))[1]
    given = (await give(client, reply["id"], rating="like", content=" To the point ")).json()["data"]["feedback"]
    assert (given["rating"], given["content"], given["username"]) == ("like", "To the point", "alice")
    assert (given["run_id"], given["session_id"], bool(given["model"])) == (reply["run_id"], "s1", True)
    assert (await give(client, reply["id"], rating="dislike")).json()["data"]["feedback"]["content"] == ""
    data = await listed(client, username="alice")
    assert [each["rating"] for each in data["feedback"]] == ["dislike"]
    assert (data["likes"], data["dislikes"], data["next_cursor"]) == (0, 1, None)
    assert (await give(client, reply["id"], rating=None)).json()["data"] == {"feedback": None}
    assert (await listed(client, username="alice"))["feedback"] == []


async def test_opinions_are_listed_page_by_page_and_counted(server: Server, client: Client) -> None:
    for number in range(3):
        await client.chat("Hi", session_id="s1")
        reply = (await client.history("s1"))[-1]
        await give(client, reply["id"], rating="dislike" if number == 1 else "like")
    await client.chat("Hi", session_id="bobs", username="bob")
    bobs = (await client.history("bobs", "bob"))[-1]
    await give(client, bobs["id"], "bobs", username="bob", content="Hm")
    data = await listed(client, username="alice", limit=2)
    assert (len(data["feedback"]), data["likes"], data["dislikes"]) == (2, 2, 1)
    assert len((await listed(client, username="alice", limit=-5))["feedback"]) == 1  # as pages are
    rest = await listed(client, username="alice", limit=2, cursor=data["next_cursor"])
    assert (len(rest["feedback"]), rest["next_cursor"]) == (1, None)
    assert len((await listed(client, username="alice", rating="dislike"))["feedback"]) == 1
    assert (await listed(client, username="alice", session_id="s2"))["likes"] == 0
    async with Client(server, await server.new_key("chat", "admin")) as admin:
        assert len((await listed(admin))["feedback"]) == 4
    await client.request("DELETE", "/api/v1/chat/sessions/s1", params={"username": "alice"})
    assert (await listed(client, username="alice"))["feedback"] == []


async def test_opinions_of_others_are_out_of_reach(server: Server, client: Client) -> None:
    await client.chat("Hi", session_id="s1")
    reply = (await client.history("s1"))[1]["id"]
    assert (await give(client, reply, username="bob", rating="like")).json()["code"] == "session_not_yours"
    assert (await give(client, reply, "nope", rating="like")).json()["code"] == "session_not_found"
    assert (await give(client, 99, rating="like")).json()["code"] == "message_not_found"
    assert (await client.get("/api/v1/feedback")).status_code == 403
    async with Client(server, await server.new_key("chat", "admin", username="bob")) as bob:
        assert (await give(bob, reply, rating="like")).json()["code"] == "username_not_allowed"
        for params in ({}, {"username": "alice"}):
            assert (await bob.get("/api/v1/feedback", **params)).json()["code"] == "username_not_allowed"
    async with Client(server, await server.new_key("config")) as other:
        assert (await give(other, reply, rating="like")).status_code == 403
        assert (await other.get("/api/v1/feedback", username="alice")).status_code == 403


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"rating": "meh"}, "invalid_request"),
        ({"content": "x" * 4001}, "invalid_content"),
        ({"content": "a\0"}, "invalid_content"),
        ({"content": 5}, "invalid_request"),
    ],
)
async def test_a_wrong_opinion_is_400(client: Client, body: dict[str, Any], code: str) -> None:
    await client.chat("Hi", session_id="s1")
    response = await give(client, (await client.history("s1"))[1]["id"], **body)
    assert (response.status_code, response.json()["code"]) == (400, code)


@pytest.mark.parametrize("params", [{"rating": "meh"}, {"cursor": "x"}, {"limit": "x"}, {"session_id": "a\0"}])
async def test_a_wrong_listing_is_400(client: Client, params: dict[str, str]) -> None:
    assert (await client.get("/api/v1/feedback", username="alice", **params)).status_code == 400
