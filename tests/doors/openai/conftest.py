"""The official clients, against a server on a real socket."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai import AsyncOpenAI

from app.completions import respond
from app.edge import sse
from tests.support.answers import reply
from tests.support.client import Client
from tests.support.model_server import ModelServer
from tests.support.server import Server


def openai_client(base_url: str, key: str, **options: Any) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=base_url, api_key=key, **{"max_retries": 0, "timeout": 20, **options})


@pytest.fixture
async def openai(server: Server, client: Client) -> AsyncIterator[AsyncOpenAI]:
    """OpenAI's own client, with the key of `client`."""
    async with openai_client(f"{server.base_url}/v1", client.key or "") as made:
        yield made


@pytest.fixture
async def direct(model: ModelServer) -> AsyncIterator[AsyncOpenAI]:
    """The same client, talking to the model server itself."""
    async with openai_client(model.base_url, "k") as made:
        yield made


def shown(model: ModelServer, index: int = -1) -> list[tuple[str, Any]]:
    """The messages of a request to the model server, as (role, content)."""
    return [(message["role"], message["content"]) for message in model.requests[index].body["messages"]]


async def check_silence_is_filled(
    path: str, client: Client, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream of this path sends comments while the model server says nothing."""
    monkeypatch.setattr(respond, "FIRST_WAIT_SECONDS", 0.05)
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0.05)
    gate = asyncio.Event()
    model.script(reply(["late"], gate=gate))
    body = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
    async with client.http.stream("POST", path, json=body) as response:
        assert response.status_code == 200
        pieces = response.aiter_text()
        assert (await anext(pieces)).startswith(": keep-alive")
        gate.set()
        rest = "".join([piece async for piece in pieces])
    assert "late" in rest
    assert rest.endswith("data: [DONE]\n\n")
