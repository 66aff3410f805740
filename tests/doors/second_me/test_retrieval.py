"""Passages of the knowledge base before the model: who turns it on, and what is said of it."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.doors.openai.conftest import shown
from tests.doors.second_me.test_roles import create
from tests.support import answers
from tests.support.client import Client
from tests.support.knowledge import add_collection, add_text
from tests.support.model_server import ModelServer
from tests.support.server import Server

CHAT = "/api/kernel2/chat"
ASKED: Any = [{"role": "user", "content": "How many days of paid holiday do employees have?"}]
FOUND = "thirty-one days"


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    async with Client(server, await server.new_key("chat", "knowledge")) as made:
        await add_text(made, await add_collection(made))
        await add_collection(made, "empty")
        yield made


async def is_shown(client: Client, model: ModelServer, **body: Any) -> bool:
    """Whether the model was shown the passage, which the answer then tells."""
    response = await client.post(CHAT, {"messages": ASKED, "stream": False, **body})
    assert response.status_code == 200, response.text
    told = FOUND in str(shown(model))
    assert [ref["title"] for ref in response.json().get("refs", [])] == (["handbook.md"] if told else [])
    return told


async def test_a_request_turns_it_on_and_says_where(client: Client, model: ModelServer) -> None:
    for fields, wanted in (
        ({}, False),
        ({"metadata": {"enable_l0_retrieval": True}}, True),
        ({"enable_l0_retrieval": True}, True),
        ({"enable_l0_retrieval": True, "metadata": {"enable_l0_retrieval": False}}, False),
        ({"metadata": {"enable_l0_retrieval": True, "collections": ["handbook"]}}, True),
        ({"metadata": {"enable_l0_retrieval": True, "collections": ["empty"]}}, False),
        ({"metadata": {"collections": ["handbook"]}}, True),
        ({"metadata": {"enable_l0_retrieval": False, "collections": ["handbook"]}}, False),
    ):
        assert await is_shown(client, model, **fields) is wanted, fields
    unknown = {"enable_l0_retrieval": True, "collections": ["nowhere"]}
    response = await client.post(CHAT, {"messages": ASKED, "metadata": unknown})
    assert (response.status_code, response.json()["code"]) == (400, 400)
    assert "nowhere" in response.json()["message"]


async def test_a_roles_own_flag_goes_before_the_requests(client: Client, model: ModelServer) -> None:
    await create(client, name="Clerk", enable_l0_retrieval=True)
    await create(client, name="Poet")
    await create(client, name="Idler", enable_l0_retrieval=True, collections=["empty"])
    for flag in (True, False, None):
        for name, wanted in (("Clerk", True), ("Poet", False), ("Idler", False)):
            metadata = {"role_id": name, "enable_l0_retrieval": flag, "collections": ["handbook"]}
            assert await is_shown(client, model, metadata=metadata) is wanted, (name, flag)


async def test_users_are_shown_their_own_and_the_shared_collections(
    server: Server, client: Client, model: ModelServer
) -> None:
    async with (
        Client(server, await server.new_key("chat", "knowledge", username="alice")) as alice,
        Client(server, await server.new_key("chat", username="bob")) as bob,
    ):
        await add_text(alice, await add_collection(alice, "hers"), "The safe's number is twenty-two eleven.")
        asked = {"messages": [{"role": "user", "content": "What is the safe's number?"}], "enable_l0_retrieval": True}
        for who, wanted in ((alice, True), (bob, False)):
            assert (await who.post(CHAT, asked)).status_code == 200
            assert ("twenty-two eleven" in str(shown(model))) is wanted


async def test_the_first_chunk_says_what_was_used_though_the_model_server_begins_with_none(
    client: Client, model: ModelServer
) -> None:
    model.script(
        answers.raw(
            b'data: {"id":"x","choices":[],"prompt_filter_results":[]}\n\n'
            b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"A"}}]}\n\n'
            b'data: {"id":"x","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
            b"data: [DONE]\n\n"
        )
    )
    response = await client.http.post(CHAT, json={"messages": ASKED, "enable_l0_retrieval": True})
    first, last, done, _ = response.text.split("\n\n")
    assert done == "data: [DONE]"
    assert json.loads(first.removeprefix("data: "))["refs"][0]["title"] == "handbook.md"
    assert "refs" not in json.loads(last.removeprefix("data: "))
