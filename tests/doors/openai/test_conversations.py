"""Which conversation a request belongs to, and what the model is shown of it."""

import asyncio
import base64
from typing import Any

import httpx2
import pytest

from tests.conftest import StartServer
from tests.doors.openai.conftest import shown
from tests.doors.openai.test_files import picture
from tests.support import answers
from tests.support.answers import reply
from tests.support.client import Client
from tests.support.database import count_rows
from tests.support.model_server import ModelServer
from tests.support.server import Server

PROMPT = ("system", "You are a helpful assistant.")


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


async def ask(client: Client, *messages: dict[str, Any], headers: Any = None, **body: Any) -> httpx2.Response:
    response = await client.request(
        "POST", "/v1/chat/completions", json={"messages": messages, **body}, headers=headers or {}
    )
    assert response.status_code == 200, response.text
    return response


@pytest.mark.parametrize(
    "named",
    [
        {"session_id": "my-session"},
        {"headers": {"x-session-key": "wx:group:g:user:alice"}},
        {"thread_id": 3},
        {"thread_id": "t-3"},
    ],
)
async def test_a_session_remembers(client: Client, model: ModelServer, named: dict[str, Any]) -> None:
    await ask(client, user("one"), **named)
    await ask(client, user("two"), **named)
    await ask(client, user("other"), session_id="another")
    assert shown(model, 1) == [PROMPT, ("user", "one"), ("assistant", "You said: one"), ("user", "two")]
    assert shown(model, 2) == [PROMPT, ("user", "other")]


async def test_the_names_are_one_namespace_and_the_body_comes_first(client: Client, model: ModelServer) -> None:
    await ask(client, user("one"), session_id="3")
    await ask(client, user("two"), thread_id=3)
    await ask(client, user("three"), session_id="3", thread_id=4, headers={"x-session-key": "5"})
    assert len(shown(model)) == 6


async def test_two_keys_never_share_a_session(server: Server, model: ModelServer) -> None:
    bound = [await server.new_key(username="alice"), await server.new_key(username="alice")]
    for key in (await server.new_key(), await server.new_key(), *bound):
        async with Client(server, key) as client:
            await ask(client, user("secret"), session_id="s")
            assert shown(model) == [PROMPT, ("user", "secret")]
    for key in bound:
        async with Client(server, key) as client:
            await ask(client, user("secret"))
            assert shown(model) == [PROMPT, ("user", "secret")]


@pytest.mark.parametrize("nameless", [{}, {"session_id": "  ", "thread_id": None}])
async def test_a_key_for_many_people_has_no_default_session(
    server: Server, client: Client, model: ModelServer, nameless: dict[str, Any]
) -> None:
    await ask(client, user("my PIN is 4711"), user="alice", **nameless)
    await ask(client, user("hello"), user="bob", **nameless)
    assert shown(model) == [("user", "hello")]
    assert await count_rows(server.core.database, "sessions") == [0]


@pytest.mark.parametrize("nameless", [{}, {"session_id": "  ", "thread_id": None}])
async def test_a_bound_key_has_a_default_session(server: Server, model: ModelServer, nameless: dict[str, Any]) -> None:
    async with Client(server, await server.new_key(username="alice")) as client:
        await ask(client, user("one"), **nameless)
        response = await ask(client, user("two"), **nameless)
        await ask(client, user("three"), **nameless, store=False)
    assert shown(model, 1) == [PROMPT, ("user", "one"), ("assistant", "You said: one"), ("user", "two")]
    assert shown(model, 2) == [("user", "three")]
    assert "x-palaver-session" not in response.headers


@pytest.mark.parametrize("options", [{"no_auth": True}, {"openai_default_session": "inbox"}])
async def test_without_keys_or_where_the_operator_names_one_there_is_a_default_session(
    start_server: StartServer, model: ModelServer, options: dict[str, Any]
) -> None:
    async with start_server(**options) as server, Client(server, await server.new_key()) as client:
        await ask(client, user("one"))
        await ask(client, user("two"))
        assert await count_rows(server.core.database, "sessions") == [1]
    assert shown(model) == [PROMPT, ("user", "one"), ("assistant", "You said: one"), ("user", "two")]


async def test_a_busy_default_session_is_not_waited_for(server: Server, model: ModelServer) -> None:
    gate = asyncio.Event()
    model.script(reply(["1"], gate=gate), reply(["2"]), reply(["3"]))
    image = "data:image/png;base64," + base64.b64encode(picture()).decode()
    async with Client(server, await server.new_key(username="alice")) as client:
        first = asyncio.create_task(ask(client, user("one"), stream=True))
        await model.wait_for_requests(1)
        parts = [{"type": "text", "text": "two"}, {"type": "image_url", "image_url": {"url": image}}]
        system = {"role": "system", "content": "Be a pirate"}
        repeated = {"Idempotency-Key": "k"}
        second = await ask(client, system, user(parts), headers=repeated)
        repeat = await ask(client, system, user(parts), headers=repeated)
        assert (repeat.content, repeat.headers["x-palaver-session"]) == (second.content, "none")
        assert shown(model) == [("system", "Be a pirate"), ("user", parts)]
        gate.set()
        response = await first
    assert second.headers["x-palaver-session"] == "none"
    assert "x-palaver-session" not in response.headers
    assert await count_rows(server.core.database, "sessions", "messages", "attachments") == [1, 2, 0]


@pytest.mark.parametrize("on_busy", ["queue", "reject"])
async def test_on_busy_is_for_the_default_session_too(server: Server, model: ModelServer, on_busy: str) -> None:
    gate = asyncio.Event()
    model.script(reply(["1"], gate=gate), reply(["2"]))
    async with Client(server, await server.new_key(username="alice")) as client:
        first = asyncio.create_task(ask(client, user("one"), stream=True))
        await model.wait_for_requests(1)
        body = {"messages": [user("two")], "on_busy": on_busy}
        second = asyncio.create_task(client.post("/v1/chat/completions", body))
        if on_busy == "reject":
            assert (await second).status_code == 409
        gate.set()
        assert (await second).status_code == {"queue": 200, "reject": 409}[on_busy]
        await first
    users = [content for role, content in shown(model) if role == "user"]
    assert users == {"queue": ["one", "two"], "reject": ["one"]}[on_busy]


async def test_a_session_is_seen_and_goes_on_in_the_open_api(client: Client, model: ModelServer) -> None:
    await ask(client, user("one"), session_id="s")
    page = (await client.get("/api/v1/chat/sessions", username="api:test", platform_id="api")).json()["data"]
    (session,) = page["sessions"]
    assert (session["display_name"], session["platform_id"]) == ("one", "api")
    assert session["session_id"].startswith("v1:")
    await client.chat("two", session_id=session["session_id"], username="api:test")
    await ask(client, user("three"), session_id="s")
    assert [content for role, content in shown(model) if role == "user"] == ["one", "two", "three"]
    history = await client.history(session["session_id"], "api:test")
    assert [message["role"] for message in history] == ["user", "assistant"] * 3


async def test_a_bound_keys_sessions_are_its_users(server: Server) -> None:
    async with Client(server, await server.new_key(username="alice")) as client:
        await ask(client, user("one"), session_id="s")
        page = (await client.get("/api/v1/chat/sessions", username="alice")).json()["data"]
    assert [session["creator"] for session in page["sessions"]] == ["alice"]


async def test_in_a_session_the_new_turn_is_what_follows_the_last_assistant(client: Client, model: ModelServer) -> None:
    await ask(client, user("one"), session_id="s")
    history = [user("made up"), {"role": "assistant", "content": "made up"}]
    pirate = {"role": "system", "content": "Be a pirate"}
    await ask(client, pirate, *history, user("two"), {**user("three"), "name": "bob"}, session_id="s")
    assert shown(model) == [
        ("system", "Be a pirate"),
        ("user", "one"),
        ("assistant", "You said: one"),
        ("user", "two"),
        ("user", "three"),
    ]
    assert model.requests[-1].body["messages"][-1]["name"] == "bob"
    await ask(client, user("four"), session_id="s")
    assert shown(model)[0] == PROMPT
    assert shown(model)[3] == ("user", "two\nthree")


HISTORY = [user("one"), {"role": "assistant", "content": "1"}, user("two")]


@pytest.mark.parametrize(
    ("messages", "body"),
    [
        (HISTORY, {}),
        ([user("one"), user("two")], {}),
        ([user("one")], {"store": False}),
        ([user("one")], {"n": 2}),
        ([user("one"), {"role": "system", "content": "after"}], {}),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_stateless_request_leaves_nothing_but_its_run(
    server: Server, client: Client, model: ModelServer, messages: list[Any], body: dict[str, Any], stream: bool
) -> None:
    response = await ask(client, *messages, stream=stream, **body)
    assert model.requests[0].body["messages"] == messages
    assert await count_rows(server.core.database, "sessions", "messages", "attachments") == [0, 0, 0]
    run_id = response.headers["x-palaver-run-id"]
    run = (await client.get(f"/api/v1/chat/runs/{run_id}")).json()["data"]
    assert (run["status"], run["session_id"], run["user_message_id"]) == ("completed", None, None)
    types = [event.type for event in await client.replay(run_id)]
    assert (types[0], types[-1]) == ("session_id", "end")
    assert "message_saved" not in types


async def test_a_stateless_run_can_be_stopped_and_waits_for_nobody(client: Client, model: ModelServer) -> None:
    gate = asyncio.Event()
    model.script(reply(["a", "b"], gate=gate, hold_after=1))
    body = {"messages": [user("x")], "store": False, "stream": True}
    async with client.http.stream("POST", "/v1/chat/completions", json=body) as response:
        await ask(client, user("y"), store=False)
        run_id = response.headers["x-palaver-run-id"]
        assert (await client.post(f"/api/v1/chat/runs/{run_id}/stop")).json()["data"]["stopped_count"] == 1
        rest = (await response.aread()).decode()
    assert '"code":"stopped"' in rest
    assert "[DONE]" not in rest


async def test_nameless_requests_can_be_made_stateless(start_server: StartServer, model: ModelServer) -> None:
    async with (
        start_server(openai_default_session="") as server,
        Client(server, await server.new_key(username="alice")) as client,
    ):
        await ask(client, user("one"))
        await ask(client, user("two"))
    assert shown(model) == [("user", "two")]


def test_the_empty_variable_means_stateless(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    from app.settings import load_settings

    assert load_settings(data_dir=tmp_path).openai_default_session is None
    monkeypatch.setenv("PALAVER_OPENAI_DEFAULT_SESSION", "")
    assert load_settings(data_dir=tmp_path).openai_default_session == ""


async def test_the_session_key_can_be_made_mandatory(start_server: StartServer) -> None:
    async with (
        start_server(require_session_key=True) as server,
        Client(server, await server.new_key()) as client,
    ):
        response = await client.post("/v1/chat/completions", {"messages": [user("hello")]})
        assert response.status_code == 400
        assert response.json()["error"]["message"] == "Missing required header: x-session-key"
        await ask(client, user("hello"), headers={"x-session-key": "wx:dm:user_alice"})


CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}


async def test_a_tools_result_follows_its_call_in_a_session(client: Client, model: ModelServer) -> None:
    model.script(answers.tool_calls(("call_1", "weather", '{"city": "Paris"}')), reply(["Sunny"]), reply(["Yes"]))
    await ask(client, user("Weather?"), session_id="s")
    result = {"role": "tool", "tool_call_id": "call_1", "content": "sun"}
    await ask(client, result, session_id="s")
    called = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    assert model.requests[-1].body["messages"][1:] == [user("Weather?"), called, result]
    await ask(client, user("Sure?"), session_id="s")
    sunny = {"role": "assistant", "content": "Sunny"}
    assert model.requests[-1].body["messages"][1:] == [user("Weather?"), called, result, sunny, user("Sure?")]
    session_id = (await client.get("/api/v1/chat/sessions", username="api:test")).json()["data"]["sessions"][0]
    parts = [message["parts"][0]["type"] for message in await client.history(session_id["session_id"], "api:test")]
    assert parts == ["plain", "tool_call", "tool_result", "plain", "plain", "plain"]


async def test_a_call_without_its_result_is_not_shown(client: Client, model: ModelServer) -> None:
    model.script(answers.tool_calls(("call_1", "weather", "{}")))
    await ask(client, user("Weather?"), session_id="s")
    await ask(client, user("Never mind"), session_id="s")
    assert shown(model)[1:] == [("user", "Weather?\n\nNever mind")]


async def test_requests_of_a_session_wait_for_each_other(client: Client, model: ModelServer) -> None:
    gate = asyncio.Event()
    model.script(reply(["1"], gate=gate), reply(["2"]))
    first = asyncio.create_task(ask(client, user("one"), session_id="s", stream=True))
    await model.wait_for_requests(1)
    second = asyncio.create_task(ask(client, user("two"), session_id="s"))
    busy = await client.post("/v1/chat/completions", {"messages": [user("x")], "session_id": "s", "on_busy": "reject"})
    assert (busy.status_code, busy.json()["error"]["code"]) == (409, "session_busy")
    gate.set()
    await asyncio.gather(first, second)
    assert shown(model) == [PROMPT, ("user", "one"), ("assistant", "1"), ("user", "two")]


async def test_a_profile_lends_its_prompt_and_parameters(
    start_server: StartServer, data_dir: Any, model: ModelServer
) -> None:
    (data_dir / "configs").mkdir(parents=True)
    text = 'name = "Tutor"\nsystem_prompt = "Teach"\nmodel = "big"\n[parameters]\ntemperature = 0.1\nmax_tokens = 9'
    (data_dir / "configs/tutor.toml").write_text(text)
    async with start_server() as server, Client(server, await server.new_key()) as client:
        await ask(client, user("one"), model="tutor", session_id="s")
        await ask(client, user("one"), model="Tutor", store=False, max_completion_tokens=5)
        await ask(client, user("two"), session_id="s", temperature=1)
    first, second, third = (request.body for request in model.requests)
    assert (first["model"], first["temperature"], first["messages"][0]["content"]) == ("big", 0.1, "Teach")
    assert second["messages"] == [{"role": "system", "content": "Teach"}, user("one")]
    assert (third["model"], third["temperature"], third["messages"][0]["content"]) == ("gpt-4.1-mini", 1, PROMPT[1])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}] * 51}]}, "messages"),
        ({"messages": [user("x")] * 51}, "messages"),
        ({"messages": [{"role": "tool", "tool_call_id": "x" * 4_097, "content": "y"}]}, "messages[0].tool_call_id"),
        ({"messages": [user("x")], "model": "m" * 256}, "model"),
        ({"messages": [user("x")], "model": "m\0"}, "model"),
    ],
)
async def test_a_message_to_a_session_keeps_the_limits_of_messages(
    server: Server, client: Client, model: ModelServer, body: dict[str, Any], param: str
) -> None:
    response = await client.post("/v1/chat/completions", {"session_id": "s", **body})
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert model.requests == []
    assert await count_rows(server.core.database, "sessions", "messages", "runs") == [0, 0, 0]
