"""What the tests of MCP servers do again and again."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from tests.conftest import StartServer
from tests.support import answers
from tests.support.answers import reply
from tests.support.client import Client, SseEvent
from tests.support.mcp_servers import until
from tests.support.model_server import ModelServer
from tests.tools.test_steps import calls_in, use

SCOPES = ("chat", "config", "file", "admin")


@asynccontextmanager
async def palaver_with(
    start_server: StartServer, *servers: Mapping[str, Any], **settings: Any
) -> AsyncIterator[Client]:
    """Serve with the MCP servers, whose tools the default profile uses."""
    async with (
        start_server(mcp_servers=list(servers), **settings) as server,
        Client(server, await server.new_key(*SCOPES)) as client,
    ):
        use(server, *(f"{entry['name']}_*" for entry in servers))
        yield client


async def report(client: Client, name: str) -> Mapping[str, Any]:
    response = await client.get(f"/api/v1/mcp/servers/{name}")
    assert response.status_code == 200, response.text
    data: Mapping[str, Any] = response.json()["data"]
    return data


async def until_state(client: Client, name: str, state: str) -> Mapping[str, Any]:
    async def matching() -> Mapping[str, Any] | None:
        data = await report(client, name)
        return data if data["state"] == state else None

    data: Mapping[str, Any] = await until(matching)
    return data


async def call(
    client: Client, model: ModelServer, name: str, arguments: Mapping[str, Any], **body: Any
) -> tuple[str, list[SseEvent]]:
    """Have the model call a tool once; returns the result's text, and the whole reply."""
    model.script(answers.tool_calls(("c1", name, json.dumps(arguments))), reply(["Done."]))
    events = await client.chat("Go", **body)
    return str(calls_in(events)[-1][1]["result"]), events


async def status_of(client: Client, session_id: str) -> str:
    """The status of the last call of a session."""
    message = (await client.history(session_id))[-1]
    steps = [part for part in message["parts"] if part["type"] == "tool_call"]
    return str(steps[-1]["tool_calls"][-1]["status"])
