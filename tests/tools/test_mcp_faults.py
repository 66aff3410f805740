"""MCP servers that answer nonsense, hang, forget or flood."""

import asyncio
import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.conftest import StartServer
from tests.support import answers
from tests.support.answers import reply
from tests.support.client import types_of
from tests.support.mcp_servers import (
    Json,
    answering,
    children,
    http_server,
    is_alive,
    scripted,
    stdio_server,
    text,
    tool,
    until,
)
from tests.support.model_server import ModelServer
from tests.support.programs import ROOT
from tests.tools.mcp_steps import call, palaver_with, report, status_of, until_state
from tests.tools.test_steps import calls_in, tool_names

STUBBORN = ROOT / "tests" / "support" / "stubborn_mcp.py"
MODERN = ROOT / "tests" / "support" / "modern_mcp.py"


def stubborn(style: str, **options: Any) -> Json:
    entry = stdio_server("odd", STUBBORN, **options)
    return {**entry, "args": [*entry["args"], style]}


def listing(*tools: Json) -> Mapping[str, Json]:
    return {"tools/list": {"tools": list(tools)}}


async def test_names_are_made_fit_and_unique(start_server: StartServer, model: ModelServer) -> None:
    own_names = ["plain", "a.b", "a/b", "a_b", "x" * 200, "x" * 199 + "y", "naïve ✓", "knowledge"]

    def echo_name(request: Json) -> Json:
        return text(request["params"]["name"])

    respond = answering({**listing(*(tool(name) for name in own_names)), "tools/call": echo_name})
    async with scripted(respond) as mcp, palaver_with(start_server, http_server("search", mcp.url)) as client:
        names = (await until_state(client, "search", "connected"))["tools"]
        assert len(set(names)) == len(own_names)
        assert all(re.fullmatch("search_[A-Za-z0-9_-]{1,57}", name) for name in names)
        assert names[0] == "search_plain"
        assert names[3] == "search_a_b"
        assert "search_knowledge" not in names
        model.script(answers.tool_calls(*((name, name, "{}") for name in names)), reply(["Done."]))
        results = [each["result"] for kind, each in calls_in(await client.chat("Go")) if kind == "tool_call_result"]
    assert results == own_names


async def test_lists_are_paged_filtered_and_bounded(start_server: StartServer, model: ModelServer) -> None:
    def page(request: Json) -> Json:
        number = int((request.get("params") or {}).get("cursor") or 0)
        big = {"type": "object", "properties": {"x": {"type": "string", "description": "x" * 100_000}}}
        tools = [tool(f"t{number}-{n}") for n in range(100)] + [tool(f"big{number}", inputSchema=big)]
        return {"tools": tools, "nextCursor": str(number + 1)}  # without end

    server = {"tools": ["t0-*", "many_t3-7", "big*"]}
    async with (
        scripted(answering({"tools/list": page})) as mcp,
        palaver_with(start_server, http_server("many", mcp.url, **server)) as client,
    ):
        names = (await until_state(client, "many", "connected"))["tools"]
        assert mcp.called("tools/list") < 20
        assert names == [*(f"many_t0-{n}" for n in range(100)), "many_t3-7"]
        await client.chat("Hi")
        assert len(tool_names(model.requests[-1].body)) == 101


@pytest.mark.parametrize(
    "answer",
    [
        {"tools": [{"name": 5}]},
        {"tools": "none"},
        {"tools": [{"name": "x", "inputSchema": "y"}]},
        [],
        {},
    ],
)
async def test_a_list_of_the_wrong_shape_fails_the_server(start_server: StartServer, answer: Any) -> None:
    async with (
        scripted(answering({"tools/list": lambda _request: answer})) as mcp,
        palaver_with(start_server, http_server("odd", mcp.url)) as client,
    ):
        data = await until_state(client, "odd", "failed")
        assert data["error"]
        assert (await client.chat("Hi"))[-1].type == "end"


_NONSENSE: Sequence[tuple[bytes, str]] = (
    (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n{oops", "parse"),
    (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi", "content type"),
    (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{", "broke off"),
    (b"HTTP/1.1 503 X\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nno", "status 503"),
    (b"HTTP/1.1 202 X\r\nContent-Length: 0\r\n\r\n", "202"),
    (b"HTTP/1.1 302 X\r\nLocation: http://169.254.1.1/\r\nContent-Length: 0\r\n\r\n", "Redirect"),
    (b"nonsense\r\n\r\n", "broke off"),
    (b"", "broke off"),
    (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: {oops\n\n",
        "parse",
    ),
    (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n: hm\n\n", "ended"),
)


async def test_a_call_answered_with_nonsense_fails_alone(start_server: StartServer, model: ModelServer) -> None:
    respond = answering({**listing(tool("good"), tool("bad")), "tools/call": lambda _request: text("fine")})
    async with scripted(respond) as mcp, palaver_with(start_server, http_server("odd", mcp.url)) as client:
        await until_state(client, "odd", "connected")
        for raw, words in _NONSENSE:

            def answer(request: Json, raw: bytes = raw) -> bytes | None:
                return raw if (request.get("params") or {}).get("name") == "bad" else None

            mcp.raw = answer
            mcp.closing = b"Content-Length: 0" not in raw
            model.script(answers.tool_calls(("a", "odd_bad", "{}"), ("b", "odd_good", "{}")), reply(["Done."]))
            events = await client.chat("Go")
            bad, good = (each["result"] for kind, each in calls_in(events) if kind == "tool_call_result")
            assert words in bad
            assert good == "fine"
            assert (await report(client, "odd"))["state"] == "connected", raw


_RESULTS: Sequence[tuple[Json, str, str]] = (
    (text("It is broken", isError=True), "failed", "It is broken"),
    ({"content": [], "structuredContent": {"a": 1}}, "ok", '{"a":1}'),
    ({"content": [{"type": "text", "text": '{"a": 1}'}], "structuredContent": {"a": 1}}, "ok", '{"a": 1}'),
    ({"content": [{"type": "smell", "data": "x"}]}, "failed", "does not follow the protocol"),
    ({"content": "text"}, "failed", "does not follow the protocol"),
    ({"content": [{"type": "image", "data": "***", "mimeType": "image/png"}]}, "ok", "not base64"),
    (
        {"content": [{"type": "resource", "resource": {"uri": "a:b", "text": "inside"}}]},
        "ok",
        "inside",
    ),
    (text("x" * 50_000), "ok", "[cut: the result has 50000 characters]"),
)


async def test_results_of_all_shapes(start_server: StartServer, model: ModelServer) -> None:
    results = iter(_RESULTS)
    respond = answering({**listing(tool("it")), "tools/call": lambda _request: next(results)[0]})
    async with scripted(respond) as mcp, palaver_with(start_server, http_server("odd", mcp.url)) as client:
        await until_state(client, "odd", "connected")
        for number, (_, status, words) in enumerate(_RESULTS):
            answer, _ = await call(client, model, "odd_it", {}, session_id=f"s{number}")
            assert words in answer
            assert answer.count('"a"') <= 1
            assert await status_of(client, f"s{number}") == status, words


async def test_files_are_the_users_and_a_few(start_server: StartServer, model: ModelServer) -> None:
    blob = base64.b64encode(b"some bytes").decode()
    sound = {"type": "audio", "data": base64.b64encode(b"RIFF\x24\0\0\0WAVEfmt ").decode(), "mimeType": "audio/wav"}
    resource = {"uri": "file:///etc/../report%20one.bin", "blob": blob, "mimeType": "application/octet-stream"}
    content = [sound, *({"type": "resource", "resource": resource} for _ in range(20))]
    respond = answering({**listing(tool("files")), "tools/call": lambda _request: {"content": content}})
    async with scripted(respond) as mcp, palaver_with(start_server, http_server("odd", mcp.url)) as client:
        await until_state(client, "odd", "connected")
        answer, events = await call(client, model, "odd_files", {})
        ids = [event.data["data"] for event in events if event.type in ("record", "file")]
        assert types_of(events).count("attachment_saved") == len(ids) == 16
        assert answer.count("left out") == 5
        response = await client.http.get("/api/v1/file", params={"attachment_id": ids[1]})
        assert response.content == b"some bytes"
        assert "report one.bin" in response.headers["content-disposition"]


async def test_a_forgotten_session_is_begun_anew_and_the_call_made_once(
    start_server: StartServer, model: ModelServer
) -> None:
    respond = answering({**listing(tool("it")), "tools/call": lambda _request: text("fine")})
    async with scripted(respond) as mcp, palaver_with(start_server, http_server("odd", mcp.url)) as client:
        await until_state(client, "odd", "connected")
        mcp.forget_sessions()
        model.script(answers.tool_calls(*((f"c{n}", "odd_it", f'{{"n":{n}}}') for n in range(5))), reply(["Done."]))
        events = await client.chat("Go")
        results = [each["result"] for kind, each in calls_in(events) if kind == "tool_call_result"]
        assert results == ["fine"] * 5
        assert mcp.called("initialize") == 2
        done = [request for request in mcp.requests if request.get("method") == "tools/call"]
        assert len(done) == 10  # five were refused


async def test_a_changed_list_is_read_again(start_server: StartServer, model: ModelServer) -> None:
    async with palaver_with(start_server, stdio_server("modern", MODERN)) as client:
        await until_state(client, "modern", "connected")
        await call(client, model, "modern_grow", {"name": "sprout"})

        async def has_grown() -> bool:
            return "modern_sprout" in (await report(client, "modern"))["tools"]

        await until(has_grown)
        answer, _ = await call(client, model, "modern_sprout", {})
        assert "I am sprout" in answer


async def test_a_server_that_hangs_at_connect_delays_no_turn(start_server: StartServer) -> None:
    async with palaver_with(start_server, stubborn("hang", connect_timeout_seconds=0.5)) as client:
        async with asyncio.timeout(5):
            await client.chat("Hi")
        data = await until_state(client, "odd", "failed")
        assert data["error"] == "The server did not answer within 0.5 seconds"
    assert not children(STUBBORN)


async def test_noise_is_passed_over(start_server: StartServer, model: ModelServer) -> None:
    async with palaver_with(start_server, stubborn("noise")) as client:
        await until_state(client, "odd", "connected")
        answer, _ = await call(client, model, "odd_pid", {})
        assert answer.isdigit()


async def test_a_server_that_does_not_know_the_newest_question_is_asked_the_old_one(
    start_server: StartServer,
) -> None:
    async with palaver_with(start_server, stubborn("silent", connect_timeout_seconds=1.5)) as client:
        await until_state(client, "odd", "connected")


async def test_a_process_that_does_not_end_is_killed(start_server: StartServer) -> None:
    async with palaver_with(start_server, stubborn("deaf")) as client:
        await until_state(client, "odd", "connected")
        (process,) = children(STUBBORN)
    assert not is_alive(process)


@pytest.mark.parametrize("command", ["no-such-program", "/dev/null", "false"])
async def test_a_command_that_does_not_run_is_a_failure(start_server: StartServer, command: str) -> None:
    async with palaver_with(start_server, {"name": "odd", "command": command}) as client:
        data = await until_state(client, "odd", "failed")
        assert data["error"]


async def test_a_private_address_is_refused(start_server: StartServer) -> None:
    async with (
        scripted(answering(listing(tool("it")))) as mcp,
        palaver_with(start_server, http_server("odd", mcp.url, allow_private=False)) as client,
    ):
        data = await until_state(client, "odd", "failed")
        assert "private address" in data["error"]
        assert mcp.requests == []


async def test_a_call_while_the_server_is_away_waits_no_longer_than_connecting_may(
    start_server: StartServer, model: ModelServer
) -> None:
    respond = answering({**listing(tool("it")), "tools/call": lambda _request: text("fine")})
    async with scripted(respond) as mcp:
        entry = http_server("odd", mcp.url, connect_timeout_seconds=1)
        async with palaver_with(start_server, entry) as client:
            await until_state(client, "odd", "connected")
            mcp.raw = lambda _request: b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n"
            async with asyncio.timeout(5):
                answer, events = await call(client, model, "odd_it", {}, session_id="s1")
            assert "not connected" in answer
            assert await status_of(client, "s1") == "failed"
            assert events[-1].type == "end"
