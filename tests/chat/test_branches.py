"""The tree of a session: messages edited, answered again, chosen and deleted, over HTTP."""

import asyncio
from typing import Any

import httpx2
import pytest

from tests.support import answers
from tests.support.answers import numbered, reply
from tests.support.client import Client, SseEvent, text_of, types_of
from tests.support.model_server import ModelServer
from tests.support.server import Server

SESSIONS = "/api/v1/chat/sessions"


def path_of(message_id: int, session_id: str = "s1") -> str:
    return f"{SESSIONS}/{session_id}/messages/{message_id}"


async def edit(client: Client, message_id: int, text: str, **body: Any) -> dict[str, Any]:
    content = {"type": "user", "message": [{"type": "plain", "text": text}]}
    response = await client.request(
        "PATCH", path_of(message_id), json={"username": "alice", "content": content, **body}
    )
    assert response.status_code == 200, response.text
    data: dict[str, Any] = response.json()["data"]
    assert (data["needs_regenerate"], data["truncated_after_message"]) == (True, True)
    message: dict[str, Any] = data["message"]
    return message


async def regenerate(client: Client, message_id: int, **body: Any) -> list[SseEvent]:
    request = {"username": "alice", **body}
    async with client.stream("POST", f"{path_of(message_id)}/regenerate", json=request) as events:
        return [event async for event in events]


async def select(client: Client, message_id: int) -> dict[str, Any]:
    response = await client.post(f"{path_of(message_id)}/select", {"username": "alice"})
    assert response.status_code == 200, response.text
    message: dict[str, Any] = response.json()["data"]["message"]
    return message


async def delete(client: Client, message_id: int, **params: str) -> httpx2.Response:
    return await client.request("DELETE", path_of(message_id), params={"username": "alice", **params})


async def everything(client: Client) -> list[dict[str, Any]]:
    response = await client.get(f"{SESSIONS}/s1/messages", username="alice", all="true", limit=100)
    messages: list[dict[str, Any]] = response.json()["data"]["messages"]
    return messages[::-1]


def texts(messages: list[dict[str, Any]]) -> list[str]:
    return ["".join(part["text"] for part in message["parts"]) for message in messages]


async def test_a_plain_conversation_is_a_line(client: Client) -> None:
    for text in ("one", "two"):
        await client.chat(text, session_id="s1")
    messages = await client.history("s1")
    assert [message["parent_id"] for message in messages] == [None, *(message["id"] for message in messages[:-1])]
    assert all(message["alternatives"] == [] and message["on_path"] for message in messages)
    assert await everything(client) == messages


async def test_an_edited_message_is_a_new_one_beside_the_old_one(client: Client, model: ModelServer) -> None:
    for text in ("one", "two", "three"):
        await client.chat(text, session_id="s1")
    old = await client.history("s1")
    edited = await edit(client, old[2]["id"], "zwei")
    assert (edited["parent_id"], edited["alternatives"]) == (old[1]["id"], [old[2]["id"]])
    assert texts(await client.history("s1")) == ["one", "You said: one", "zwei"]
    model.requests.clear()
    events = await regenerate(client, edited["id"])
    assert text_of(events) == "You said: zwei"
    assert types_of(events)[:2] == ["session_id", "user_message_saved"]
    assert events[1].data["data"]["id"] == edited["id"]
    assert [message["content"] for message in model.requests[0].body["messages"][1:]] == [
        "one",
        "You said: one",
        "zwei",
    ]
    shown = await client.history("s1")
    assert texts(shown) == ["one", "You said: one", "zwei", "You said: zwei"]
    assert shown[2]["alternatives"] == [old[2]["id"]]
    assert texts(await everything(client)) == [*texts(old), "zwei", "You said: zwei"]


async def test_one_call_goes_back_to_an_alternative_and_all_that_followed_it(client: Client) -> None:
    for text in ("one", "two"):
        await client.chat(text, session_id="s1")
    old = await client.history("s1")
    edited = await edit(client, old[0]["id"], "uno")
    await regenerate(client, edited["id"])
    new = await client.history("s1")
    assert texts(new) == ["uno", "You said: uno"]
    message = await select(client, old[0]["id"])
    assert (message["on_path"], message["alternatives"]) == (True, [edited["id"]])
    assert texts(await client.history("s1")) == texts(old)
    await select(client, new[1]["id"])
    assert await client.history("s1") == new
    await client.chat("due", session_id="s1")
    assert texts(await client.history("s1")) == ["uno", "You said: uno", "due", "You said: due"]


async def test_any_reply_is_made_again_and_the_earlier_ones_are_kept(client: Client, model: ModelServer) -> None:
    model.script(reply(["first"]), reply(["second"]), reply(["again"]), reply(["third"]))
    await client.chat("one", session_id="s1")
    await client.chat("two", session_id="s1")
    old = await client.history("s1")
    events = await regenerate(client, old[1]["id"])
    assert text_of(events) == "again"
    assert [message["content"] for message in model.requests[2].body["messages"][1:]] == ["one"]
    shown = await client.history("s1")
    assert texts(shown) == ["one", "again"]
    assert shown[1]["alternatives"] == [old[1]["id"]]
    assert text_of(await regenerate(client, old[0]["id"], enable_streaming=False)) == "third"
    assert (await client.history("s1"))[1]["alternatives"] == [old[1]["id"], shown[1]["id"]]
    await select(client, old[1]["id"])
    assert texts(await client.history("s1")) == ["one", "first", "two", "second"]


async def test_another_model_answers_again(client: Client, model: ModelServer) -> None:
    await client.chat("one", session_id="s1")
    question, _ = await client.history("s1")
    await regenerate(client, question["id"], selected_model="model-2")
    assert model.requests[-1].body["model"] == "model-2"


async def test_a_deleted_turn_goes_with_all_its_replies_and_what_followed_moves_up(client: Client) -> None:
    for text in ("one", "two", "three"):
        await client.chat(text, session_id="s1")
    old = await client.history("s1")
    await regenerate(client, old[3]["id"])
    regenerated = (await client.history("s1"))[3]
    await select(client, old[3]["id"])
    response = await delete(client, old[3]["id"])
    assert response.json()["data"]["deleted_ids"] == [old[2]["id"], old[3]["id"], regenerated["id"]]
    shown = await client.history("s1")
    assert texts(shown) == ["one", "You said: one", "three", "You said: three"]
    assert shown[2]["parent_id"] == old[1]["id"]
    assert await everything(client) == shown
    assert (await delete(client, old[3]["id"])).status_code == 404


async def test_deleting_the_only_turn_leaves_an_empty_session(client: Client) -> None:
    await client.chat("one", session_id="s1")
    assert (await delete(client, (await client.history("s1"))[0]["id"])).status_code == 200
    assert await client.history("s1") == []
    assert text_of(await client.chat("two", session_id="s1")) == "You said: two"
    assert texts(await client.history("s1")) == ["two", "You said: two"]


async def test_deleting_an_edit_shows_the_old_text_again(client: Client) -> None:
    await client.chat("one", session_id="s1")
    old = await client.history("s1")
    edited = await edit(client, old[0]["id"], "uno")
    assert (await delete(client, edited["id"])).status_code == 200
    assert await client.history("s1") == old


@pytest.mark.parametrize("change", ["edit", "regenerate", "select", "delete"])
async def test_a_change_is_refused_while_a_reply_is_being_made_or_ends_it(
    client: Client, model: ModelServer, change: str
) -> None:
    model.script(reply(["fine"]), answers.hang(), reply(["after"]))
    await client.chat("one", session_id="s1")
    question, _ = await client.history("s1")
    path, content = path_of(question["id"]), {"type": "user", "message": "uno"}
    method, path, body = {
        "edit": ("PATCH", path, {"content": content}),
        "regenerate": ("POST", f"{path}/regenerate", {}),
        "select": ("POST", f"{path}/select", {}),
        "delete": ("DELETE", path, {}),
    }[change]

    async def ask(on_busy: str | None) -> httpx2.Response:
        values = {"username": "alice", **body, **({} if on_busy is None else {"on_busy": on_busy})}
        options = {"params": values} if method == "DELETE" else {"json": values}
        return await client.request(method, path, **options)

    async with client.chatting("two", session_id="s1") as events:
        run_id = (await anext(events)).data["run_id"]
        await model.wait_for_requests(2)
        for on_busy in (None, "reject"):
            refused = await ask(on_busy)
            assert (refused.status_code, refused.json()["code"]) == (409, "session_busy")
        assert (await ask("queue")).json()["code"] == "invalid_on_busy"
        assert len(await client.history("s1")) == 3
        response = await ask("interrupt")
        assert response.status_code == 200, response.text
    assert await client.run_status(run_id) == "stopped"
    assert "two" in texts(await everything(client))


async def test_a_repeat_with_the_same_key_is_done_once(client: Client, model: ModelServer) -> None:
    await client.chat("one", session_id="s1")
    question, answer = await client.history("s1")
    headers = {"Idempotency-Key": "k1"}
    body = {"username": "alice", "content": {"type": "user", "message": "uno"}}
    edits = [await client.request("PATCH", path_of(question["id"]), json=body, headers=headers) for _ in range(2)]
    assert edits[0].json() == edits[1].json()
    other = await client.request("PATCH", path_of(question["id"]), json={**body, "username": "alice "}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    edited = edits[0].json()["data"]["message"]["id"]
    model.requests.clear()
    path, body = f"{path_of(edited)}/regenerate", {"username": "alice", "on_busy": "interrupt"}
    replies = await asyncio.gather(*(client.request("POST", path, json=body, headers=headers) for _ in range(3)))
    assert len({response.content for response in replies}) == 1
    assert len(model.requests) == 1
    deletions = [
        await client.request("DELETE", path_of(edited), params={"username": "alice"}, headers=headers) for _ in range(2)
    ]
    assert [response.status_code for response in deletions] == [200, 200]
    assert deletions[0].json()["data"] == deletions[1].json()["data"]
    assert [message["id"] for message in await client.history("s1")] == [question["id"], answer["id"]]


async def test_a_message_of_the_bots_own_is_no_reply(client: Client) -> None:
    body = {"umo": "webchat:FriendMessage:s1", "message": "News!"}
    await client.chat("one", session_id="s1")
    assert (await client.post("/api/v1/im/message", body)).status_code == 200
    news = (await client.history("s1"))[-1]
    response = await client.post(f"{path_of(news['id'])}/regenerate", {"username": "alice"})
    assert (response.status_code, response.json()["code"]) == (409, "not_a_reply")
    response = await client.request(
        "PATCH", path_of(news["id"]), json={"username": "alice", "content": {"message": "x"}}
    )
    assert (response.status_code, response.json()["code"]) == (409, "not_the_users")
    assert (await delete(client, news["id"])).json()["data"]["deleted_ids"] == [news["id"]]
    assert texts(await client.history("s1")) == ["one", "You said: one"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "invalid_request"),
        ({"type": "bot", "message": "x"}, "invalid_request"),
        ({"type": "user"}, "empty_message"),
        ({"type": "user", "message": " "}, "empty_message"),
        ({"type": "user", "message": [{"type": "image", "attachment_id": "nope"}]}, "attachment_not_found"),
        ({"message": [{"type": "reply", "message_id": 99}, {"type": "plain", "text": "x"}]}, "reply_not_found"),
    ],
)
async def test_a_wrong_edit_changes_nothing(client: Client, content: Any, code: str) -> None:
    await client.chat("one", session_id="s1")
    before = await client.history("s1")
    response = await client.request("PATCH", path_of(before[0]["id"]), json={"username": "alice", "content": content})
    assert (response.status_code, response.json()["code"]) == (400, code)
    assert await everything(client) == before


async def calls(client: Client, session_id: str, message_id: int, username: str) -> list[httpx2.Response]:
    path = path_of(message_id, session_id)
    user = {"username": username}
    return [
        await client.request("PATCH", path, json={**user, "content": {"type": "user", "message": "x"}}),
        await client.post(f"{path}/regenerate", user),
        await client.post(f"{path}/select", user),
        await client.request("DELETE", path, params=user),
        await client.post(f"{SESSIONS}/{session_id}/fork", {**user, "message_id": message_id}),
    ]


async def test_turns_of_others_are_out_of_reach(server: Server, client: Client) -> None:
    await client.chat("one", session_id="s1")
    await client.chat("one", session_id="bobs", username="bob")
    message_id = (await client.history("s1"))[0]["id"]
    before = await everything(client)
    assert [each.status_code for each in await calls(client, "s1", message_id, "bob")] == [403] * 5
    assert [each.json()["code"] for each in await calls(client, "bobs", message_id, "bob")] == ["message_not_found"] * 5
    assert [each.status_code for each in await calls(client, "nope", message_id, "alice")] == [404] * 5
    assert [each.status_code for each in await calls(client, "s1", 10**30, "alice")] == [404] * 5
    async with Client(server, await server.new_key(username="bob")) as bob:
        assert [each.json()["code"] for each in await calls(bob, "s1", message_id, "alice")] == [
            "username_not_allowed"
        ] * 5
    async with Client(server, await server.new_key("config")) as other:
        assert [each.status_code for each in await calls(other, "s1", message_id, "alice")] == [403] * 5
    assert await everything(client) == before


async def test_turns_of_v1_sessions_are_edited_by_their_key_only(server: Server, client: Client) -> None:
    chat = {"messages": [{"role": "user", "content": "one"}], "session_id": "t1"}
    assert (await client.post("/v1/chat/completions", chat)).status_code == 200
    assert client.key is not None
    key = await server.core.keys.verify(client.key)
    session_id, username = f"v1:{key.key_id}:t1", key.creator
    history = await client.get(f"{SESSIONS}/{session_id}/messages", username=username)
    assert history.status_code == 200, history.text
    message_id = history.json()["data"]["messages"][-1]["id"]
    async with client.stream(
        "POST", f"{path_of(message_id, session_id)}/regenerate", json={"username": username}
    ) as events:
        assert text_of([event async for event in events]) == "You said: one"
    async with Client(server, await server.new_key()) as other:
        assert [each.status_code for each in await calls(other, session_id, message_id, username)] == [403] * 5


async def test_numbers_of_a_reply_follow_a_stop_in_mid_regenerate(client: Client, model: ModelServer) -> None:
    gate = asyncio.Event()
    model.script(reply(["fine"]), reply(numbered(4), gate=gate, hold_after=2))
    await client.chat("one", session_id="s1")
    _, answer = await client.history("s1")
    regenerating = asyncio.create_task(regenerate(client, answer["id"]))
    await model.wait_for_requests(2)
    assert texts(await client.history("s1")) == ["one"]
    await client.post(f"{SESSIONS}/s1/stop", {"username": "alice"})
    gate.set()
    await regenerating
    shown = await client.history("s1")
    assert shown[1]["status"] == "partial"
    assert shown[1]["alternatives"] == [answer["id"]]


async def test_a_fork_goes_on_independently(client: Client, model: ModelServer) -> None:
    await client.chat("one", session_id="s1")
    first = (await client.history("s1"))[1]["id"]
    quoting = [{"type": "reply", "message_id": first}, {"type": "plain", "text": "why?"}]
    await client.chat(quoting, session_id="s1")
    await client.chat("three", session_id="s1")
    old = await client.history("s1")
    body = {"username": "alice", "message_id": old[3]["id"]}
    session = (await client.post(f"{SESSIONS}/s1/fork", body)).json()["data"]
    assert (session["creator"], session["platform_id"], session["display_name"]) == ("alice", "webchat", "one")
    copies = await client.history(session["session_id"])
    assert [message["role"] for message in copies] == ["user", "assistant"] * 2
    assert [message["parent_id"] for message in copies] == [None, *(message["id"] for message in copies[:-1])]
    assert copies[2]["parts"][0] == {"type": "reply", "message_id": copies[1]["id"]}
    assert [message["created_at"] for message in copies] == [message["created_at"] for message in old[:4]]
    model.requests.clear()
    await client.chat("four", session_id=session["session_id"])
    assert "> You said: one" in model.requests[0].body["messages"][3]["content"]
    assert await client.history("s1") == old
    assert len(await client.history(session["session_id"])) == 6


async def test_a_fork_is_made_of_any_branch(client: Client) -> None:
    await client.chat("one", session_id="s1")
    await client.chat("two", session_id="s1")
    old = await client.history("s1")
    edited = await edit(client, old[0]["id"], "uno")
    body = {"username": "alice", "message_id": old[2]["id"], "session_id": "s2"}
    response = await client.post(f"{SESSIONS}/s1/fork", body)
    assert response.json()["data"]["session_id"] == "s2"
    assert texts(await client.history("s2")) == ["one", "You said: one", "two"]
    assert texts(await client.history("s1")) == ["uno"]
    path, body = f"{SESSIONS}/s1/fork", {"username": "alice", "message_id": edited["id"], "session_id": "s2"}
    again = await client.post(path, body)
    assert (again.status_code, again.json()["code"]) == (409, "session_exists")
    for name in ("v1:k:x", "a\x00b", "x" * 256):
        refused = await client.post(path, {**body, "session_id": name})
        assert refused.status_code in (400, 403), refused.text
    headers = {"Idempotency-Key": "k1"}
    body = {"username": "alice", "message_id": edited["id"]}
    forks = [await client.request("POST", path, json=body, headers=headers) for _ in range(2)]
    assert forks[0].json() == forks[1].json()


async def test_a_fork_of_a_v1_session_is_the_keys_too(server: Server, client: Client) -> None:
    chat = {"messages": [{"role": "user", "content": "one"}], "session_id": "t1"}
    await client.post("/v1/chat/completions", chat)
    assert client.key is not None
    key = await server.core.keys.verify(client.key)
    session_id = f"v1:{key.key_id}:t1"
    listed = await client.get(f"{SESSIONS}/{session_id}/messages", username=key.creator)
    body = {"username": key.creator, "message_id": listed.json()["data"]["messages"][0]["id"]}
    session = (await client.post(f"{SESSIONS}/{session_id}/fork", body)).json()["data"]
    assert session["session_id"].startswith(f"v1:{key.key_id}:")
    name = session["session_id"].removeprefix(f"v1:{key.key_id}:")
    chat = {"messages": [{"role": "user", "content": "two"}], "session_id": name}
    assert (await client.post("/v1/chat/completions", chat)).status_code == 200
    other = await client.post(f"{SESSIONS}/{session_id}/fork", {**body, "session_id": "v1:other:x"})
    assert (other.status_code, other.json()["code"]) == (403, "session_not_yours")
