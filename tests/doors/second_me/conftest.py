"""Keys of two users and one of nobody's, on one server."""

from collections.abc import AsyncIterator

import pytest

from tests.support.client import Client
from tests.support.server import Server


@pytest.fixture
async def alice(server: Server) -> AsyncIterator[Client]:
    async with Client(server, await server.new_key("chat", username="alice")) as made:
        yield made


@pytest.fixture
async def bob(server: Server) -> AsyncIterator[Client]:
    async with Client(server, await server.new_key("chat", username="bob")) as made:
        yield made
