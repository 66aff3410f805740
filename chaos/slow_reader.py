"""The trial of the reader that is stopped: a client whose process gets SIGSTOP while a long reply is being made.

The server may not keep what that reader does not take, and nobody else may notice. As a process
(`python -m chaos.slow_reader URL`) this is the reader: it prints a line when it has the first event, and at the end
how much of the reply it got.
"""

import asyncio
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import aiohttp
import msgspec
import psutil
from aiohttp import AddrInfoType

from tests.support.model_server import ModelServer
from tests.support.processes import API_KEY, ServerProcess, provider_toml
from tests.support.programs import ROOT

TOKENS = 5000
MAX_GROWTH_BYTES = 2 * 1024**2
MAX_SLOWDOWN_SECONDS = 0.25
LONG = f"[[tokens:{TOKENS}]] [[delay:0.0005]]"
HEADERS = {"X-API-Key": API_KEY}


@dataclass(slots=True)
class Reading:
    """Bytes of growth while the reader was stopped; seconds that others' short replies took, before and meanwhile."""

    growth: int = 0
    before: float = 0.0
    meanwhile: float = 0.0
    worst: float = 0.0
    problems: list[str] = field(default_factory=list)


async def stop_a_reader(folder: Path) -> Reading:
    reading = Reading()
    data_dir = folder / "data"
    data_dir.mkdir()
    async with ModelServer() as model:
        (data_dir / "palaver.toml").write_text(provider_toml(model.base_url))
        server = ServerProcess(data_dir)
        try:
            await server.start()
            async with aiohttp.ClientSession(server.base_url, headers=HEADERS) as http:
                await _measure(reading, server, http)
        finally:
            await server.close()
    return reading


async def _measure(reading: Reading, server: ServerProcess, http: aiohttp.ClientSession) -> None:
    # What every reply needs is there before it is measured: as many events, and a history as long as it gets.
    await asyncio.gather(*(_chat(http, f"warm {number}", LONG) for number in range(2)))
    reading.before = median([await _chat(http, "other", "Hi") for _ in range(60)])
    memory = psutil.Process(server.process.pid)

    reader = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "chaos.slow_reader", server.base_url, cwd=ROOT, stdout=PIPE
    )
    assert reader.stdout is not None
    run_id = (await reader.stdout.readline()).decode().strip()
    reader.send_signal(signal.SIGSTOP)
    size_before = memory.memory_info().rss
    times, peak = [], size_before
    while await _status(http, run_id) != "completed":
        times.append(await _chat(http, "other", "Hi"))
        peak = max(peak, memory.memory_info().rss)
    reading.growth = max(peak, memory.memory_info().rss) - size_before
    reading.meanwhile, reading.worst = median(times), max(times)

    reader.send_signal(signal.SIGCONT)
    out, _ = await reader.communicate()
    if int(out) != TOKENS:
        reading.problems.append(f"the reader got {int(out)} of {TOKENS} tokens when it went on")
    if reading.growth >= MAX_GROWTH_BYTES:
        reading.problems.append(f"memory grew by {reading.growth} bytes")
    if reading.meanwhile - reading.before > MAX_SLOWDOWN_SECONDS:
        reading.problems.append(f"others waited {reading.meanwhile:.3f} s instead of {reading.before:.3f} s")


async def _chat(http: aiohttp.ClientSession, session: str, message: str) -> float:
    """Measure the seconds from a message to its whole reply."""
    start = time.monotonic()
    body = {"username": "alice", "session_id": session, "message": message}
    async with http.post("/api/v1/chat", json=body) as response:
        text = await response.text()
    assert '"type":"complete"' in text, text[-500:]
    return time.monotonic() - start


async def _status(http: aiohttp.ClientSession, run_id: str) -> str:
    async with http.get(f"/api/v1/chat/runs/{run_id}") as response:
        return str((await response.json())["data"]["status"])


async def _read(url: str) -> None:
    body = {"username": "alice", "session_id": "stopped", "message": LONG}
    tokens = 0
    async with (
        aiohttp.ClientSession(url, headers=HEADERS, connector=aiohttp.TCPConnector(socket_factory=_narrow)) as http,
        http.post("/api/v1/chat", json=body) as response,
    ):
        async for line in response.content:
            if not line.startswith(b"data: "):
                continue
            event = msgspec.json.decode(line[6:])
            if event["type"] == "session_id":
                print(event["run_id"], flush=True)
            if event["type"] == "plain":
                tokens += len(event["data"].split())
    print(tokens, flush=True)


def _narrow(address: AddrInfoType) -> socket.socket:
    """Make a socket that takes little in advance: the kernel would otherwise hold the whole reply for its reader."""
    narrow = socket.socket(*address[:3])
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return narrow


if __name__ == "__main__":
    asyncio.run(_read(sys.argv[1]))
