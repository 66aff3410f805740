"""`POST /api/kernel2/chat`: what reaches the model server, and what comes back."""

import asyncio
import json
from typing import Any

import pytest
from openai import APIError, AsyncStream

from tests.conftest import StartServer
from tests.doors.openai.conftest import check_silence_is_filled, openai_client, shown
from tests.support import answers
from tests.support.answers import reply
from tests.support.client import Client
from tests.support.model_server import ModelServer
from tests.support.server import Server

CHAT = "/api/kernel2/chat"
HI: Any = [{"role": "user", "content": "hi"}]
TALK: Any = [{"role": "system", "content": "s"}, *HI, {"role": "assistant", "content": "ho"}, *HI]


async def stream(client: Client, **body: Any) -> list[dict[str, Any]]:
    """The JSON of the answer's frames, the last of which was `[DONE]` or, of a reply that failed, is an error."""
    response = await client.http.post(CHAT, json={"messages": HI, **body})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    *frames, rest = response.text.split("\n\n")
    assert rest == ""
    if frames[-1] == "data: [DONE]":
        frames.pop()
    else:
        assert "success" in frames[-1]
    return [json.loads(frame.removeprefix("data: ")) for frame in frames if not frame.startswith(":")]


async def test_the_defaults_reach_the_model_server(client: Client, model: ModelServer) -> None:
    await stream(client)
    sent = model.requests[-1].body
    assert sent == {
        "model": "gpt-4.1-mini",
        "messages": HI,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.1,
        "max_tokens": 2000,
    }


PASSED_ON: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"temperature": 1.5, "max_tokens": 7}, {"temperature": 1.5, "max_tokens": 7}),
    ({"temperature": 0, "top_p": 0.5}, {"temperature": 0, "top_p": 0.5, "max_tokens": 2000}),
    ({"temperature": None, "max_tokens": None, "stream": None}, {"temperature": 0.1, "max_tokens": 2000}),
    ({"max_completion_tokens": 9}, {"temperature": 0.1, "max_completion_tokens": 9}),
    ({"metadata": None}, {"temperature": 0.1, "max_tokens": 2000}),
    (
        {
            "metadata": {"enable_l0_retrieval": False, "role_id": None, "x": 1},
            "role_id": "",
            "enable_l0_retrieval": False,
            "enable_l1_retrieval": True,
            "session_id": "s",
            "on_busy": "queue",
        },
        {"temperature": 0.1, "max_tokens": 2000},
    ),
    ({"system_prompt": "not with messages"}, {"temperature": 0.1, "max_tokens": 2000}),
]


async def test_what_is_openais_is_passed_on_and_nothing_else(client: Client, model: ModelServer) -> None:
    for given, sent in PASSED_ON:
        await stream(client, messages=TALK, **given)
        body = dict(model.requests[-1].body)
        assert body.pop("stream_options") == {"include_usage": True}
        assert body == {"model": "gpt-4.1-mini", "stream": True, "messages": TALK, **sent}


FORMER: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    ({"message": "hi"}, [("user", "hi")]),
    ({"message": "hi", "system_prompt": "s"}, [("system", "s"), ("user", "hi")]),
    (
        {
            "message": "and you?",
            "system_prompt": "",
            "role_id": None,
            "enable_l0_retrieval": False,
            "enable_l1_retrieval": False,
            "history": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}],
        },
        [("user", "hi"), ("assistant", "ho"), ("user", "and you?")],
    ),
    ({"message": "hi", "messages": TALK, "history": HI}, [(m["role"], m["content"]) for m in TALK]),
    ({"messages": HI, "system_prompt": "s"}, [("system", "s"), ("user", "hi")]),
]


async def test_earlier_clients_are_understood(client: Client, model: ModelServer) -> None:
    for given, seen in FORMER:
        assert (await client.http.post(CHAT, json=given)).status_code == 200
        assert shown(model) == seen
        assert not {"message", "history", "system_prompt"} & model.requests[-1].body.keys()


async def test_nothing_is_remembered(server: Server, client: Client, model: ModelServer) -> None:
    for _ in range(2):
        await stream(client)
        assert shown(model) == [("user", "hi")]
    assert (await client.get("/api/v1/chat/sessions", username="api:test")).json()["data"]["total"] == 0


async def test_the_chunks_are_openais_each_with_a_fingerprint_and_choices(client: Client, model: ModelServer) -> None:
    model.script(*(reply(["Hel", "lo"], usage=(7, 2, 3)) for _ in range(2)))
    chunks, again = await stream(client), await stream(client)
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks[-3:]] == ["Hel", "lo", None]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[-3:]] == [None, None, "stop"]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk["model"] for chunk in chunks} == {"gpt-4.1-mini"}
    for name in ("id", "created", "system_fingerprint"):
        assert len({chunk[name] for chunk in chunks}) == 1
    assert isinstance(chunks[0]["created"], int)
    assert chunks[0]["system_fingerprint"].startswith("fp_")
    assert chunks[0]["system_fingerprint"] == again[0]["system_fingerprint"]
    assert chunks[0]["id"] != again[0]["id"]
    assert not any("usage" in chunk for chunk in chunks)


async def test_the_model_servers_own_fingerprint_stays(client: Client, model: ModelServer) -> None:
    chunk = {"id": "x", "created": 7, "model": "m", "choices": [{"index": 0, "delta": {"content": "A"}}]}
    end = {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    events = [{**chunk, "system_fingerprint": "fp_1"}, {**end, "system_fingerprint": None}]
    model.script(answers.raw(b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in events)))
    first, last = await stream(client)
    assert first["system_fingerprint"] == "fp_1"
    assert last["system_fingerprint"].startswith("fp_")


async def test_usage_comes_to_those_who_ask_for_it(client: Client, model: ModelServer) -> None:
    model.script(reply(["a"], usage=(7, 2, 3)))
    *chunks, last = await stream(client, stream_options={"include_usage": True})
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 3)
    assert all(chunk["choices"] for chunk in chunks)


async def test_without_stream_a_completion_comes_defect_24(client: Client, model: ModelServer) -> None:
    model.script(reply(["Hel", "lo"], usage=(7, 2, 3)))
    response = await client.post(CHAT, {"messages": HI, "stream": False})
    body = response.json()
    assert body["choices"][0]["message"]["content"] == "Hello"
    assert body["choices"][0]["finish_reason"] == "stop"
    assert (body["object"], body["usage"]["completion_tokens"]) == ("chat.completion", 3)
    assert body["system_fingerprint"].startswith("fp_")
    assert body["id"] == f"chatcmpl-{response.headers['x-palaver-run-id']}"
    sent = model.requests[-1].body
    assert (sent["stream"], sent["temperature"], sent["max_tokens"]) == (False, 0.1, 2000)


async def test_a_known_model_is_asked_and_any_other_name_means_the_default(client: Client, model: ModelServer) -> None:
    for name, asked in ((None, "gpt-4.1-mini"), ("gpt-3.5-turbo", "gpt-4.1-mini"), ("scripted", "scripted")):
        assert (await stream(client, model=name))[0]["model"] == asked
        assert model.requests[-1].body["model"] == asked


async def test_a_server_that_lists_no_models_is_not_asked_for_an_unknown_one(
    start_server: StartServer, model: ModelServer
) -> None:
    lists_none = {"id": "b", "base_url": "http://127.0.0.1:9/v1", "max_retries": 0}
    providers = [{"id": "a", "base_url": model.base_url, "api_key": "k", "models": ["gpt-4.1-mini"]}, lists_none]
    async with start_server(providers=providers) as server, Client(server, await server.new_key()) as client:
        assert (await stream(client, model="gpt-3.5-turbo"))[0]["model"] == "gpt-4.1-mini"


async def test_a_profiles_parameters_go_before_the_doors_defaults(start_server: StartServer, data_dir: Any) -> None:
    (data_dir / "configs").mkdir(parents=True)
    text = 'system_prompt = "Be wild."\n[parameters]\ntemperature = 1.5\nmax_completion_tokens = 5\n'
    (data_dir / "configs/wild.toml").write_text(text)
    async with ModelServer() as model:
        provider = {"id": "p", "base_url": model.base_url, "api_key": "k"}
        async with start_server(providers=[provider]) as server, Client(server, await server.new_key()) as client:
            await stream(client, model="wild")
            await stream(client, model="wild", temperature=0.5)
        first, second = (request.body for request in model.requests if request.method == "POST")
    assert first["messages"][0] == {"role": "system", "content": "Be wild."}
    assert (first["temperature"], first["max_completion_tokens"], second["temperature"]) == (1.5, 5, 0.5)
    assert "max_tokens" not in first


async def test_openais_own_client_works(server: Server, client: Client, model: ModelServer) -> None:
    model.script(reply(["a", "b"]), answers.cut_after(1))
    async with openai_client(f"{server.base_url}/v1", client.key or "") as openai:

        async def text() -> str:
            made = await openai.post(
                CHAT, body={"messages": HI}, cast_to=object, stream=True, stream_cls=AsyncStream[Any]
            )
            return "".join([piece["choices"][0]["delta"].get("content") or "" async for piece in made])

        openai.base_url = server.base_url
        assert await text() == "ab"
        with pytest.raises(APIError):
            await text()


async def test_silence_is_filled_with_comments_defect_19(
    client: Client, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await check_silence_is_filled(CHAT, client, model, monkeypatch)


async def test_who_leaves_and_comes_again_gets_the_same_run(client: Client, model: ModelServer) -> None:
    gate = asyncio.Event()
    model.script(reply(["a", "b"], gate=gate, hold_after=1))
    options: dict[str, Any] = {"json": {"messages": HI}, "headers": {"Idempotency-Key": "k"}}
    async with client.http.stream("POST", CHAT, **options) as response:
        run_id = response.headers["x-palaver-run-id"]
    gate.set()
    await client.until_run(run_id, "completed")
    again = await client.http.post(CHAT, **options)
    assert again.headers["x-palaver-run-id"] == run_id
    assert again.text.endswith("data: [DONE]\n\n")
    assert '"content":"a"' in again.text.replace(" ", "")
    assert len(model.requests) == 1
    other = await client.http.post(CHAT, json={"messages": TALK}, headers={"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["code"]) == (422, 422)
    elsewhere = await client.post("/v1/chat/completions", {"messages": TALK})
    assert elsewhere.status_code == 200


async def test_a_failure_midway_is_told_in_the_envelope_and_no_done_defects_3_and_5(
    client: Client, model: ModelServer
) -> None:
    for answer in (answers.cut_after(2), answers.clean_end_after(2), answers.error_event(2), answers.broken_json(2)):
        model.script(answer)
        *chunks, last = await stream(client)
        assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == "t0 t1 "
        assert (last["success"], last["code"]) == (False, 503 if answer.then == "error event" else 502)
        assert last["message"] == last["error"]["message"]
        assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "error"}]
        assert {last[name] == chunks[0][name] for name in ("id", "created", "system_fingerprint")} == {True}
        assert answers.SECRET not in json.dumps(last)


async def test_defaults_that_a_model_does_not_support_are_taken_back(client: Client, model: ModelServer) -> None:
    def refusal(param: str, code: str) -> answers.Answer:
        error = {"message": f"Unsupported: '{param}'", "type": "invalid_request_error", "param": param, "code": code}
        return answers.Answer(status=400, raw=json.dumps({"error": error}).encode())

    model.script(refusal("max_tokens", "unsupported_parameter"), refusal("temperature", "unsupported_value"))
    await stream(client)
    await stream(client)
    assert [set(request.body) & {"max_tokens", "temperature"} for request in model.requests] == [
        {"max_tokens", "temperature"},
        {"temperature"},
        set(),
        set(),
    ]


async def test_what_the_caller_asked_for_is_not_taken_back(client: Client, model: ModelServer) -> None:
    model.script(answers.status(400, message="no temperature"))
    response = await client.http.post(CHAT, json={"messages": HI, "temperature": 0.1})
    assert response.status_code == 400
    assert len(model.requests) == 1
