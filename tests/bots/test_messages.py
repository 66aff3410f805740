"""`POST /api/v1/im/message` and `GET /api/v1/im/bots`: the contract's table, and whose session is whose."""

import asyncio
from typing import Any
from unittest.mock import ANY

import pytest

from app.bots.adapters.base import Capabilities, Target
from tests.bots.conftest import PNG, Im
from tests.conftest import StartServer
from tests.support.answers import reply
from tests.support.client import Client
from tests.support.model_server import ModelServer

WHERE = "webchat:FriendMessage:s1"


async def test_a_message_is_added_to_the_webchat_session(im: Im) -> None:
    status, body = await im.send(WHERE, "ping from api key")
    delivery_id = body["data"].pop("delivery_id")
    sent = {"message_id": "1", "message_ids": ["1"], "state": "sent", "umo": "webchat:FriendMessage:s1"}
    assert (status, body) == (200, {"status": "ok", "message": None, "data": sent})
    assert delivery_id
    assert await im.messages() == [("s1", [{"type": "plain", "text": "ping from api key"}])]


async def test_an_unknown_session_is_created_with_a_creator_named_like_it(im: Im) -> None:
    await im.send(WHERE)
    assert await im.creators() == {"s1": "s1"}


async def test_an_existing_session_keeps_its_creator(im: Im) -> None:
    await im.send("webchat:FriendMessage:webchat!alice!s1", "first")
    assert (await im.send(WHERE))[0] == 200
    assert await im.creators() == {"s1": "alice"}


async def test_the_longer_form_names_the_creator_and_the_session(im: Im) -> None:
    status, body = await im.send("webchat:FriendMessage:webchat!alice!s1")
    assert (status, body["data"]["umo"]) == (200, "webchat:FriendMessage:webchat!alice!s1")
    assert await im.creators() == {"s1": "alice"}
    assert [session for session, _ in await im.messages()] == ["s1"]


async def test_the_longer_form_does_not_reach_a_session_of_another_user(im: Im) -> None:
    await im.send("webchat:FriendMessage:webchat!bob!s1", "first")
    status, body = await im.send("webchat:FriendMessage:webchat!alice!s1")
    assert (status, body["message"]) == (403, "session_id belongs to another username")
    assert len(await im.messages()) == 1


@pytest.mark.parametrize("session", ["webchat!", "webchat!alice", "webchat!alice!", "webchat!!s1"])
async def test_a_longer_form_that_lacks_a_name_is_refused(im: Im, session: str) -> None:
    status, body = await im.send(f"webchat:FriendMessage:{session}")
    assert status == 400
    assert body["message"].startswith("Invalid umo: ")


async def test_the_session_part_may_contain_colons(im: Im) -> None:
    assert (await im.send("webchat:FriendMessage:a:b:c"))[0] == 200
    assert await im.creators() == {"a:b:c": "a:b:c"}


@pytest.mark.parametrize("message_type", ["FriendMessage", "GroupMessage", "OtherMessage"])
async def test_every_message_type_is_taken(im: Im, message_type: str) -> None:
    assert (await im.send(f"webchat:{message_type}:s1"))[0] == 200


@pytest.mark.databases("sqlite")  # refused before the database is asked
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"message": "x"}, "Missing key: umo"),
        ({"umo": None, "message": "x"}, "Missing key: umo"),
        ({}, "Missing key: umo"),
        ({"umo": WHERE}, "Missing key: message"),
        ({"umo": WHERE, "message": None}, "Missing key: message"),
        ({"umo": WHERE, "message": " "}, "Message content is empty (reply only is not allowed)"),
        ({"umo": WHERE, "message": []}, "Message content is empty (reply only is not allowed)"),
        (
            {"umo": WHERE, "message": [{"type": "reply", "message_id": 1}]},
            "Message content is empty (reply only is not allowed)",
        ),
        ({"umo": WHERE, "message": ["x"]}, "message part must be an object"),
        ({"umo": WHERE, "message": [{"type": "poke"}]}, "unsupported message part type: poke"),
        ({"umo": WHERE, "message": [{"type": "image"}]}, "image part missing attachment_id"),
        ({"umo": WHERE, "message": [{"type": "image", "attachment_id": "a9"}]}, "attachment not found: a9"),
        (
            {"umo": WHERE, "message": [{"type": "image", "path": "/etc/passwd"}]},
            "image part missing attachment_id",
        ),
    ],
)
async def test_a_body_that_lacks_something_is_refused_and_leaves_nothing(
    im: Im, body: dict[str, Any], message: str
) -> None:
    status, answer = await im.call("POST", "/api/v1/im/message", body)
    assert (status, answer["status"], answer["message"], answer["data"]) == (400, "error", message, None)
    assert (await im.creators(), await im.messages()) == ({}, [])


@pytest.mark.databases("sqlite")  # refused before the database is asked
@pytest.mark.parametrize(
    "umo",
    [
        "",
        "webchat",
        "webchat:FriendMessage",
        ":FriendMessage:s1",
        "webchat::s1",
        "webchat:friendmessage:s1",
        "webchat:FriendMessage:",
        "webchat:FriendMessage: ",
        "webchat:FriendMessage:a\nb",
        "webchat:FriendMessage:a\x00b",
        f"webchat:FriendMessage:{'s' * 256}",
        f"webchat:FriendMessage:webchat!{'u' * 256}!s1",
        f"webchat:FriendMessage:{'s' * 1000}",
        7,
        ["webchat:FriendMessage:s1"],
    ],
)
async def test_a_malformed_umo_is_refused(im: Im, umo: Any) -> None:
    status, answer = await im.send(umo)
    assert (status, answer["code"]) == (400, "invalid_umo")
    assert answer["message"].startswith("Invalid umo: ")
    assert len(answer["message"]) < 200


async def test_an_unknown_platform_is_not_found(im: Im) -> None:
    status, answer = await im.send("telegram:FriendMessage:1")
    assert (status, answer["message"]) == (404, "Bot not found or not running for platform: telegram")


async def test_a_disabled_bot_is_not_found(im: Im) -> None:
    bot = {"id": "rec", "adapter": "recording", "config": {}, "enabled": False}
    assert (await im.call("POST", "/api/v1/bots", bot))[0] == 201
    status, answer = await im.send("rec:FriendMessage:1")
    assert (status, answer["message"]) == (404, "Bot not found or not running for platform: rec")


async def test_parts_arrive_as_they_were_sent(im: Im) -> None:
    attachment_id = await im.upload()
    _, first = await im.send(WHERE, "that")
    parts = [
        {"type": "reply", "message_id": int(first["data"]["message_id"]), "selected_text": "that"},
        {"type": "plain", "text": "look"},
        {"type": "image", "attachment_id": attachment_id, "filename": "x.png"},
    ]
    assert (await im.send(WHERE, parts))[0] == 200
    assert (await im.messages())[1] == ("s1", parts)


async def test_messages_of_other_sessions_are_not_quoted(im: Im) -> None:
    _, first = await im.send(WHERE)
    quotation = {"type": "reply", "message_id": first["data"]["message_id"]}
    status, answer = await im.send("webchat:FriendMessage:s2", [quotation, {"type": "plain", "text": "x"}])
    assert (status, answer["code"]) == (400, "reply_not_found")
    assert await im.creators() == {"s1": "s1"}


async def test_a_bot_message_is_seen_in_the_history_and_does_not_disturb_a_reply(im: Im, model: ModelServer) -> None:
    gate = asyncio.Event()
    model.script(reply(["one ", "two"], gate=gate, hold_after=1))
    async with im.client.chatting("hi", session_id="s1", username="alice") as events:
        async for event in events:
            if event.type == "plain":
                break
        assert (await im.send(WHERE, "by the way"))[0] == 200
        gate.set()
        rest = [event async for event in events]
    assert rest[-1].type == "end"
    texts = {message["parts"][0]["text"] for message in await im.client.history("s1")}
    assert texts == {"hi", "one two", "by the way"}


async def test_a_platform_is_not_given_what_it_does_not_take(im: Im) -> None:
    await im.call("POST", "/api/v1/bots", {"id": "rec", "adapter": "recording", "config": {}})
    answers = [
        await im.send("rec:GroupMessage:1", [{"type": "image", "attachment_id": await im.upload()}]),
        await im.send("rec:GroupMessage:1", [{"type": "plain", "text": "x"}, {"type": "reply", "message_id": 1}]),
    ]
    assert [(status, answer["message"]) for status, answer in answers] == [
        (400, "rec does not take image parts"),
        (400, "rec does not take reply parts"),
    ]
    assert im.platform.sent == []
    status, answer = await im.send("rec:GroupMessage:1", "x" * 12)
    assert (status, answer["data"]["message_id"]) == (200, None)
    assert im.platform.sent == [(Target("GroupMessage", "1"), "x" * 10), (Target("GroupMessage", "1"), "xx")]


async def test_limits_hold(im: Im) -> None:
    assert (await im.send(WHERE, "x" * 101))[0] == 400
    assert (await im.send(WHERE, [{"type": "plain", "text": "x"}] * 6))[0] == 400
    assert (await im.send(WHERE, "x" * 5000))[0] == 413
    assert await im.messages() == []


async def test_only_keys_with_the_scope_may_send_and_list(im: Im) -> None:
    key = await im.server.new_key("chat", "file", "config", "admin")
    for status, answer in (await im.send(WHERE, key=key), await im.call("GET", "/api/v1/im/bots", key=key)):
        assert (status, answer["message"]) == (403, "Insufficient API key scope")


async def test_a_file_larger_than_the_platform_takes_is_refused_before_anything_is_sent(im: Im) -> None:
    im.platform.capabilities = Capabilities(max_upload_bytes=len(PNG) - 1)
    await im.call("POST", "/api/v1/bots", {"id": "rec", "adapter": "recording", "config": {}})
    parts = [{"type": "plain", "text": "look"}, {"type": "image", "attachment_id": await im.upload()}]
    status, answer = await im.send("rec:FriendMessage:1", parts)
    assert (status, answer["code"]) == (413, "file_too_large")
    assert str(len(PNG) - 1) in answer["message"]
    assert (await im.call("GET", "/api/v1/im/deliveries"))[1]["data"]["deliveries"] == []
    im.platform.capabilities = Capabilities(max_upload_bytes=len(PNG))
    assert (await im.send("rec:FriendMessage:1", parts))[0] == 200
    assert [text for _, text in im.platform.sent] == ["look", "cat.png"]


# A key that is bound to a user


async def test_a_bound_key_writes_to_its_users_session(im: Im) -> None:
    await im.send("webchat:FriendMessage:webchat!alice!s1", "first")
    key = await im.server.new_key("im", username="alice")
    assert (await im.send(WHERE, key=key))[0] == 200
    assert (await im.send("webchat:FriendMessage:webchat!alice!s1", key=key))[0] == 200
    assert len(await im.messages()) == 3


async def test_a_bound_keys_new_session_belongs_to_its_user(im: Im) -> None:
    assert (await im.send(WHERE, key=await im.server.new_key("im", username="alice")))[0] == 200
    assert await im.creators() == {"s1": "alice"}


async def test_a_bound_key_does_not_write_to_sessions_of_others(im: Im) -> None:
    await im.send("webchat:FriendMessage:webchat!bob!s1", "first")
    key = await im.server.new_key("im", username="alice")
    for umo in (WHERE, "webchat:FriendMessage:webchat!alice!s1", "webchat:FriendMessage:webchat!bob!s1"):
        assert (await im.send(umo, key=key))[0] == 403
    assert len(await im.messages()) == 1


async def test_a_username_with_an_exclamation_mark_opens_no_session_of_others(im: Im) -> None:
    key = await im.server.new_key("im", username="a!b")
    assert (await im.send("webchat:FriendMessage:webchat!a!b!s1", key=key))[0] == 200
    assert await im.creators() == {"s1": "a!b"}
    assert (await im.send("webchat:FriendMessage:webchat!a!x!s1", key=key))[0] == 403


async def test_a_bound_key_does_not_write_to_platforms(im: Im) -> None:
    await im.call("POST", "/api/v1/bots", {"id": "rec", "adapter": "recording", "config": {}})
    key = await im.server.new_key("im", username="alice")
    status, answer = await im.send("rec:FriendMessage:1", key=key)
    assert (status, answer["code"]) == (403, "username_not_allowed")
    assert im.platform.sent == []
    # And does not learn which there are.
    assert await im.send("other:FriendMessage:1", key=key) == (status, {**answer, "request_id": ANY})


async def test_a_bound_key_does_not_send_files_of_others(im: Im) -> None:
    alices = await im.upload(key=await im.server.new_key("file", username="alice"))
    bobs = await im.upload(key=await im.server.new_key("file", username="bob"))
    key = await im.server.new_key("im", username="alice")
    status, answer = await im.send(WHERE, [{"type": "image", "attachment_id": bobs}], key=key)
    assert (status, answer["message"]) == (400, f"attachment not found: {bobs}")
    assert (await im.send(WHERE, [{"type": "image", "attachment_id": alices}], key=key))[0] == 200


# Which bots there are


async def test_webchat_is_always_listed_and_disabled_bots_are_not(im: Im) -> None:
    assert (await im.call("GET", "/api/v1/im/bots"))[1]["data"] == {"bot_ids": ["webchat"]}
    await im.call("POST", "/api/v1/bots", {"id": "on", "adapter": "recording", "config": {}})
    await im.call("POST", "/api/v1/bots", {"id": "off", "adapter": "recording", "config": {}, "enabled": False})
    assert (await im.call("GET", "/api/v1/im/bots"))[1]["data"] == {"bot_ids": ["webchat", "on"]}


@pytest.mark.databases("postgresql")
async def test_repeats_on_two_servers_at_once_add_a_message_once(start_server: StartServer) -> None:
    async with start_server() as one, start_server() as other:
        key = await one.new_key("im", "chat")
        async with Client(one, key) as first, Client(other, key) as second:
            for number in range(8):
                body, headers = {"umo": WHERE, "message": f"m{number}"}, {"Idempotency-Key": f"k{number}"}
                answers = await asyncio.gather(
                    *(
                        each.request("POST", "/api/v1/im/message", json=body, headers=headers)
                        for each in (first, second) * 3
                    )
                )
                assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
                assert len({answer.json()["data"]["message_id"] for answer in answers}) == 1
            assert len(await first.history("s1", username="s1")) == 8
