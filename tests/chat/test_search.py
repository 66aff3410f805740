"""Words in a user's messages and titles."""

import asyncio
from typing import Any

import pytest

from app.chat.search.service import snippet_of
from tests.support import answers
from tests.support.client import Client
from tests.support.database import count_rows
from tests.support.model_server import ModelServer
from tests.support.server import Server

SESSIONS = "/api/v1/chat/sessions"


async def search(client: Client, words: str, username: str = "alice", **params: Any) -> dict[str, Any]:
    """What is found once all is indexed."""
    async with asyncio.timeout(20):
        while True:
            response = await client.get("/api/v1/chat/search", q=words, username=username, **params)
            assert response.status_code == 200, response.text
            data: dict[str, Any] = response.json()["data"]
            if data["complete"]:
                return data


async def texts(client: Client, words: str, username: str = "alice", **params: Any) -> list[str]:
    messages = (await search(client, words, username, **params))["messages"]
    return [each["message"]["parts"][0]["text"] for each in messages]


async def test_messages_are_found_by_all_of_their_words(client: Client) -> None:
    await client.chat("What grows in the shade?", session_id="s1")
    await client.chat("春天我们在花园里种什么好呢", session_id="s2")
    await client.chat("Gardening in Zürich, E-1042", session_id="s3")
    assert await texts(client, "SHADE grow") == ["You said: What grows in the shade?", "What grows in the shade?"]
    assert await texts(client, "shade garden") == []
    assert (await texts(client, "gardens"))[-1] == "Gardening in Zürich, E-1042"
    assert len(await texts(client, "zurich e1042")) == 2
    assert len(await texts(client, "花园")) == 2
    assert len(await texts(client, "种什么")) == 2
    assert len(await texts(client, "园")) == 2
    assert await texts(client, "公园") == []
    assert await texts(client, "?!") == []
    found = (await search(client, "shade"))["messages"][1]
    assert (found["session_id"], found["display_name"]) == ("s1", "What grows in the shade?")
    assert found["snippet"] == "What grows in the shade?"
    assert 0 < found["score"] < 1


async def test_what_is_new_is_found_and_what_is_deleted_is_not(client: Client) -> None:
    await client.chat("apples", session_id="s1")
    assert len(await texts(client, "apples")) == 2
    await client.chat("pears", session_id="s1")
    assert len(await texts(client, "pears")) == 2
    first = (await client.history("s1"))[0]["id"]
    content = {"type": "user", "message": "plums"}
    path = f"{SESSIONS}/s1/messages/{first}"
    await client.request("PATCH", path, json={"username": "alice", "content": content})
    assert await texts(client, "plums") == ["plums"]
    assert len(await texts(client, "apples")) == 2  # on another branch
    await client.request("DELETE", path, params={"username": "alice"})
    assert await texts(client, "apples") == []
    await client.request("DELETE", f"{SESSIONS}/s1", params={"username": "alice"})
    assert await texts(client, "pears") == []


async def test_a_reply_is_found_once_it_is_made(client: Client, model: ModelServer) -> None:
    gate = asyncio.Event()
    model.script(answers.reply(["quinces ", "are fine"], gate=gate, hold_after=1))
    sending = asyncio.create_task(client.chat("fruit", session_id="s1"))
    await model.wait_for_requests(1)
    assert await texts(client, "fruit") == ["fruit"]
    assert await texts(client, "quinces") == []
    gate.set()
    await sending
    assert await texts(client, "quinces") == ["quinces are fine"]


async def test_found_messages_come_page_by_page(client: Client) -> None:
    for number in range(5):
        await client.chat(f"apple {number}", session_id=f"s{number}")
    seen: list[str] = []
    params: dict[str, Any] = {"limit": 4}
    while True:
        data = await search(client, "apple", **params)
        seen += [each["message"]["parts"][0]["text"] for each in data["messages"]]
        assert bool(data["sessions"]) == ("cursor" not in params)
        if data["next_cursor"] is None:
            break
        params["cursor"] = data["next_cursor"]
    assert seen == [text for n in reversed(range(5)) for text in (f"You said: apple {n}", f"apple {n}")]


async def test_titles_are_found_too(client: Client) -> None:
    await client.chat("Hi", session_id="s1")
    await client.request("PATCH", f"{SESSIONS}/s1", json={"username": "alice", "display_name": "100% Plans"})
    assert [each["session_id"] for each in (await search(client, "0% plan"))["sessions"]] == ["s1"]
    assert (await search(client, "0_ plan"))["sessions"] == []


async def test_only_those_who_search_are_indexed(server: Server, client: Client) -> None:
    await client.chat("apples", session_id="s1")
    await client.chat("apples", session_id="bobs", username="bob")
    assert await count_rows(server.core.database, "search_owners", "search_sessions") == [0, 0]
    assert await texts(client, "apples", "bob") == ["You said: apples", "apples"]
    assert await count_rows(server.core.database, "search_owners", "search_sessions") == [1, 1]


async def test_searches_see_their_own_users_messages_only(server: Server, client: Client) -> None:
    await client.chat("secret apples", session_id="s1")
    assert await texts(client, "secret", "bob") == []
    assert await texts(client, "secret") != []
    assert await texts(client, "secret", "bob") == []
    async with Client(server, await server.new_key(username="bob")) as bob:
        refused = await bob.get("/api/v1/chat/search", q="secret", username="alice")
        assert refused.json()["code"] == "username_not_allowed"
    async with Client(server, await server.new_key("config")) as other:
        assert (await other.get("/api/v1/chat/search", q="secret", username="alice")).status_code == 403


async def test_a_key_finds_what_was_said_through_it_only(server: Server, client: Client) -> None:
    """Keys of one name share the creator of their sessions."""
    chat = {"messages": [{"role": "user", "content": "secret apples"}], "session_id": "t1"}
    await client.post("/v1/chat/completions", chat)
    assert client.key is not None
    creator = (await server.core.keys.verify(client.key)).creator
    assert len(await texts(client, "secret", creator)) == 2
    async with Client(server, await server.new_key()) as other:  # of the same name
        assert await texts(other, "secret", creator) == []


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({}, "missing_key"),
        ({"q": " "}, "missing_key"),
        ({"q": "a\0"}, "invalid_q"),
        ({"q": "x" * 501}, "invalid_q"),
        ({"q": "x", "cursor": "y"}, "invalid_cursor"),
        ({"q": "x", "limit": "y"}, "invalid_limit"),
    ],
)
async def test_a_wrong_search_is_400(client: Client, params: dict[str, str], code: str) -> None:
    response = await client.get("/api/v1/chat/search", username="alice", **params)
    assert (response.status_code, response.json()["code"]) == (400, code)


@pytest.mark.parametrize("words", ["'", '"', "a'b\"c\\d", "AND OR NOT", "* : & | !", "a-b NEAR(x)", "ไทย ภาษา"])
async def test_no_query_is_an_error(client: Client, words: str) -> None:
    await client.chat(f"x {words}", session_id="s1")
    await search(client, words)
    assert (await search(client, "said"))["messages"]


def test_a_snippet_stands_around_the_first_word() -> None:
    text = "word " * 100 + "needle in the haystack " + "more " * 100
    snippet = snippet_of(text, ["needl"])
    assert snippet.startswith("…word ") and "needle in the haystack" in snippet and snippet.endswith("…")
    assert len(snippet) <= 162
