"""MCP servers, with the reference server of the protocol's authors."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
import pytest_asyncio

from tests.conftest import StartServer
from tests.support import answers
from tests.support.answers import reply
from tests.support.mcp_servers import (
    EverythingOverHttp,
    bytes_read_by,
    children,
    everything,
    http_server,
    is_alive,
    kill,
    stdio_server,
    until,
)
from tests.support.model_server import ModelServer
from tests.support.processes import API_KEY, ServerProcess, provider_toml
from tests.tools.mcp_steps import call, palaver_with, report, status_of, until_state
from tests.tools.test_steps import calls_in

# The tool, arguments for it, words of its result, and the types of the files that the user gets.
CALLS: Mapping[str, tuple[Mapping[str, Any], str, list[str]]] = {
    "echo": ({"message": "hello"}, "Echo: hello", []),
    "get-annotated-message": ({"messageType": "success", "includeImage": True}, "successfully", ["image"]),
    "get-env": ({}, "PATH", []),
    "get-resource-links": ({"count": 2}, "[Text Resource 2](demo://", []),
    "get-resource-reference": ({"resourceType": "Blob", "resourceId": 1}, "1.txt", ["file"]),
    "get-structured-content": ({"location": "New York"}, "temperature", []),
    "get-sum": ({"a": 2, "b": 3}, "is 5", []),
    "get-tiny-image": ({}, "the image you requested", ["image"]),
    "gzip-file-as-resource": (
        {"name": "a.gz", "data": "data:text/plain,hello", "outputType": "resource"},
        "a.gz",
        ["file"],
    ),
    "toggle-simulated-logging": ({}, "logging", []),
    "toggle-subscriber-updates": ({}, "notifications", []),
    "trigger-long-running-operation": ({"duration": 0.2, "steps": 2}, "completed", []),
}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def script() -> Path:
    return await everything()


@pytest.fixture
async def over_http(script: Path) -> AsyncIterator[EverythingOverHttp]:
    server = EverythingOverHttp(script)
    try:
        await server.start()
        yield server
    finally:
        await server.close()


@pytest.fixture(params=["stdio", "streamable_http"])
def entry(request: pytest.FixtureRequest, script: Path) -> Mapping[str, Any]:
    """The settings of the reference server over each transport."""
    if request.param == "stdio":
        return stdio_server("every", script)
    server: EverythingOverHttp = request.getfixturevalue("over_http")
    return http_server("every", server.url)


async def test_every_tool_is_called(start_server: StartServer, model: ModelServer, entry: Mapping[str, Any]) -> None:
    async with palaver_with(start_server, entry) as client:
        data = await until_state(client, "every", "connected")
        assert data["transport"] == ("stdio" if "command" in entry else "streamable_http")
        assert sorted(data["tools"]) == sorted(f"every_{name}" for name in CALLS)
        listed = {tool["name"]: tool for tool in (await client.get("/api/v1/tools")).json()["data"]["tools"]}
        assert listed["every_echo"]["server"] == "every"
        assert "message" in listed["every_echo"]["parameters"]["properties"]
        model.script(
            answers.tool_calls(*((name, f"every_{name}", json.dumps(each[0])) for name, each in CALLS.items())),
            reply(["Done."]),
        )
        events = await client.chat("Go", session_id="s1")
        results = {each["id"]: each["result"] for kind, each in calls_in(events) if kind == "tool_call_result"}
        for name, (_, words, _) in CALLS.items():
            assert words in results[name], name
        media = [(event.type, event.data["data"]) for event in events if event.type in ("image", "file")]
        assert sorted(kind for kind, _ in media) == sorted(kind for _, _, kinds in CALLS.values() for kind in kinds)
        for _, attachment_id in media:
            response = await client.http.get("/api/v1/file", params={"attachment_id": attachment_id})
            assert response.status_code == 200
            assert response.content
        steps = [part for part in (await client.history("s1"))[1]["parts"] if part["type"] == "tool_call"]
        assert {each["status"] for each in steps[0]["tool_calls"]} == {"ok"}


async def test_many_calls_go_side_by_side(
    start_server: StartServer, model: ModelServer, entry: Mapping[str, Any]
) -> None:
    async with palaver_with(start_server, entry) as client:
        await until_state(client, "every", "connected")
        calls = [(f"c{n}", "every_echo", json.dumps({"message": f"no. {n}"})) for n in range(40)]
        model.script(answers.tool_calls(*calls), reply(["Done."]))
        events = await client.chat("Go")
        results = [each["result"] for kind, each in calls_in(events) if kind == "tool_call_result"]
    assert results == [f"Echo: no. {n}" for n in range(40)]


async def test_a_call_that_takes_too_long_fails_and_the_session_goes_on(
    start_server: StartServer, model: ModelServer, entry: Mapping[str, Any]
) -> None:
    async with palaver_with(start_server, {**entry, "call_timeout_seconds": 0.4}) as client:
        await until_state(client, "every", "connected")
        slow = {"duration": 30, "steps": 1}
        result, _ = await call(client, model, "every_trigger-long-running-operation", slow, session_id="s1")
        assert "did not answer within 0.4 seconds" in result
        assert await status_of(client, "s1") == "failed"
        assert (await report(client, "every"))["state"] == "connected"
        result, _ = await call(client, model, "every_echo", {"message": "again"})
        assert result == "Echo: again"


async def test_a_stopped_call_is_interrupted_and_the_session_goes_on(
    start_server: StartServer, model: ModelServer, entry: Mapping[str, Any]
) -> None:
    async with palaver_with(start_server, entry) as client:
        await until_state(client, "every", "connected")
        slow = json.dumps({"duration": 30, "steps": 1})
        model.script(answers.tool_calls(("c1", "every_trigger-long-running-operation", slow)))
        async with client.chatting("Go", session_id="s1") as events:
            async for event in events:
                if event.data.get("chain_type") == "tool_call":
                    break
            async with asyncio.timeout(5):
                await client.post("/api/v1/chat/sessions/s1/stop", {"username": "alice"})
                assert [event async for event in events][-1].type == "end"
        assert await status_of(client, "s1") == "interrupted"
        assert (await report(client, "every"))["state"] == "connected"
        result, _ = await call(client, model, "every_echo", {"message": "again"})
        assert result == "Echo: again"


async def test_a_process_killed_in_mid_call_is_started_again(
    start_server: StartServer, model: ModelServer, script: Path
) -> None:
    async with palaver_with(start_server, stdio_server("every", script)) as client:
        await until_state(client, "every", "connected")
        slow = json.dumps({"duration": 30, "steps": 1})
        model.script(answers.tool_calls(("c1", "every_trigger-long-running-operation", slow)), reply(["Done."]))
        first = children(script)
        seen = bytes_read_by(first)
        async with client.chatting("Go", session_id="s1") as events:
            async for event in events:
                if event.data.get("chain_type") == "tool_call":
                    await until(lambda: bytes_read_by(first) > seen)  # a call that was not written is tried again
                    kill(first)
        assert await status_of(client, "s1") == "failed"
        result, _ = await call(client, model, "every_echo", {"message": "again"})
        # Whether the tools were there again for this turn is a matter of time.
        if "no tool named" in result:
            await until_state(client, "every", "connected")
            result, _ = await call(client, model, "every_echo", {"message": "again"})
        assert result == "Echo: again"
        assert children(script) != first
    assert not children(script)


async def test_a_server_away_drops_its_tools_and_comes_back(
    start_server: StartServer, model: ModelServer, over_http: EverythingOverHttp
) -> None:
    async with palaver_with(start_server, http_server("every", over_http.url)) as client:
        await until_state(client, "every", "connected")
        await over_http.kill()
        data = await until_state(client, "every", "failed")
        assert data["error"]
        assert data["tools"] == []
        async with asyncio.timeout(5):
            await client.chat("Hi")
        assert "tools" not in model.requests[-1].body
        await over_http.start()
        data = (await client.post("/api/v1/mcp/servers/every/test")).json()["data"]
        assert (data["state"], data["error"]) == ("connected", None)
        result, _ = await call(client, model, "every_echo", {"message": "again"})
        assert result == "Echo: again"


async def test_a_server_restarted_between_two_calls_is_not_noticed(
    start_server: StartServer, model: ModelServer, over_http: EverythingOverHttp
) -> None:
    async with palaver_with(start_server, http_server("every", over_http.url)) as client:
        await until_state(client, "every", "connected")
        restarted = asyncio.Event()
        step = answers.tool_calls(("c1", "every_echo", '{"message":"hello"}'))
        model.script(replace(step, gate=restarted, after=0, then="wait"), reply(["Done."]))
        chatting = asyncio.create_task(client.chat("Go"))
        await until(lambda: model.requests)
        await over_http.kill()
        await over_http.start()
        restarted.set()
        assert calls_in(await chatting)[-1][1]["result"] == "Echo: hello"


async def test_a_process_has_few_variables_and_ends_with_palaver(
    start_server: StartServer, model: ModelServer, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "of-nobodys-concern")
    server = stdio_server("every", script, env={"EXTRA": "for the server"})
    async with palaver_with(start_server, server) as client:
        await until_state(client, "every", "connected")
        result, _ = await call(client, model, "every_get-env", {})
        variables = json.loads(result)
        assert variables.pop("EXTRA") == "for the server"
        assert variables.keys() <= {"HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"}
        (process,) = children(script)
    assert not is_alive(process)
    assert not [each for each in psutil.Process().children() if each.status() == psutil.STATUS_ZOMBIE]


async def test_a_killed_palaver_leaves_no_process(data_dir: Path, model: ModelServer, script: Path) -> None:
    data_dir.mkdir(parents=True)
    table = f'[[mcp_servers]]\nname = "every"\ncommand = "node"\nargs = [{json.dumps(str(script))}, "stdio"]\n'
    (data_dir / "palaver.toml").write_text(provider_toml(model.base_url) + table)
    process = ServerProcess(data_dir)
    try:
        await process.start()
        async with httpx2.AsyncClient(base_url=process.base_url, headers={"X-API-Key": API_KEY}) as http:

            async def has_tools() -> bool:
                return b"every_echo" in (await http.get("/api/v1/tools")).content

            await until(has_tools)
        (child,) = children(script, process.process.pid)
        await process.kill()
        await until(lambda: not is_alive(child), 10)
    finally:
        await process.close()
