"""A client that may manage keys, one that brings none, and the key service of the running server."""

from collections.abc import AsyncIterator

import pytest

from app.auth.service import KeyService
from app.edge.services import service
from tests.support.client import Client
from tests.support.server import Server


@pytest.fixture
async def admin(server: Server) -> AsyncIterator[Client]:
    """A client with every scope."""
    async with Client(server, await server.new_key("chat", "config", "file", "im", "admin")) as client:
        yield client


@pytest.fixture
async def stranger(server: Server) -> AsyncIterator[Client]:
    """A client without a key."""
    async with Client(server, None) as client:
        yield client


@pytest.fixture
async def keys(server: Server) -> KeyService:
    """The running server's own; `server.core.keys` is another process's, as it were."""
    async with server.app.app_context():
        return service(KeyService)
