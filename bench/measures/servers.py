"""Two servers on one PostgreSQL database: what it adds to read a reply at the server that does not make it."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aiohttp

from bench.postgres import NO_POSTGRES, empty_database
from bench.processes import BenchError, ServerProcess
from bench.scenario import Bench, Figures, quantile
from bench.systems import API_KEY, palaver

RUNS, TOKENS, PACE_MS = 64, 250, 20
RAMP = 2.0
"""Seconds over which the runs begin."""
STOPS = 20
ROWS = ("added_p50", "added_p99", "a_token", "b_token", "stop_p50", "stop_p99")


@dataclass(slots=True)
class Arrivals:
    """When each event of a run arrived, by its number, from the server that makes the run and from the other one."""

    at_a: dict[int, float] = field(default_factory=dict)
    at_b: dict[int, float] = field(default_factory=dict)

    def added(self) -> list[float]:
        """The seconds by which each event came later from the other server; one that was stored already is left out."""
        shared = sorted(self.at_a.keys() & self.at_b.keys())
        first_live = min(self.at_b.values(), default=0.0) + 0.5
        return [max(0.0, self.at_b[n] - self.at_a[n]) for n in shared if self.at_a[n] > first_live]


async def following(bench: Bench) -> Figures:
    """64 runs of 50 tokens a second at one server, each read there and at the other one."""
    figures = Figures()
    runs, tokens = bench.scaled(RUNS, 2), bench.scaled(TOKENS, 60)
    async with AsyncExitStack() as stack:
        try:
            url = await stack.enter_async_context(empty_database())
        except OSError:
            figures.skipped = dict.fromkeys(ROWS, NO_POSTGRES)
            return figures
        environment: dict[str, Any] = {
            "PALAVER_DATABASE_URL": url,
            "PALAVER_SECRET_KEY": secrets.token_hex(32),
            "PALAVER_MAX_RUNS_PER_KEY": "1000",
            "PALAVER_MAX_STREAMS_PER_KEY": "1000",
        }
        a = await stack.enter_async_context(palaver(bench.new_folder("a"), bench.model, **environment))
        b = await stack.enter_async_context(palaver(bench.new_folder("b"), bench.model, **environment))
        headers = {"X-API-Key": API_KEY}
        connector = aiohttp.TCPConnector(limit=0)
        http = await stack.enter_async_context(aiohttp.ClientSession(headers=headers, connector=connector))
        await _follow(http, a, b, 2, 60)  # to be warm
        for _ in range(bench.rounds):
            before = a.cpu_seconds(), b.cpu_seconds()
            arrivals = await _follow(http, a, b, runs, tokens)
            spent = a.cpu_seconds() - before[0], b.cpu_seconds() - before[1]
            stops = [await _stop(http, a, b) for _ in range(bench.scaled(STOPS, 3))]
            added = [seconds for each in arrivals for seconds in each.added()]
            figures.add(
                added_p50=1000 * quantile(added, 0.5),
                added_p99=1000 * quantile(added, 0.99),
                a_token=1e6 * spent[0] / (runs * tokens),
                b_token=1e6 * spent[1] / (runs * tokens),
                stop_p50=1000 * quantile(stops, 0.5),
                stop_p99=1000 * quantile(stops, 0.99),
            )
    return figures


async def _follow(
    http: aiohttp.ClientSession, a: ServerProcess, b: ServerProcess, runs: int, tokens: int
) -> list[Arrivals]:
    return await asyncio.gather(*(_follow_one(http, a, b, tokens, RAMP * number / runs) for number in range(runs)))


async def _follow_one(
    http: aiohttp.ClientSession, a: ServerProcess, b: ServerProcess, tokens: int, delay: float
) -> Arrivals:
    arrivals = Arrivals()
    await asyncio.sleep(delay)
    body: Mapping[str, object] = {
        "username": "bench",
        "session_id": str(uuid4()),
        "message": "Hello, how are you?",
        "selected_model": f"t{tokens}-d{PACE_MS}",
    }
    async with http.post(f"http://{a.host}:{a.port}/api/v1/chat", json=body) as response:
        if response.status != 200:
            raise BenchError(f"{response.status}: {await response.text()}")
        events = _numbers(response)
        number, data = await anext(events)
        run_id = data.partition(b'"run_id":"')[2].partition(b'"')[0].decode()
        reading = asyncio.create_task(_read(http, b, run_id, arrivals.at_b))
        async for number, _ in events:
            arrivals.at_a[number] = time.perf_counter()
        await reading
    if arrivals.at_a.keys() - arrivals.at_b.keys():
        raise BenchError(f"the other server left out events of the run {run_id}")
    return arrivals


async def _stop(http: aiohttp.ClientSession, a: ServerProcess, b: ServerProcess) -> float:
    """The seconds from a stop at one server until the reader at the other one, which makes the reply, has its end."""
    body = {"username": "bench", "message": "Hello", "selected_model": f"t100000-d{PACE_MS}"}
    async with http.post(f"http://{a.host}:{a.port}/api/v1/chat", json=body) as response:
        response.raise_for_status()
        events = _numbers(response)
        _, data = await anext(events)
        run_id = data.partition(b'"run_id":"')[2].partition(b'"')[0].decode()
        while (await anext(events))[0] < 20:
            pass
        began = time.perf_counter()
        stopping = asyncio.create_task(_post(http, f"http://{b.host}:{b.port}/api/v1/chat/runs/{run_id}/stop"))
        async for _ in events:
            pass
        seconds = time.perf_counter() - began
        await stopping
    return seconds


async def _post(http: aiohttp.ClientSession, url: str) -> None:
    async with http.post(url) as response:
        response.raise_for_status()


async def _read(http: aiohttp.ClientSession, server: ServerProcess, run_id: str, arrivals: dict[int, float]) -> None:
    async with http.get(f"http://{server.host}:{server.port}/api/v1/chat/runs/{run_id}/stream") as response:
        response.raise_for_status()
        async for number, _ in _numbers(response):
            arrivals[number] = time.perf_counter()


async def _numbers(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[int, bytes]]:
    """Yield the number and the data of each event."""
    buffer = b""
    async for chunk in response.content.iter_any():
        *blocks, buffer = (buffer + chunk).split(b"\n\n")
        for block in blocks:
            if block.startswith(b"id: "):
                first, _, second = block.partition(b"\n")
                yield int(first[4:]), second
