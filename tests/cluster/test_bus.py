"""The bus: one suite for all that carry something. Messages arrive once at most, and it mends itself."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import make_url

from app.cluster.live_bus import LiveBus, Transport, pack, unpack
from app.cluster.postgres_bus import PostgresTransport
from app.cluster.redis_bus import RedisTransport
from tests.support.postgres import Postgres
from tests.support.proxy import Proxy, proxied
from tests.support.waiting import until

StartBus = Callable[[str], Any]


@pytest.fixture(params=["postgresql", "redis"])
async def url(request: pytest.FixtureRequest, postgres: Postgres) -> str:
    """The address of what carries messages."""
    return str(request.getfixturevalue("redis_url")) if request.param == "redis" else postgres.admin_url


@pytest.fixture
async def proxy(url: str) -> AsyncIterator[Proxy]:
    parsed = make_url(url)
    default = 6379 if url.startswith("redis") else 5432
    async with proxied(parsed.host or "127.0.0.1", parsed.port or default) as proxy:
        yield proxy


@pytest.fixture
def start_bus(url: str, proxy: Proxy) -> StartBus:
    """Start buses through the proxy, in a namespace of the test's own."""
    namespace = f"tests_{uuid4().hex[:12]}_"
    through = make_url(url).set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)

    @asynccontextmanager
    async def start(server_id: str) -> AsyncIterator[tuple[LiveBus, list[Any]]]:
        locks: list[bool] = []
        transport: Transport = (
            RedisTransport(through)
            if url.startswith("redis")
            else PostgresTransport(through, f"{namespace}{server_id}", locks.append)
        )
        bus = LiveBus(transport, server_id)
        heard: list[Any] = []
        bus.on("news", lambda *arguments: heard.append(arguments))
        bus.on("opened", lambda: heard.append("opened"))
        await bus.open(namespace)
        await until(lambda: heard == ["opened"])
        heard.clear()
        try:
            yield bus, heard
        finally:
            await bus.close()

    return start


async def test_messages_reach_the_server_they_are_for_in_their_order(start_bus: StartBus) -> None:
    async with start_bus("a") as (a, at_a), start_bus("b") as (b, at_b):
        for number in range(200):
            a.tell("b", "news", number, b"\x00\xff", {"key": ["ü", None]})
        await until(lambda: len(at_b) == 200)
        assert at_b == [(number, b"\x00\xff", {"key": ["ü", None]}) for number in range(200)]
        b.tell_all("news", "all")
        await until(lambda: at_a == [("all",)] and at_b[200:] == [("all",)])


async def test_unknown_kinds_and_acts_that_fail_harm_nothing(start_bus: StartBus) -> None:
    def fail() -> None:
        raise ValueError

    async with start_bus("a") as (a, heard):
        a.on("broken", fail)
        a.tell("a", "of another version", 1, 2)
        a.tell("a", "broken")
        a.tell("a", "broken", "with", "arguments")
        a.tell("a", "news", "after")
        await until(lambda: heard == [("after",)])


async def test_what_fits_arrives_and_what_does_not_is_left_out(start_bus: StartBus) -> None:
    async with start_bus("a") as (a, heard):
        size = 1024
        while a.fits(size):
            size += 1024
        a.tell("a", "news", b"x" * (size - 1024))
        a.tell("a", "news", b"x" * size * 2)
        a.tell("a", "news", b"last")
        await until(lambda: heard[-1:] == [(b"last",)])
        assert [len(data) for (data,) in heard] == [size - 1024, 4]


async def test_it_comes_back_after_its_connections_were_cut(start_bus: StartBus, proxy: Proxy) -> None:
    async with start_bus("a") as (a, heard):
        await until(lambda: a.sure)
        proxy.cut()
        await until(lambda: heard == ["opened"])
        a.tell("a", "news", 1)
        await until(lambda: heard == ["opened", (1,)])


async def test_it_notices_silence_and_is_not_sure_meanwhile(start_bus: StartBus, proxy: Proxy) -> None:
    async with start_bus("a") as (a, heard):
        proxy.hold()
        await until(lambda: not a.sure)
        a.tell("a", "news", "lost or late")
        proxy.release()
        await until(lambda: a.sure, 20)  # by a new connection, or the old one, whose packets come after all
        a.tell("a", "news", 1)
        await until(lambda: (1,) in heard)


def test_packing_keeps_the_order_and_the_size() -> None:
    messages = {"one": [bytes([0x91, 0xC4, 90]) + bytes(90)] * 50, "two": [b"\x91\x01"]}
    frames = list(pack(messages, 1000))
    assert all(len(frame) < 1100 for _, frame in frames)
    assert [channel for channel, _ in frames] == ["one"] * 5 + ["two"]
    assert sum(len(unpack(frame)) for _, frame in frames) == 51
