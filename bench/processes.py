"""The processes of a benchmark: servers whose CPU and memory are read from outside, and load generators."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import psutil

from bench.load import Job, Load

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 90.0
STOP_SECONDS = 15.0
LOAD_SECONDS = 120.0


class BenchError(Exception):
    """Something did not work, so that there is no figure; the text says what."""


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A server that runs, and where. Its CPU and memory are those of its children too."""

    process: psutil.Process
    host: str
    port: int

    def cpu_seconds(self) -> float:
        """User and system time since it began."""
        return sum(float(times.user + times.system) for times in self._each("cpu_times"))

    def rss(self) -> int:
        """Resident bytes."""
        return sum(int(info.rss) for info in self._each("memory_info"))

    def _each(self, reading: str) -> Iterator[Any]:
        for each in (self.process, *self.process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                yield getattr(each, reading)()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def plain_environment() -> dict[str, str]:
    """This process' environment without what configures the servers."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PALAVER_", "OPENAI_"))}


@asynccontextmanager
async def serving(
    command: Sequence[str | Path],
    port: int,
    log_file: Path,
    environment: Mapping[str, str] | None = None,
    *,
    start_seconds: float = START_SECONDS,
) -> AsyncIterator[ServerProcess]:
    """A server from the moment it answers on `port`; it is gone when the block ends. Raises BenchError."""
    with log_file.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *map(str, command),
            cwd=ROOT,
            stdin=DEVNULL,
            stdout=log,
            stderr=log,
            env={**plain_environment(), **(environment or {})},
        )
    try:
        await until_answering(process, port, log_file, start_seconds)
        yield ServerProcess(psutil.Process(process.pid), "127.0.0.1", port)
    finally:
        await _end(process)


async def until_answering(process: Process, port: int, log_file: Path, start_seconds: float = START_SECONDS) -> float:
    """Wait until GET /health is answered, with whatever status; seconds since this was called. Raises BenchError."""
    began = time.perf_counter()
    while time.perf_counter() - began < start_seconds:
        if process.returncode is not None:
            break
        with suppress(OSError, EOFError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                await reader.readexactly(12)
            finally:
                writer.close()
            return time.perf_counter() - began
        await asyncio.sleep(0.005)
    raise BenchError(f"a server did not start: {log_file.read_text(errors='replace')[-2000:]}")


async def _end(process: Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


@asynccontextmanager
async def model_server() -> AsyncIterator[ServerProcess]:
    """The scripted model server."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.model", cwd=ROOT, stdout=PIPE)
    assert process.stdout is not None
    try:
        url = (await process.stdout.readline()).decode()
        port = int(url.partition("127.0.0.1:")[2].partition("/")[0])
        yield ServerProcess(psutil.Process(process.pid), "127.0.0.1", port)
    finally:
        process.kill()
        await process.wait()


class Generator:
    """A load generator that has been given its job."""

    def __init__(self, process: Process, out: Path) -> None:
        self.process = process
        self._out = out

    async def announced(self) -> None:
        """Wait until each of its clients has its first token. Raises BenchError."""
        assert self.process.stdout is not None
        async with asyncio.timeout(LOAD_SECONDS):
            if not await self.process.stdout.readline():
                raise BenchError("the load generator ended before its clients had a token")

    async def result(self) -> Load:
        """What it measured. Raises BenchError when an answer was not what it has to be."""
        async with asyncio.timeout(LOAD_SECONDS):
            code = await self.process.wait()
        if code:
            raise BenchError(f"the load generator ended with {code}")
        load = msgspec.json.decode(self._out.read_bytes(), type=Load)
        if load.errors:
            raise BenchError(f"{len(load.errors)} answers were wrong, the first: {load.errors[0]}")
        return load


@asynccontextmanager
async def generating(job: Job) -> AsyncIterator[Generator]:
    """A load generator at work; it is gone when the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "load.json"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.load", str(out)), cwd=ROOT, stdin=PIPE, stdout=PIPE
        )
        assert process.stdin is not None
        try:
            process.stdin.write(msgspec.json.encode(job) + b"\n")
            await process.stdin.drain()
            yield Generator(process, out)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def generate(job: Job) -> Load:
    """Do a job to its end. Raises BenchError."""
    async with generating(job) as generator:
        return await generator.result()
