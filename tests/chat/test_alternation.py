"""What a model server is shown begins with the user, and its turns alternate, whatever the session has been through."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest

from tests.chat.test_profiles import write
from tests.support.answers import Answer, reply, status, tool_calls
from tests.support.client import Client, text_of
from tests.support.model_server import ModelServer
from tests.support.server import Server

V1 = "/v1/chat/completions"
PROMPT = ("system", "You are a helpful assistant.")
CONTINUED = ("user", "[The conversation continues here.]")


def strict(body: Mapping[str, Any]) -> Answer:
    """Answer as a chat template of Gemma or Mistral does: 400 unless user and assistant take turns."""
    roles = [message["role"] for message in body["messages"] if message["role"] != "system"]
    if roles[0] != "user" or any(first == second for first, second in pairwise(roles)):
        return status(400, message="Conversation roles must alternate user/assistant/user/assistant/...")
    if str(body["messages"][-1]["content"]).endswith("boom"):
        return status(500)
    return reply(["fine"])


@pytest.fixture(autouse=True)
def _strict_model(model: ModelServer) -> None:
    model.default = strict


def shown(model: ModelServer) -> list[tuple[str, Any]]:
    return [(message["role"], message["content"]) for message in model.requests[-1].body["messages"]]


async def say_as_bot(client: Client, text: str, session_id: str) -> None:
    body = {"umo": f"webchat:FriendMessage:{session_id}", "message": text}
    assert (await client.post("/api/v1/im/message", body)).status_code == 200


async def test_a_question_without_a_reply_is_joined_to_the_next_one(client: Client, model: ModelServer) -> None:
    await client.chat("boom", session_id="s1")
    await client.chat("boom", session_id="s1")
    assert text_of(await client.chat("hello again", session_id="s1")) == "fine"
    assert shown(model) == [PROMPT, ("user", "boom\n\nboom\n\nhello again")]
    assert text_of(await client.chat("and now?", session_id="s1")) == "fine"
    assert shown(model)[2:] == [("assistant", "fine"), ("user", "and now?")]


async def test_a_bots_messages_are_joined_to_the_reply_before_them(client: Client, model: ModelServer) -> None:
    await client.chat("hi", session_id="s1")
    await say_as_bot(client, "News", "s1")
    await say_as_bot(client, "More news", "s1")
    assert text_of(await client.chat("thanks", session_id="s1")) == "fine"
    assert shown(model)[1:] == [("user", "hi"), ("assistant", "fine\n\nNews\n\nMore news"), ("user", "thanks")]


async def test_a_bots_message_that_begins_the_session_has_a_turn_of_the_users_before_it(
    client: Client, model: ModelServer
) -> None:
    await say_as_bot(client, "News", "p")
    assert text_of(await client.chat("thanks", username="p", session_id="p")) == "fine"
    assert shown(model) == [PROMPT, CONTINUED, ("assistant", "News"), ("user", "thanks")]
    assert text_of(await client.chat("bye", username="p", session_id="p")) == "fine"
    assert shown(model)[-2:] == [("assistant", "fine"), ("user", "bye")]


@pytest.mark.parametrize("max_messages", range(7))
async def test_any_length_of_history_begins_with_the_user(
    server: Server, client: Client, model: ModelServer, max_messages: int
) -> None:
    write(server, "default", f"[history]\nmax_messages = {max_messages}")
    for number in range(4):
        assert text_of(await client.chat(f"question {number}", session_id="s1")) == "fine"
    assert shown(model)[-1][0] == "user"
    assert shown(model)[-1][1].endswith("question 3")


async def test_history_cut_by_its_tokens_begins_with_the_user(
    server: Server, client: Client, model: ModelServer
) -> None:
    write(server, "default", "[history]\nmax_tokens = 40")
    for length in (10, 60, 100, 5, 120, 30):
        assert text_of(await client.chat("x" * length, session_id="s1")) == "fine"


async def test_a_websocket_and_a_request_that_is_not_streamed_are_shown_the_same(
    client: Client, model: ModelServer
) -> None:
    await client.chat("boom", session_id="s1", enable_streaming=False)
    await client.chat("hello again", session_id="s1", enable_streaming=False)
    assert shown(model) == [PROMPT, ("user", "boom\n\nhello again")]


async def test_sessions_of_openais_door_alternate_too(client: Client, model: ModelServer) -> None:
    def body(*messages: tuple[str, Any]) -> dict[str, Any]:
        return {"session_id": "s", "messages": [{"role": role, "content": content} for role, content in messages]}

    assert (await client.post(V1, body(("user", "boom")))).status_code == 502
    parts = [{"type": "text", "text": "hello"}, {"type": "image_url", "image_url": {"url": "https://example.org/a"}}]
    answer = await client.post(V1, body(("system", "Be brief"), ("user", parts)))
    assert answer.status_code == 200, answer.text
    assert shown(model) == [("system", "Be brief"), ("user", [{"type": "text", "text": "boom\n\nhello"}, parts[1]])]
    # What the caller sends together is its own; the session remembers it as one message.
    assert (await client.post(V1, body(("user", "one"), ("user", "two")))).status_code == 400
    assert shown(model)[-2:] == [("user", "one"), ("user", "two")]
    assert (await client.post(V1, body(("user", "three")))).status_code == 200
    assert shown(model)[-1] == ("user", "one\ntwo\n\nthree")


async def test_a_stateless_conversation_is_the_callers_own(client: Client, model: ModelServer) -> None:
    messages = [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}]
    assert (await client.post(V1, {"messages": messages, "store": False})).status_code == 400
    assert model.requests[-1].body["messages"] == messages


async def test_calls_and_their_results_are_left_as_they_are(server: Server, client: Client, model: ModelServer) -> None:
    write(server, "default", "[history]\nmax_messages = 2")
    results = [{"role": "tool", "tool_call_id": "c1", "content": "sunny"}]
    model.script(tool_calls(("c1", "weather", "{}")), reply(["It is sunny"]))
    await client.post(V1, {"session_id": "s", "messages": [{"role": "user", "content": "weather?"}]})
    await client.post(V1, {"session_id": "s", "messages": results})
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    assert model.requests[-1].body["messages"] == [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        *results,
    ]
    # The question is left out by now: calls and results keep their places behind a stand-in.
    model.script(reply(["You are welcome"]))
    write(server, "default", "[history]\nmax_messages = 3")
    await client.post(V1, {"session_id": "s", "messages": [{"role": "user", "content": "thanks"}]})
    sent = model.requests[-1].body["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "assistant", "user"]
    assert sent[0]["content"] == CONTINUED[1]
