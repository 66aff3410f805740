"""Server tools behind `/v1` and Second Me: the text is shown, a client's own tools still go back to the client."""

import json
from typing import Any

import openai
import pytest

from tests.support import answers
from tests.support.answers import reply
from tests.support.client import Client
from tests.support.model_server import ModelServer
from tests.support.server import Server
from tests.tools.test_steps import use

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
HI = [{"role": "user", "content": "Hi"}]


def openai_client(server: Server, key: str) -> Any:  # whose types want more than plain JSON
    return openai.AsyncOpenAI(base_url=f"{server.base_url}/v1", api_key=key, max_retries=0)


async def chunks_of(client: Client, **body: Any) -> list[dict[str, Any]]:
    """The chunks of a stream without its `[DONE]`."""
    async with client.http.stream(
        "POST", "/v1/chat/completions", json={"messages": HI, "stream": True, **body}
    ) as answer:
        lines = [line.removeprefix("data: ") async for line in answer.aiter_lines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def deltas(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [choice["delta"] for chunk in chunks for choice in chunk["choices"]]


@pytest.mark.parametrize("stateless", [True, False])
async def test_a_stream_has_the_text_of_all_steps_and_one_end(
    server: Server, client: Client, model: ModelServer, stateless: bool
) -> None:
    use(server, "now")
    step = answers.with_usage(answers.tool_calls(("c1", "now", "{}"), text=["Let me ", "look. "]), (10, 0, 2))
    model.script(step, reply(["Late."], usage=(20, 0, 3)))
    chunks = await chunks_of(client, stream_options={"include_usage": True}, store=not stateless)
    assert "".join(delta.get("content") or "" for delta in deltas(chunks)) == "Let me look. Late."
    assert not any("tool_calls" in delta for delta in deltas(chunks))
    ends = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]]
    assert ends == ["stop"]
    assert len({chunk["id"] for chunk in chunks}) == 1
    (usage,) = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (30, 5, 35)


async def test_a_completion_has_the_text_and_usage_of_all_steps(
    server: Server, client: Client, model: ModelServer
) -> None:
    use(server, "now")
    step = answers.with_usage(answers.tool_calls(("c1", "now", "{}"), text=["Let me look. "]), (10, 0, 2))
    model.script(step, reply(["Late."], usage=(20, 0, 3)))
    answer = await client.post("/v1/chat/completions", {"messages": HI})
    completion = answer.json()
    assert completion["choices"][0]["message"]["content"] == "Let me look. Late."
    assert completion["choices"][0]["finish_reason"] == "stop"
    assert completion["usage"]["total_tokens"] == 35
    assert "palaver" not in completion


async def test_include_shows_the_calls(server: Server, client: Client, model: ModelServer) -> None:
    use(server, "now")
    script = answers.tool_calls(("c1", "now", '{"timezone":"UTC"}')), reply(["Late."])
    model.script(*script, *script)
    include = ["palaver.tools"]
    members = [chunk["palaver"] for chunk in await chunks_of(client, include=include) if "palaver" in chunk]
    assert members[0]["tool_call"]["name"] == "now"
    assert members[1]["tool_call_result"]["status"] == "ok"
    completion = (await client.post("/v1/chat/completions", {"messages": HI, "include": include})).json()
    assert [call["id"] for call in completion["palaver"]["tool_calls"]] == ["c1"]
    assert all("include" not in request.body for request in model.requests)


@pytest.mark.parametrize("stream", [True, False])
async def test_the_openai_client_runs_its_own_tools_beside_the_servers(
    server: Server, client: Client, model: ModelServer, stream: bool
) -> None:
    """The step calls both kinds: ours are carried out first, the client's calls answer."""
    use(server, "now")
    model.script(
        answers.tool_calls(("c1", "now", "{}"), ("c2", "weather", '{"city": "Oslo"}'), text=["Hm. "]), reply(["Sunny."])
    )
    async with openai_client(server, client.key or "") as sdk:
        if stream:
            async with sdk.chat.completions.stream(model="default", messages=HI, tools=[WEATHER]) as events:
                message = (await events.get_final_completion()).choices[0].message
        else:
            answer = await sdk.chat.completions.create(model="default", messages=HI, tools=[WEATHER])
            message = answer.choices[0].message
            assert answer.choices[0].finish_reason == "tool_calls"
        (call,) = message.tool_calls
        assert (call.id, call.function.name, call.function.arguments) == ("c2", "weather", '{"city": "Oslo"}')
        assert message.content == "Hm. "
        messages = [
            *HI,
            {
                "role": "assistant",
                "content": message.content,
                "tool_calls": [call.model_dump(exclude={"index", "parsed"})],
            },
            {"role": "tool", "tool_call_id": "c2", "content": "sun"},
        ]
        last = await sdk.chat.completions.create(model="default", messages=messages, tools=[WEATHER])
    assert last.choices[0].message.content == "Sunny."
    assert [tool["function"]["name"] for tool in model.requests[0].body["tools"]] == ["weather", "now"]


async def test_a_clients_tool_of_the_same_name_is_the_clients(
    server: Server, client: Client, model: ModelServer
) -> None:
    use(server, "now")
    own = {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}
    model.script(answers.tool_calls(("c1", "now", "{}")))
    completion = (await client.post("/v1/chat/completions", {"messages": HI, "tools": [own]})).json()
    assert completion["choices"][0]["message"]["tool_calls"][0]["id"] == "c1"
    assert len(model.requests) == 1


async def test_a_clients_calls_alone_come_as_the_model_server_sent_them(
    server: Server, client: Client, model: ModelServer
) -> None:
    use(server, "now")
    calls = answers.tool_calls(("c1", "weather", '{"city": "Oslo"}'), ("c2", "weather", '{"city": "Bergen"}'))
    model.script(calls, calls)
    with_tools = deltas(await chunks_of(client, tools=[WEATHER]))
    use(server)
    assert with_tools == deltas(await chunks_of(client, tools=[WEATHER]))


async def test_twenty_calls_in_one_step(server: Server, client: Client, model: ModelServer) -> None:
    use(server, "now", more="max_steps = 3\n")
    zones = ["UTC", *(f"Etc/GMT+{n}" for n in range(1, 13)), *(f"Etc/GMT-{n}" for n in range(1, 8))]
    calls = [(f"c{n}", "now", json.dumps({"timezone": zone})) for n, zone in enumerate(zones)]
    model.script(answers.tool_calls(*calls), reply(["Late."]))
    completion = (await client.post("/v1/chat/completions", {"messages": HI, "include": ["palaver.tools"]})).json()
    assert [call["id"] for call in completion["palaver"]["tool_calls"]] == [call[0] for call in calls]
    assert {call["status"] for call in completion["palaver"]["tool_calls"]} == {"ok"}


async def test_tools_use_false_turns_the_servers_tools_off(server: Server, client: Client, model: ModelServer) -> None:
    use(server, "now")
    await client.post("/v1/chat/completions", {"messages": HI, "tools_use": False})
    assert "tools" not in model.requests[-1].body
    assert "tools_use" not in model.requests[-1].body


async def test_second_me_shows_the_text(server: Server, client: Client, model: ModelServer) -> None:
    use(server, "now")
    model.script(answers.tool_calls(("c1", "now", "{}"), text=["Let me look. "]), reply(["Late."]))
    answer = await client.post("/api/kernel2/chat", {"messages": HI, "stream": False})
    assert answer.json()["choices"][0]["message"]["content"] == "Let me look. Late."
