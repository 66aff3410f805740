"""Every failure in OpenAI's shape, so that its clients raise their own exceptions."""

import json
from typing import Any

import openai as sdk
import pytest
from openai import AsyncOpenAI

from tests.conftest import StartServer
from tests.doors.openai.conftest import openai_client
from tests.support import answers
from tests.support.answers import SECRET, Answer, reply
from tests.support.client import Client
from tests.support.database import count_rows
from tests.support.model_server import ModelServer
from tests.support.server import Server

HI: Any = [{"role": "user", "content": "hi"}]
REFUSED = {"message": "This model's context is 8 tokens", "type": "invalid_request_error", "param": "messages"}


def refusal(status: int) -> Answer:
    body = json.dumps({"error": {**REFUSED, "code": "context_length_exceeded"}}).encode()
    return Answer(status=status, content_type="application/json", raw=body)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("answer", "kind", "status"),
    [
        (answers.status(500), sdk.InternalServerError, 502),
        (answers.status(503, headers={"Retry-After": "7"}), sdk.InternalServerError, 503),
        (answers.status(504), sdk.InternalServerError, 504),
        (answers.status(401), sdk.InternalServerError, 502),
        (answers.status(403), sdk.InternalServerError, 502),
        (answers.status(429, headers={"Retry-After": "7"}), sdk.RateLimitError, 429),
        (answers.cut_after(0), sdk.InternalServerError, 502),
        (answers.empty(), sdk.InternalServerError, 502),
        (answers.nothing_but_done(), sdk.InternalServerError, 502),
        (answers.html(), sdk.InternalServerError, 502),
        (answers.garbage(), sdk.InternalServerError, 502),
    ],
)
async def test_a_failure_before_the_first_token_is_a_status_defects_3_and_5(
    openai: AsyncOpenAI, model: ModelServer, answer: Answer, kind: type[sdk.APIStatusError], status: int, stream: bool
) -> None:
    if not stream and answer.then == "cut":
        answer = answers.status(500)
    model.script(answer, reply(["fine"]))
    with pytest.raises(kind) as raised:
        await openai.chat.completions.create(model="gpt-4.1-mini", messages=HI, stream=stream)
    error = raised.value
    assert error.status_code == status
    assert answers.SECRET not in error.response.text
    assert "10.0.0.7" not in error.response.text
    assert model.base_url not in error.response.text
    assert error.response.headers["x-palaver-run-id"]
    if status in (429, 503):
        assert error.response.headers["retry-after"] == "7"
    again = await openai.chat.completions.create(model="gpt-4.1-mini", messages=HI)
    assert again.choices[0].message.content == "fine"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, sdk.BadRequestError),
        (404, sdk.NotFoundError),
        (413, sdk.APIStatusError),
        (422, sdk.UnprocessableEntityError),
    ],
)
async def test_the_model_servers_own_refusal_is_passed_on(
    openai: AsyncOpenAI, client: Client, model: ModelServer, status: int, kind: type[sdk.APIStatusError], stream: bool
) -> None:
    model.script(refusal(status))
    with pytest.raises(kind) as raised:
        await openai.chat.completions.create(model="gpt-4.1-mini", messages=HI, stream=stream)
    assert raised.value.status_code == status
    assert raised.value.body == {**REFUSED, "code": "context_length_exceeded"}
    events = await client.replay(raised.value.response.headers["x-palaver-run-id"])
    assert "8 tokens" not in str(events)  # the Open API's callers did not write that request


WHY = "the tide is out"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ([{"error": {"code": 400, "message": WHY, "status": "INVALID_ARGUMENT"}}], "application/json"),
        ({"detail": WHY}, "application/json"),
        ({"detail": [{"loc": ["body", "x"], "msg": WHY, "type": "missing"}]}, "application/json"),
        ({"object": "error", "message": {"detail": [{"loc": ["body", "user"], "msg": WHY}]}}, "application/json"),
        ({"object": "error", "message": WHY, "type": "BadRequestError", "code": 400}, "application/json"),
        ({"error": WHY}, "application/json"),
        ({"error": {"message": {"text": WHY}}}, "application/json"),
        ({"error": {"message": json.dumps({"error": {"message": WHY}})}}, "application/json"),
        ({"error": {"message": "Provider returned error", "metadata": {"raw": WHY}}}, "application/json"),
        ({"error": "Bad Request", "statusCode": 400, "message": [WHY]}, "application/json"),
        ({"error": "invalid_request", "error_description": WHY}, "application/json"),
        ({"errors": {"temperature": [WHY]}}, "application/json"),
        ({"errors": [{"message": WHY}]}, "text/plain"),
        ({"error": True, "msg": WHY}, "application/json"),
        ({"base_resp": {"status_code": 1, "status_msg": WHY}}, "application/json"),
        (WHY, "application/json"),
        (WHY.encode(), "text/plain"),
        (b"\xef\xbb\xbf" + json.dumps({"detail": WHY}).encode(), "application/json"),
    ],
)
async def test_a_refusal_of_any_shape_is_told_in_the_servers_own_words(
    client: Client, model: ModelServer, body: Any, kind: str
) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    model.script(Answer(status=400, content_type=kind, raw=raw))
    response = await client.post("/v1/chat/completions", {"messages": HI})
    assert response.status_code == 400
    assert WHY in response.json()["error"]["message"]


@pytest.mark.parametrize("raw", [b"", b"<html>no</html>", b"\0\1", b"[]", b"{}", b"5"])
async def test_a_refusal_without_words_has_palavers(client: Client, model: ModelServer, raw: bytes) -> None:
    model.script(Answer(status=400, content_type="text/plain", raw=raw))
    response = await client.post("/v1/chat/completions", {"messages": HI})
    assert response.json()["error"]["message"] == "The model server rejected the request"


@pytest.mark.parametrize("midway", [False, True])
async def test_no_member_of_an_error_holds_the_key(start_server: StartServer, model: ModelServer, midway: bool) -> None:
    error: Any = {"error": {"message": f"bad key {SECRET}", "type": SECRET, "param": f"x {SECRET}", "code": SECRET}}
    if midway:
        error["error"]["status"] = 400
        model.script(answers.raw(b"data: %b\n\n" % json.dumps(error).encode()))
    else:
        model.script(Answer(status=400, content_type="application/json", raw=json.dumps(error).encode()))
    provider = {"id": "p", "base_url": model.base_url, "api_key": SECRET, "max_retries": 0}
    async with start_server(providers=[provider]) as server, Client(server, await server.new_key()) as client:
        response = await client.post("/v1/chat/completions", {"messages": HI, "stream": True})
    assert SECRET not in response.text
    assert response.json()["error"] == {
        "message": "bad key [secret]",
        "type": "[secret]",
        "param": "x [secret]",
        "code": "[secret]",
    }


@pytest.mark.parametrize(
    "answer",
    [answers.cut_after(2), answers.clean_end_after(2), answers.error_event(2), answers.broken_json(2)],
)
async def test_a_failure_midway_is_an_error_event_and_no_done_defects_3_and_5(
    client: Client, openai: AsyncOpenAI, model: ModelServer, answer: Answer
) -> None:
    model.script(answer, answer)
    last = None
    with pytest.raises(sdk.APIError) as raised:
        async for chunk in await openai.chat.completions.create(
            model="gpt-4.1-mini", messages=HI, stream=True, extra_body={"session_id": "s"}
        ):
            last = chunk.choices[0].delta.content
    assert (last, raised.value.code) == ("t1 ", "upstream_error")
    body = {"messages": HI, "stream": True, "store": False}
    wire = (await client.http.post("/v1/chat/completions", json=body)).text
    assert answers.SECRET not in wire
    assert "[DONE]" not in wire
    assert json.loads(wire.rstrip().rpartition("data: ")[2])["error"]["type"] == "server_error"
    page = (await client.get("/api/v1/chat/sessions", username="api:test")).json()["data"]
    _, kept = await client.history(page["sessions"][0]["session_id"], "api:test")
    assert (kept["status"], kept["parts"]) == ("failed", [{"type": "plain", "text": "t0 t1 "}])


@pytest.mark.parametrize("answer", [answers.hang(), answers.hang_after(0)])
async def test_a_silent_model_server_is_504(start_server: StartServer, model: ModelServer, answer: Answer) -> None:
    provider = {"id": "slow", "base_url": model.base_url, "api_key": "k", "max_retries": 0, "timeout_seconds": 0.3}
    model.script(answer)
    async with start_server(providers=[provider]) as server, Client(server, await server.new_key()) as client:
        response = await client.post("/v1/chat/completions", {"messages": HI, "stream": True})
    assert (response.status_code, response.json()["error"]["code"]) == (504, "timeout")


async def test_a_fallback_answers_with_its_own_beginning(start_server: StartServer, data_dir: Any) -> None:
    (data_dir / "configs").mkdir(parents=True)
    (data_dir / "configs/default.toml").write_text('fallbacks = ["second"]')
    async with ModelServer() as first, ModelServer() as second:
        first.script(answers.cut_after(0))  # after the role chunk
        providers = [
            {"id": each, "base_url": server.base_url, "api_key": "k", "max_retries": 0}
            for each, server in (("first", first), ("second", second))
        ]
        async with start_server(providers=providers) as server, Client(server, await server.new_key()) as client:
            body = {"messages": HI, "stream": True}
            wire = (await client.http.post("/v1/chat/completions", json=body)).text
    assert wire.count('"role"') == 1
    assert wire.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "messages"),
        ({"messages": []}, 400, "messages"),
        ({"messages": "hi"}, 400, "messages"),
        ({"messages": ["hi"]}, 400, "messages[0].role"),
        ({"messages": [{"content": "hi"}]}, 400, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, 400, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["hi"]}]}, 400, "messages[0].content[0]"),
        ({"messages": HI, "model": 5}, 400, "model"),
        ({"messages": HI, "stream": "yes"}, 400, "stream"),
        ({"messages": HI, "session_id": 5}, 400, "session_id"),
        ({"messages": HI, "session_id": "x" * 201}, 400, "session_id"),
        ({"messages": HI, "session_id": "x", "thread_id": "x" * 201}, 400, "thread_id"),
        ({"messages": HI, "session_id": "a\nb"}, 400, "session_id"),
        ({"messages": HI, "thread_id": True}, 400, "thread_id"),
        ({"messages": HI, "thread_id": 1.5}, 400, "thread_id"),
        ({"messages": HI, "on_busy": "fly"}, 400, "on_busy"),
        ({"messages": HI, "session_id": "s", "n": 2}, 400, "n"),
        ({"messages": [*HI, {"role": "assistant", "content": "x"}], "session_id": "s"}, 400, "messages"),
        ({"messages": HI, "session_id": "s", "model": "role:"}, 404, "model"),
        ({"messages": HI, "stream": True, "stream_options": "x"}, 400, "stream_options"),
        ({"messages": HI, "stream": True, "stream_options": [1]}, 400, "stream_options"),
        ({"messages": HI, "stream_options": 5}, 400, "stream_options"),
        ({"messages": HI, "stream": True, "stream_options": False}, 400, "stream_options"),
        ([], 400, None),
    ],
)
async def test_a_wrong_request_names_its_field_and_leaves_nothing(
    server: Server, client: Client, model: ModelServer, body: Any, status: int, param: str | None
) -> None:
    response = await client.post("/v1/chat/completions", body)
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["type"]) == (status, param, "invalid_request_error")
    assert error["code"] == ("model_not_found" if status == 404 else error["code"])
    assert model.requests == [] or model.requests[-1].method == "GET"
    assert await count_rows(server.core.database, "runs") == [0]


async def test_the_typed_exceptions(server: Server, client: Client) -> None:
    address = f"{server.base_url}/v1"
    async with openai_client(address, "plv_wrong") as wrong:
        with pytest.raises(sdk.AuthenticationError) as unauthorized:
            await wrong.models.list()
        assert (unauthorized.value.code, unauthorized.value.type) == ("invalid_api_key", "invalid_request_error")
    async with openai_client(address, await server.new_key("file")) as scopeless:
        with pytest.raises(sdk.PermissionDeniedError):
            await scopeless.chat.completions.create(model="default", messages=HI)
    async with openai_client(address, client.key or "") as good:
        with pytest.raises(sdk.NotFoundError):
            await good.models.retrieve("nope")
        with pytest.raises(sdk.NotFoundError):
            await good.responses.create(model="default", input="hi")


async def test_every_path_below_v1_speaks_openais_errors(client: Client, start_server: StartServer) -> None:
    for method, path, status in (
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
    ):
        response = await client.http.request(method, path)
        assert (response.status_code, set(response.json()["error"])) == (status, {"message", "type", "param", "code"})
    text = await client.http.post("/v1/chat/completions", content=b"hi", headers={"Content-Type": "text/plain"})
    assert (text.status_code, text.json()["error"]["code"]) == (415, "unsupported_media_type")
    broken = await client.http.post("/v1/chat/completions", content=b"{", headers={"Content-Type": "application/json"})
    assert (broken.status_code, broken.json()["error"]["code"]) == (400, "invalid_json")


async def test_limits_are_429_and_413(start_server: StartServer, model: ModelServer) -> None:
    import asyncio

    gate = asyncio.Event()
    model.script(reply(["a"], gate=gate))
    async with (
        start_server(max_runs_per_key=1, openai_max_body_bytes=2000) as server,
        Client(server, await server.new_key()) as client,
        openai_client(f"{server.base_url}/v1", client.key or "") as openai,
    ):
        first = asyncio.create_task(client.post("/v1/chat/completions", {"messages": HI, "stream": True}))
        await model.wait_for_requests(1)
        with pytest.raises(sdk.RateLimitError) as raised:
            await openai.chat.completions.create(model="gpt-4.1-mini", messages=HI)
        assert raised.value.response.headers["retry-after"] == "2"
        gate.set()
        assert (await first).status_code == 200
        large = await client.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "x" * 3000}]})
        assert (large.status_code, large.json()["error"]["code"]) == (413, "payload_too_large")


async def test_a_crash_is_500_and_says_nothing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.completions.catalog import ModelCatalog

    async def crash(self: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(ModelCatalog, "entries", crash)
    response = await client.http.get("/v1/models")
    assert (response.status_code, response.json()["error"]["type"]) == (500, "server_error")
    assert "secret" not in response.text
