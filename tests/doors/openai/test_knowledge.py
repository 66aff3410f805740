"""Roles and the knowledge base through OpenAI's API."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai import AsyncOpenAI, NotFoundError

from tests.chat.test_profiles import write
from tests.doors.openai.conftest import shown
from tests.support.client import Client
from tests.support.knowledge import add_collection, add_text
from tests.support.model_server import ModelServer
from tests.support.server import Server

QUESTION = "How many days of paid holiday do employees have?"
ASKED: Any = [{"role": "user", "content": QUESTION}]


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    async with Client(server, await server.new_key("chat", "knowledge")) as made:
        await add_text(made, await add_collection(made))
        yield made


async def test_a_completion_says_what_was_used(openai: AsyncOpenAI, model: ModelServer) -> None:
    whole = await openai.chat.completions.create(model="default", messages=ASKED, extra_body={"knowledge": True})
    assert whole.model_extra is not None
    assert whole.model_extra["refs"][0]["title"] == "handbook.md"
    assert "thirty-one days" in shown(model)[-1][1]
    assert "knowledge" not in model.requests[-1].body


@pytest.mark.parametrize("session", [{"store": False}, {"session_id": "s1"}])
async def test_the_first_chunk_says_what_was_used_and_no_other(openai: AsyncOpenAI, session: dict[str, Any]) -> None:
    body = {"knowledge": ["handbook"], **session}
    stream = await openai.chat.completions.create(model="default", messages=ASKED, stream=True, extra_body=body)
    told = ["refs" in (chunk.model_extra or {}) for chunk in [chunk async for chunk in stream]]
    assert told[0]
    assert not any(told[1:])


async def test_an_answer_without_passages_has_no_refs(openai: AsyncOpenAI) -> None:
    asked: Any = [{"role": "user", "content": "Who painted the Sistine Chapel's ceiling?"}]
    whole = await openai.chat.completions.create(model="default", messages=asked, extra_body={"knowledge": True})
    assert "refs" not in (whole.model_extra or {})


async def test_the_results_of_tools_are_not_searched_for(openai: AsyncOpenAI, model: ModelServer) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages: Any = [
        *ASKED,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": QUESTION},
    ]
    body = {"knowledge": True, "store": False}
    await openai.chat.completions.create(model="default", messages=messages, extra_body=body)
    assert shown(model)[-1] == ("tool", QUESTION)


@pytest.mark.parametrize("knowledge", ["yes", [""], {"on": True}])
async def test_a_wish_that_cannot_be_is_400(client: Client, knowledge: Any) -> None:
    answer = await client.post("/v1/chat/completions", {"messages": ASKED, "knowledge": knowledge})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "knowledge"


async def test_an_unknown_collection_is_400(client: Client) -> None:
    answer = await client.post("/v1/chat/completions", {"messages": ASKED, "knowledge": ["x"], "store": False})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "collection_not_found"


async def test_a_role_is_a_model(server: Server, client: Client, openai: AsyncOpenAI, model: ModelServer) -> None:
    write(server, "poet", 'model = "verse-1"\n[parameters]\ntemperature = 0.9')
    role = {"name": "bard", "system_prompt": "Sing.", "config_id": "poet", "enable_l0_retrieval": True}
    assert (await client.post("/api/kernel2/roles", role)).json()["code"] == 0
    messages: Any = [{"role": "system", "content": "Do not sing."}, *ASKED]
    whole = await openai.chat.completions.create(model="role:bard", messages=messages, extra_body={"store": False})
    sent = model.requests[-1].body
    assert (sent["model"], sent["temperature"]) == ("verse-1", 0.9)
    assert shown(model)[0] == ("system", "Sing.")
    assert len(shown(model)) == 2
    assert "refs" in (whole.model_extra or {})
    assert "role:bard" in [entry.id async for entry in openai.models.list()]
    assert (await openai.models.retrieve("role:bard")).owned_by == "palaver"


async def test_a_role_in_a_session_takes_over_too(client: Client, openai: AsyncOpenAI, model: ModelServer) -> None:
    await client.post("/api/kernel2/roles", {"name": "bard", "system_prompt": "Sing."})
    body = {"session_id": "s1"}
    await openai.chat.completions.create(model="role:bard", messages=ASKED, extra_body=body)
    await openai.chat.completions.create(model="role:bard", messages=ASKED, extra_body=body)
    assert [role for role, _ in shown(model)] == ["system", "user", "assistant", "user"]
    assert shown(model)[0][1] == "Sing."


@pytest.mark.parametrize("name", ["role:nobody", "role:", "role: "])
async def test_an_unknown_role_is_a_model_that_is_not_there(openai: AsyncOpenAI, client: Client, name: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        await openai.chat.completions.create(model=name, messages=ASKED)
    assert caught.value.code in ("model_not_found", "role_not_found")
    with pytest.raises(NotFoundError):
        await openai.models.retrieve(name)


@pytest.mark.parametrize("result", [{}, {"content": None}, {"content": "ok"}, {"content": []}])
async def test_passages_stand_in_the_users_turn_before_the_results_of_tools(
    client: Client, model: ModelServer, result: dict[str, Any]
) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [*ASKED, {"role": "tool", "tool_call_id": "c1", **result}]
    body = {"messages": messages, "knowledge": True, "session_id": "s1", "tools": [{"type": "function", **call}]}
    response = await client.post("/v1/chat/completions", body)
    assert response.status_code == 200, response.text
    user, tool = model.requests[-1].body["messages"][-2:]
    assert "thirty-one days" in user["content"]
    assert tool == messages[-1]
