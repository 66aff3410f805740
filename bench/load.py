"""The load generator: a process of its own, raw asyncio, keep-alive HTTP/1.1, and no more parsing than is needed.

`python -m bench.load FILE` reads a `Job` as a line of JSON on stdin and writes a `Load` to FILE. With `announce` it
prints an empty line when every client has its first token; with `hold` it then keeps its streams open until stdin ends,
and writes nothing.
"""

import asyncio
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from bench.model import TOKEN

_END_OF_CHUNKS = b"0\r\n\r\n"
_TOKEN = TOKEN.encode()


class Job(msgspec.Struct, frozen=True):
    """`clients` connections that together send each of `requests` once, in its order: whole HTTP requests.

    `marker` is what stands in each event that has a token. An answer that has not `expect` in it is an error; `tokens`
    is how many it has, if they are to be counted. Clients begin over `ramp` seconds.
    """

    host: str
    port: int
    clients: int
    requests: Sequence[str]
    marker: str
    expect: str
    tokens: int = 0
    ramp: float = 0.0
    receive_buffer: int = 0
    announce: bool = False
    hold: bool = False


class Load(msgspec.Struct):
    """Seconds: the whole, each request's time to its first token and to its end, and between two reads with tokens."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    first: list[float] = []
    whole: list[float] = []
    gaps: list[float] = []
    errors: list[str] = []


class _Generator:
    def __init__(self, job: Job) -> None:
        self.job = job
        self.load = Load()
        self.marker = job.marker.encode()
        self.expect = job.expect.encode()
        self.over = asyncio.Event()
        self._requests = iter([request.encode() for request in job.requests])
        self._left = job.clients
        self._without_token = job.clients

    def next_request(self) -> bytes | None:
        return next(self._requests, None)

    def client_has_token(self) -> None:
        self._without_token -= 1
        if not self._without_token and self.job.announce:
            print(flush=True)

    def client_done(self) -> None:
        self._left -= 1
        if not self._left:
            self.over.set()

    def check(self, answer: bytearray) -> None:
        if not answer.startswith(b"HTTP/1.1 200") or self.expect not in answer:
            self.load.errors.append(bytes(answer[-600:]).decode(errors="replace"))
        elif answer.count(_TOKEN) < self.job.tokens:
            self.load.errors.append(f"{answer.count(_TOKEN)} tokens of {self.job.tokens}")


class _Client(asyncio.Protocol):
    """One connection, and one request on it at a time."""

    def __init__(self, generator: _Generator) -> None:
        self._generator = generator
        self._marker = generator.marker
        self._answer = bytearray()
        self._sent_at = 0.0
        self._token_at = 0.0
        self._had_token = False
        self._ended = False
        self._length: int | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit from it
        self._send()

    def _send(self) -> None:
        assert self._transport is not None
        request = self._generator.next_request()
        if request is None:
            self._end()
            return
        self._answer.clear()
        self._token_at, self._length = 0.0, None
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if self._marker in data or (not self._token_at and self._marker in self._answer):
            self._token_came(time.perf_counter())
        if self._is_over(data):
            self._generator.load.whole.append(time.perf_counter() - self._sent_at)
            self._generator.check(self._answer)
            self._send()

    def _token_came(self, now: float) -> None:
        load = self._generator.load
        if self._token_at:
            load.gaps.append(now - self._token_at)
        else:
            load.first.append(now - self._sent_at)
            if not self._had_token:
                self._had_token = True
                self._generator.client_has_token()
        self._token_at = now

    def _is_over(self, data: bytes) -> bool:
        if self._length is None:
            head_end = self._answer.find(b"\r\n\r\n")
            if head_end < 0:
                return False
            self._length = _end_of(bytes(self._answer[: head_end + 4]).lower())
        if self._length:
            return len(self._answer) >= self._length
        return data.endswith(_END_OF_CHUNKS) or self._answer.endswith(_END_OF_CHUNKS)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._ended:
            self._generator.load.errors.append(f"the server closed the connection: {error}")
            self._end()

    def _end(self) -> None:
        self._ended = True
        assert self._transport is not None
        self._transport.close()
        self._generator.client_done()


def _end_of(head: bytes) -> int:
    """Where the answer ends, by its head; 0 for one in chunks."""
    _, found, rest = head.partition(b"content-length:")
    return len(head) + int(rest.split(b"\r\n", 1)[0]) if found else 0


async def _connect(loop: asyncio.AbstractEventLoop, job: Job, generator: _Generator) -> None:
    if not job.receive_buffer:
        await loop.create_connection(lambda: _Client(generator), job.host, job.port)
        return
    # The size of the window is settled when the connection is made.
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, job.receive_buffer)
    connection.setblocking(False)
    await loop.sock_connect(connection, (job.host, job.port))
    await loop.create_connection(lambda: _Client(generator), sock=connection)


async def _generate(job: Job) -> Load:
    generator = _Generator(job)
    loop = asyncio.get_running_loop()
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(job.clients):
        await _connect(loop, job, generator)
        if job.ramp:
            await asyncio.sleep(job.ramp / job.clients)
    if job.hold:
        await asyncio.to_thread(sys.stdin.read)
        return generator.load
    await generator.over.wait()
    generator.load.seconds = time.perf_counter() - began
    generator.load.cpu_seconds = time.process_time() - cpu
    return generator.load


def main() -> None:
    job = msgspec.json.decode(sys.stdin.readline(), type=Job)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        load = runner.run(_generate(job))
    if not job.hold:
        Path(sys.argv[1]).write_bytes(msgspec.json.encode(load))


if __name__ == "__main__":
    main()
