"""The names that `model` may have."""

import json
from typing import Any

import pytest
from openai import AsyncOpenAI, NotFoundError

from tests.conftest import StartServer
from tests.doors.openai.conftest import openai_client
from tests.support import answers
from tests.support.client import Client
from tests.support.model_server import ModelServer

HI: Any = [{"role": "user", "content": "hi"}]


async def test_models_are_listed_in_openais_shape(openai: AsyncOpenAI, client: Client) -> None:
    assert [(m.id, m.owned_by) async for m in openai.models.list()] == [
        ("default", "palaver"),
        ("gpt-4.1-mini", "scripted"),
        ("scripted", "scripted"),
    ]
    assert (await openai.models.retrieve("scripted/gpt-4.1-mini")).id == "scripted/gpt-4.1-mini"
    assert (await client.get("/v1/models/nope")).json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        (None, "gpt-4.1-mini"),
        ("default", "gpt-4.1-mini"),
        ("scripted", "scripted"),
        ("scripted/scripted", "scripted"),
    ],
)
async def test_a_name_leads_to_a_model(client: Client, model: ModelServer, name: str | None, asked: str) -> None:
    response = await client.post("/v1/chat/completions", {"messages": HI, "model": name})
    assert response.json()["model"] == asked
    assert model.requests[-1].body["model"] == asked


async def test_configured_models_are_all_there_are(start_server: StartServer) -> None:
    async with ModelServer() as first, ModelServer() as second:
        providers = [
            {"id": "a", "base_url": first.base_url, "default_model": "m", "models": ["n", "org/x"]},
            {"id": "b", "base_url": second.base_url, "default_model": "m", "models": ["o"]},
        ]
        async with (
            start_server(providers=providers) as server,
            openai_client(f"{server.base_url}/v1", await server.new_key()) as openai,
        ):
            names = [m.id async for m in openai.models.list()]
            assert names == ["default", "m", "n", "org/x", "b/m", "o"]
            assert (await openai.models.retrieve("org/x")).owned_by == "a"
            for name in ("o", "b/m"):
                await openai.chat.completions.create(model=name, messages=HI)
            with pytest.raises(NotFoundError) as raised:
                await openai.chat.completions.create(model="scripted", messages=HI)
        assert raised.value.code == "model_not_found"
        assert [request.body["model"] for request in second.requests] == ["o", "m"]
        assert first.requests == []


async def test_a_server_that_lists_nothing_may_have_any_model(start_server: StartServer) -> None:
    provider = {"id": "gone", "base_url": "http://127.0.0.1:9/v1", "max_retries": 0}
    async with start_server(providers=[provider]) as server, Client(server, await server.new_key()) as client:
        response = await client.post("/v1/chat/completions", {"messages": HI, "model": "whatever"})
        assert (response.status_code, response.json()["error"]["type"]) == (502, "server_error")
        listed = (await client.get("/v1/models")).json()["data"]
    assert [model["id"] for model in listed] == ["default", "gpt-4.1-mini"]


@pytest.mark.parametrize("name", ["gemini-2.5-flash", "openai/gpt-4o:online", "llama3.2", "ft:gpt-4o:org::abc"])
async def test_a_server_is_asked_for_models_that_it_does_not_list(
    client: Client, model: ModelServer, name: str
) -> None:
    response = await client.post("/v1/chat/completions", {"messages": HI, "model": name})
    assert (response.json()["model"], model.requests[-1].body["model"]) == (name, name)
    refusal = {"error": {"message": f"no {name}", "type": "invalid_request_error", "param": None, "code": "x"}}
    model.script(answers.Answer(status=404, content_type="application/json", raw=json.dumps(refusal).encode()))
    response = await client.post("/v1/chat/completions", {"messages": HI, "model": name})
    assert (response.status_code, response.json()) == (404, refusal)


async def test_an_unknown_name_can_mean_the_default_model(start_server: StartServer, model: ModelServer) -> None:
    async with (
        start_server(openai_unknown_model="default") as server,
        Client(server, await server.new_key()) as client,
    ):
        for name, asked in (("agent", "gpt-4.1-mini"), ("scripted", "scripted")):
            response = await client.post("/v1/chat/completions", {"messages": HI, "model": name})
            assert (response.json()["model"], model.requests[-1].body["model"]) == (asked, asked)


async def test_an_alias_stands_for_a_name(start_server: StartServer, model: ModelServer) -> None:
    aliases = {"gpt-4o": "scripted", "mine": "default", "far": "scripted/other", "gpt-4.1-mini": "new"}
    async with start_server(model_aliases=aliases) as server, Client(server, await server.new_key()) as client:
        for name, asked in (
            ("gpt-4o", "scripted"),
            ("mine", "gpt-4.1-mini"),
            ("far", "other"),
            ("gpt-4.1-mini", "new"),
        ):
            response = await client.post("/v1/chat/completions", {"messages": HI, "model": name})
            assert (response.json()["model"], model.requests[-1].body["model"]) == (asked, asked)
        listed = [entry["id"] for entry in (await client.get("/v1/models")).json()["data"]]
        assert listed[:4] == list(aliases)
        assert len(listed) == len(set(listed))
        assert (await client.get("/v1/models/mine")).json()["owned_by"] == "palaver"


LISTS = [
    (b'[{"id":"a/b","object":"model"}]', ["a/b"]),
    (b'{"object":"list","data":["a/b",{"id":5},null,{"id":"c"},{"id":"c"}]}', ["a/b", "c"]),
    (b'{"models":[{"name":"models/x"}]}', ["models/x"]),
    (b"\xef\xbb\xbf[]", []),
    (b"<!doctype html><title>app</title>", []),
    *(
        (text, [])
        for text in (b"null", b'{"data":null}', b'{"data":{}}', b'"a"', b"", b"{", b"5", b"[" * 5000, b'[[["a"]]]')
    ),
    (b'{"data":[{"id":"' + b"x" * 5_000_000 + b'"}]}', []),
]


@pytest.mark.parametrize(("body", "names"), LISTS)
async def test_a_list_of_models_may_have_any_form(
    client: Client, model: ModelServer, body: bytes, names: list[str]
) -> None:
    model.model_list = body
    listed = [entry["id"] for entry in (await client.get("/v1/models")).json()["data"]]
    assert listed == ["default", "gpt-4.1-mini", *names]
    assert (await client.post("/v1/chat/completions", {"messages": HI, "model": "a/b"})).status_code == 200


async def test_embeddings_are_passed_on(openai: AsyncOpenAI, model: ModelServer) -> None:
    data = b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]}],"model":"m","usage":{"x":1}}'
    model.script(answers.raw(data, "application/json"), answers.status(400))
    made = await openai.embeddings.create(model="scripted", input="hi", dimensions=1, encoding_format="float")
    assert made.data[0].embedding == [0.5]
    assert model.requests[-1].path == "/v1/embeddings"
    assert model.requests[-1].body == {
        "model": "scripted",
        "input": "hi",
        "dimensions": 1,
        "encoding_format": "float",
    }
