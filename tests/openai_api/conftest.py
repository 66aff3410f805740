"""The official clients, against a server on a real socket."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai import AsyncOpenAI

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
