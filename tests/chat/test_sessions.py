"""Sessions and their messages over HTTP (section 4)."""

import time
from datetime import timedelta
from typing import Any

import pytest

from app.clock import utc_now
from tests.support.client import Client, text_of
from tests.support.database import execute
from tests.support.model_server import ModelServer
from tests.support.server import Server

SESSIONS = "/api/v1/chat/sessions"


async def listed(client: Client, **params: Any) -> dict[str, Any]:
    response = await client.get(SESSIONS, **{"username": "alice", **params})
    assert response.status_code == 200, response.text
    page: dict[str, Any] = response.json()["data"]
    return page


async def test_sessions_are_listed_the_newest_first(client: Client) -> None:
    for name in ("s1", "s2", "s3", "s1"):
        await client.chat("Hi", session_id=name)
    await client.chat("Hi", session_id="bobs", username="bob")
    page = await listed(client)
    assert [session["session_id"] for session in page["sessions"]] == ["s1", "s3", "s2"]
    assert (page["page"], page["page_size"], page["total"]) == (1, 20, 3)
    session = page["sessions"][0]
    assert (session["platform_id"], session["creator"], session["is_group"]) == ("webchat", "alice", 0)
    assert session["created_at"] < session["updated_at"]


@pytest.mark.parametrize(
    ("params", "page", "page_size", "shown"),
    [
        ({"page": 2, "page_size": 2}, 2, 2, ["s1"]),
        ({"page": 0}, 1, 20, ["s3", "s2", "s1"]),
        ({"page": -7}, 1, 20, ["s3", "s2", "s1"]),
        ({"page_size": 0}, 1, 1, ["s3"]),
        ({"page_size": 1000}, 1, 100, ["s3", "s2", "s1"]),
        ({"page": 9}, 9, 20, []),
        ({"platform_id": "webchat"}, 1, 20, ["s3", "s2", "s1"]),
        ({"platform_id": "qq"}, 1, 20, []),
    ],
)
async def test_paging(client: Client, params: dict[str, Any], page: int, page_size: int, shown: list[str]) -> None:
    for name in ("s1", "s2", "s3"):
        await client.chat("Hi", session_id=name)
    answer = await listed(client, **params)
    assert (answer["page"], answer["page_size"]) == (page, page_size)
    assert [session["session_id"] for session in answer["sessions"]] == shown


async def test_a_page_past_any_end_is_empty(client: Client) -> None:
    await client.chat("Hi")
    assert (await listed(client, page=10**30))["sessions"] == []


@pytest.mark.parametrize("params", [{"page": "x"}, {"page_size": "1.5"}, {"page": ""}])
async def test_pages_are_integers(client: Client, params: dict[str, str]) -> None:
    response = await client.get(SESSIONS, username="alice", **params)
    assert (response.status_code, response.json()["message"]) == (400, "page and page_size must be integers")


@pytest.mark.parametrize(
    ("params", "message"), [({}, "Missing key: username"), ({"username": " "}, "username is empty")]
)
async def test_the_username_is_asked_for(client: Client, params: dict[str, str], message: str) -> None:
    for path in (SESSIONS, f"{SESSIONS}/s1", f"{SESSIONS}/s1/messages"):
        response = await client.get(path, **params)
        assert (response.status_code, response.json()["message"]) == (400, message)


async def test_a_title_comes_from_the_first_message(client: Client, model: ModelServer) -> None:
    await client.chat("  What shall we\nplant in the garden this spring, when the last frost is over and done?")
    await client.chat("春天我们在花园里种什么好呢?" * 10, session_id="zh")
    titles = [session["display_name"] for session in (await listed(client))["sessions"]]
    assert titles[1] == "What shall we plant in the garden this spring, when the…"
    assert titles[0].startswith("春天我们") and len(titles[0]) <= 60
    assert len(model.requests) == 2
    await client.chat("\x1b[31mRed\x07 alert")
    assert (await listed(client))["sessions"][0]["display_name"] == "[31mRed alert"


async def test_a_session_can_be_read_renamed_and_deleted(client: Client) -> None:
    await client.chat("Hi", session_id="s1")
    one = f"{SESSIONS}/s1"
    assert (await client.get(one, username="alice")).json()["data"]["display_name"] == "Hi"
    change = {"username": "alice", "display_name": "Plans"}
    assert (await client.request("PATCH", one, json=change)).json()["data"]["display_name"] == "Plans"
    change = {"username": "alice", "display_name": None}  # type: ignore[dict-item]
    assert (await client.request("PATCH", one, json=change)).json()["data"]["display_name"] is None
    assert (await client.request("DELETE", one, params={"username": "alice"})).status_code == 200
    for method in ("GET", "DELETE"):
        assert (await client.request(method, one, params={"username": "alice"})).status_code == 404
    assert (await client.get(f"{one}/messages", username="alice")).status_code == 404
    assert (await listed(client))["total"] == 0


async def test_someone_elses_session_is_403_everywhere(client: Client) -> None:
    await client.chat("Hi", session_id="s1")
    one, bob = f"{SESSIONS}/s1", {"username": "bob"}
    responses = [
        await client.get(one, **bob),
        await client.get(f"{one}/messages", **bob),
        await client.request("PATCH", one, json={**bob, "display_name": "mine"}),
        await client.request("DELETE", one, params=bob),
        await client.post(f"{one}/stop", bob),
    ]
    assert [response.status_code for response in responses] == [403] * 5
    assert {response.json()["message"] for response in responses} == {"session_id belongs to another username"}
    assert len(await client.history("s1")) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"display_name": 5},
        {"display_name": "x" * 256},
        {"display_name": "a\0b"},
        {"display_name": "\x1b[31m"},
        {"config_id": "nope"},
    ],
)
async def test_a_wrong_change_is_400(client: Client, change: dict[str, Any]) -> None:
    await client.chat("Hi", session_id="s1")
    response = await client.request("PATCH", f"{SESSIONS}/s1", json={"username": "alice", **change})
    assert response.status_code == 400


async def test_messages_come_page_by_page_the_newest_first(client: Client) -> None:
    for n in range(4):
        await client.chat(f"m{n}", session_id="s1")
    path = f"{SESSIONS}/s1/messages"
    seen: list[int] = []
    params: dict[str, Any] = {"username": "alice", "limit": 3}
    while True:
        page = (await client.get(path, **params)).json()["data"]
        seen += [message["id"] for message in page["messages"]]
        if not page["has_more"]:
            break
        params["before"] = seen[-1]
    assert len(seen) == 8
    assert seen == sorted(seen, reverse=True)


@pytest.mark.parametrize("params", [{"before": "x"}, {"before": "0"}, {"limit": "x"}, {"before": "-3"}])
async def test_message_positions_are_integers(client: Client, params: dict[str, str]) -> None:
    await client.chat("Hi", session_id="s1")
    assert (await client.get(f"{SESSIONS}/s1/messages", username="alice", **params)).status_code == 400


@pytest.mark.databases("sqlite")  # the statements are the same, and to make the rows takes long
@pytest.mark.xdist_group("timing")
async def test_a_session_of_100000_messages_is_never_loaded_whole_defect_27(
    server: Server, client: Client, model: ModelServer
) -> None:
    """A page and a turn read what they show: 50 messages reach the model, and no page is farther than another."""
    await client.chat("first", session_id="s1")
    now = utc_now()
    rows = [
        (
            "s1",
            ("user", "assistant")[n % 2],
            '[{"type":"plain","text":"m"}]',
            (now + timedelta(seconds=n)).isoformat(" "),
        )
        for n in range(100_000)
    ]
    insert = "INSERT INTO messages (session_id, role, status, parts, reasoning, created_at) "
    values = [(*row[:2], row[2], row[3].removesuffix("+00:00")) for row in rows]
    await execute(server.core.database, insert + "VALUES (?, ?, 'complete', ?, '', ?)", values)
    began = time.perf_counter()
    for before in (None, 50_000, 60):
        params = {} if before is None else {"before": before}
        page = (await client.get(f"{SESSIONS}/s1/messages", username="alice", **params)).json()["data"]
        assert len(page["messages"]) == 50
    model.requests.clear()
    assert text_of(await client.chat("last", session_id="s1")) == "You said: last"
    assert time.perf_counter() - began < 5
    assert len(model.requests[0].body["messages"]) == 52  # the system prompt, 50 of history, the new one


async def test_the_paths_below_a_session_take_their_own_methods_only(server: Server, client: Client) -> None:
    for path in ("messages/7", "stop", "fork", "messages/7/select"):
        answer = await client.http.get(f"/api/v1/chat/sessions/garden/{path}?username=alice")
        assert (path, answer.status_code) == (path, 405)
    # Ids may hold slashes, and what only begins like a longer path is one.
    assert (await client.http.get("/api/v1/chat/sessions/garden/messages/7th?username=alice")).status_code == 404


async def test_a_title_is_one_line_to_its_last_character(client: Client) -> None:
    await client.chat("Hi", session_id="s1")
    body = {"username": "alice", "display_name": "New\n"}
    answer = await client.http.patch("/api/v1/chat/sessions/s1", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
