"""Two servers on one PostgreSQL database, with each kind of bus between them."""

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.server import Server
from tests.support.waiting import until

REDIS_URL = os.environ.get("PALAVER_TEST_REDIS_URL", "redis://127.0.0.1:6379")


@pytest.fixture
def redis_url() -> str:
    """The address of a Redis server; skips the test without one."""
    try:
        with Redis.from_url(REDIS_URL) as client:
            client.ping()
    except (OSError, RedisError) as error:
        pytest.skip(f"no Redis lets the tests in: {error}")
    return REDIS_URL


class Pair(NamedTuple):
    """Two servers, and clients of them with one key."""

    a: Client
    b: Client
    server_a: Server
    server_b: Server


@pytest.fixture(params=["postgresql", "redis", "none"])
def bus(request: pytest.FixtureRequest) -> str:
    """What is between the servers; a test may ask for some of them only."""
    if request.param == "redis":
        request.getfixturevalue("redis_url")
    return str(request.param)


@pytest.fixture
def bus_url(bus: str) -> str | None:
    return {"postgresql": None, "redis": REDIS_URL, "none": "none"}[bus]


@pytest.fixture
async def pair(
    start_server: StartServer, database_url: str, tmp_path: Path, bus_url: str | None
) -> AsyncIterator[Pair]:
    options = {"database_url": database_url, "secret_key": secrets.token_hex(32), "bus_url": bus_url}
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(start_server(data_dir=tmp_path / name, **options)) for name in ("a", "b")
        ]
        key = await servers[0].new_key()
        a, b = [await stack.enter_async_context(Client(server, key)) for server in servers]
        if bus_url != "none":
            for client in (a, b):
                await until(partial(hears, client))
        yield Pair(a, b, *servers)


async def hears(client: Client) -> bool:
    """Whether a server hears the others by its bus."""
    return "palaver_bus_up 1.0" in (await client.get("/metrics")).text
