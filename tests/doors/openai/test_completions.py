"""The official client sees through Palaver what it sees from the model server itself."""

import asyncio
import json
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests.doors.openai.conftest import check_silence_is_filled, shown
from tests.support import answers
from tests.support.answers import Answer, reply
from tests.support.client import Client
from tests.support.model_server import ModelServer
from tests.support.server import Server

HI: Any = [{"role": "user", "content": "hi"}]
PROMPT = ("system", "You are a helpful assistant.")
WEATHER: Any = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


def events(*chunks: dict[str, Any] | str) -> Answer:
    texts = (each if isinstance(each, str) else json.dumps(each) for each in chunks)
    return answers.raw(b"".join(b"data: %b\n\n" % text.encode() for text in texts) + b"data: [DONE]\n\n")


def chunk(**values: Any) -> dict[str, Any]:
    return {"id": "x", "object": "chat.completion.chunk", "created": 7, "model": "m-2026", **values}


FANCY = events(
    chunk(choices=[], prompt_filter_results=[{"prompt_index": 0}]),
    chunk(choices=[{"index": 0, "delta": {"role": "assistant", "content": "", "refusal": None}}], usage=None),
    chunk(
        choices=[
            {
                "index": 0,
                "delta": {"content": "A"},
                "logprobs": {"content": [{"token": "A", "logprob": -0.1, "bytes": [65], "top_logprobs": []}]},
            }
        ],
        system_fingerprint="fp_1",
        service_tier="flex",
    ),
    chunk(choices=[{"index": 1, "delta": {"role": "assistant", "content": "B"}}]),
    chunk(choices=[{"index": 0, "delta": {"reasoning_content": "hm", "reasoning": "hm"}}]),
    chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}], usage=None),
    chunk(choices=[{"index": 1, "delta": {}, "finish_reason": "length"}]),
)


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"index": 0, "delta": {"content": text, **more}, "finish_reason": None}


def same_around(*choices: dict[str, Any], behind: str = "") -> list[str]:
    """Chunks that differ in their choices only, byte for byte, as most model servers write them."""
    head = '{"id":"x","object":"chat.completion.chunk","created":7,"model":"m-2026","choices":['
    return [f"{head}{json.dumps(choice, separators=(',', ':'))}]{behind}}}" for choice in choices]


CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ALIKE = events(
    *same_around(
        said("", role="assistant"), said("a"), said('}],"usage":{}}'), said('"id":"y"'), said("b", id="of ours")
    ),
    *same_around(said("c", tool_calls=[CALL]), said("\u2028 \\u0022")),
    # What stands around the choices changes, is there twice, or stands somewhere else.
    *same_around(said("d"), said("e"), behind=',"usage":null'),
    *same_around(said("as at first")),
    *same_around(said("f"), behind=',"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3},"x":[{}]'),
    *same_around(said("as at first")),
    *same_around(said("g"), behind=',"created":8,"id":"z","x":[{}]'),
    '{"choices":[],"id":"x","object":"chat.completion.chunk","created":7,"model":"m-2026"}',
    '{"choices":[{"index":0,"delta":{"content":"h"}}],"created":9,"id":"y","model":"another"}',
    *same_around({"index": 0, "delta": {}, "finish_reason": "stop"}),
)
REFUSAL = events(
    chunk(choices=[{"index": 0, "delta": {"role": "assistant", "refusal": "I cannot"}}]),
    chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "content_filter"}]),
)


async def chunks_of(client: AsyncOpenAI, **request: Any) -> list[dict[str, Any]]:
    """The chunks that a client sees, without their ids, of which Palaver's have but one."""
    request = {"model": "gpt-4.1-mini", "messages": HI, **request}
    stream = await client.chat.completions.create(stream=True, **request)
    seen = [each.model_dump(exclude_unset=True) async for each in stream]
    ids = {each.pop("id") for each in seen}
    assert len(ids) == 1 or ids == {"x", "y", "z"}
    return seen


@pytest.mark.parametrize(
    "answer",
    [
        reply(["Hel", "lo", " wörld"], usage=(7, 2, 3)),
        reply(["a", "b"], one_write=True),
        reply(["yes"], reasoning=["let ", "me"]),
        reply(["cut"], finish_reason="length"),
        answers.tool_calls(("call_1", "weather", '{"city": "Paris"}'), ("call_2", "time", "{}"), text=["Hm"]),
        FANCY,
        REFUSAL,
        ALIKE,
        answers.held_open(["a"]),
    ],
)
@pytest.mark.parametrize("usage", [False, True])
async def test_the_chunks_are_those_of_the_model_server(
    openai: AsyncOpenAI, direct: AsyncOpenAI, model: ModelServer, answer: Answer, usage: bool
) -> None:
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if usage else {}
    model.script(answer, answer)
    through, itself = await chunks_of(openai, **options), await chunks_of(direct, **options)
    for each in itself if answer in (FANCY, ALIKE) else ():
        if not usage:
            each.pop("usage", None)
        # One reply has one time, and each chunk says what it is.
        each.update(created=7, object="chat.completion.chunk")
    assert through == itself


@pytest.mark.parametrize(
    "answer",
    [
        reply(["Hel", "lo"], usage=(7, 2, 3)),
        reply(["yes"], reasoning=["hm"]),
        answers.tool_calls(("call_1", "weather", '{"city": "Paris"}')),
        reply([], finish_reason="length"),
    ],
)
async def test_the_completion_is_that_of_the_model_server(
    openai: AsyncOpenAI, direct: AsyncOpenAI, model: ModelServer, answer: Answer
) -> None:
    model.script(answer, answer)
    seen = []
    for client in (openai, direct):
        completion = await client.chat.completions.create(model="gpt-4.1-mini", messages=HI)
        seen.append(completion.model_dump(exclude_unset=True, exclude={"id"}))
    assert seen[0] == seen[1]
    assert model.requests[0].body["stream"] is False


async def test_usage_is_the_model_servers_own_defect_23(
    openai: AsyncOpenAI, client: Client, model: ModelServer
) -> None:
    model.script(reply(["a"], usage=(7, 2, 3)), reply(["a"], usage=(7, 2, 3)))
    named = {"session_id": "s"}
    completion = await openai.chat.completions.create(model="gpt-4.1-mini", messages=HI, extra_body=named)
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (7, 3)
    await chunks_of(openai, extra_body=named)
    run_id = completion.id.removeprefix("chatcmpl-")
    run = (await client.get(f"/api/v1/chat/runs/{run_id}")).json()["data"]
    history = await client.history(run["session_id"], "api:test")
    assert [m["token_usage"] for m in history if m["role"] == "assistant"] == [
        {"input_other": 5, "input_cached": 2, "output": 3}
    ] * 2


async def test_what_palaver_does_not_own_reaches_the_model_server(openai: AsyncOpenAI, model: ModelServer) -> None:
    params: dict[str, Any] = {
        "temperature": 0.3,
        "top_p": 0.5,
        "max_completion_tokens": 5,
        "stop": ["x"],
        "seed": 7,
        "tools": [WEATHER],
        "tool_choice": "auto",
        "logit_bias": {"5": 1},
        "metadata": {"a": "b"},
        "store": True,
        "user": "u",
    }
    extra = {"top_k": 4, "chat_template_kwargs": {"thinking": False}}
    ours = {"session_id": "s", "on_busy": "queue"}
    await openai.chat.completions.create(model="gpt-4.1-mini", messages=HI, **params, extra_body={**extra, **ours})
    sent = dict(model.requests[0].body)
    assert sent.pop("messages") == [dict(zip(("role", "content"), PROMPT, strict=True)), *HI]
    assert sent == {"model": "gpt-4.1-mini", "stream": False, **params, **extra}


async def test_a_server_that_does_not_stream_is_made_to(openai: AsyncOpenAI, model: ModelServer) -> None:
    model.script(answers.not_sse(["Hello", " you"]))
    seen = await chunks_of(openai, stream_options={"include_usage": True})
    assert seen[0]["choices"][0]["delta"] == {"role": "assistant", "content": "Hello you"}
    assert seen[1]["choices"][0]["finish_reason"] == "stop"
    assert seen[2]["usage"]["completion_tokens"] == 2


async def test_the_stream_helper_and_tools(openai: AsyncOpenAI, model: ModelServer) -> None:
    model.script(reply(["Hel", "lo"]), answers.tool_calls(("call_1", "weather", '{"city": "Paris"}')))
    async with openai.chat.completions.stream(model="gpt-4.1-mini", messages=HI) as stream:
        texts = [event.delta async for event in stream if event.type == "content.delta"]
        whole = await stream.get_final_completion()
    assert (texts, whole.choices[0].message.content) == (["", "Hel", "lo"], "Hello")
    async with openai.chat.completions.stream(model="gpt-4.1-mini", messages=HI, tools=[WEATHER]) as stream:
        calls = (await stream.get_final_completion()).choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].function.arguments == '{"city": "Paris"}'


class Point(BaseModel):
    x: int


async def test_parse(openai: AsyncOpenAI, model: ModelServer) -> None:
    model.script(reply(['{"x"', ": 4}"]))
    parsed = await openai.chat.completions.parse(model="gpt-4.1-mini", messages=HI, response_format=Point)
    assert parsed.choices[0].message.parsed == Point(x=4)
    assert model.requests[0].body["response_format"]["json_schema"]["name"] == "Point"


async def test_the_synchronous_client(server: Server, client: Client, model: ModelServer) -> None:
    def talk() -> tuple[str | None, str]:
        with OpenAI(base_url=f"{server.base_url}/v1", api_key=client.key, max_retries=0) as openai:
            whole = openai.chat.completions.create(model="gpt-4.1-mini", messages=HI).choices[0].message.content
            stream = openai.chat.completions.create(model="gpt-4.1-mini", messages=HI, stream=True)
            return whole, "".join(each.choices[0].delta.content or "" for each in stream)

    assert await asyncio.to_thread(talk) == ("You said: hi", "You said: hi")


async def test_the_wire_of_a_stream(client: Client, model: ModelServer) -> None:
    model.script(reply(["a"]))
    body = {"messages": HI, "stream": True}
    response = await client.http.post("/v1/chat/completions", json=body, headers={"Accept-Encoding": "gzip"})
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert "content-encoding" not in response.headers
    assert response.headers["cache-control"] == "no-cache, no-transform"
    assert response.headers["x-request-id"]
    frames = response.text.split("\n\n")
    assert frames[-2:] == ["data: [DONE]", ""]
    run_id = response.headers["x-palaver-run-id"]
    assert {json.loads(frame.removeprefix("data: "))["id"] for frame in frames[:-2]} == {f"chatcmpl-{run_id}"}
    assert await client.run_status(run_id) == "completed"


async def test_silence_is_filled_with_comments_defect_19(
    client: Client, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await check_silence_is_filled("/v1/chat/completions", client, model, monkeypatch)


async def test_a_reply_goes_on_when_the_client_leaves(client: Client, model: ModelServer) -> None:
    gate = asyncio.Event()
    model.script(reply(["a", "b"], gate=gate, hold_after=1))
    body = {"messages": HI, "stream": True, "session_id": "s"}
    async with client.http.stream("POST", "/v1/chat/completions", json=body) as response:
        run_id = response.headers["x-palaver-run-id"]
    gate.set()
    await client.until_run(run_id, "completed")
    run = (await client.get(f"/api/v1/chat/runs/{run_id}")).json()["data"]
    assert (await client.history(run["session_id"], "api:test"))[1]["parts"] == [{"type": "plain", "text": "ab"}]


async def test_a_repeat_is_answered_with_the_first_reply(client: Client, model: ModelServer) -> None:
    async def ask(**body: Any) -> httpx2.Response:
        return await client.request(
            "POST", "/v1/chat/completions", json={"messages": HI, **body}, headers={"Idempotency-Key": "k"}
        )

    both = await asyncio.gather(ask(), ask())
    assert both[0].content == both[1].content
    assert len(model.requests) == 1
    other = await ask(temperature=1)
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")


async def test_the_messages_reach_the_model(openai: AsyncOpenAI, model: ModelServer) -> None:
    await openai.chat.completions.create(model="gpt-4.1-mini", messages=HI, extra_body={"session_id": "s"})
    assert shown(model) == [PROMPT, ("user", "hi")]
