"""The worker processes: started when there is work, killed when they overstep, replaced when they have worked long."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import structlog

from app.errors import Unavailable
from app.files.extraction.framing import END, LENGTH_BYTES, blocks_of, framed, length_of
from app.files.extraction.models import BROKEN, TOO_MUCH_MEMORY, Reason, Refused, Reply, Request

JOBS_PER_WORKER: Final = 50
"""Parsers keep some of what they took; a worker starts again after so many documents."""
IDLE_SECONDS: Final = 300.0
START_SECONDS: Final = 30.0
END_SECONDS: Final = 5.0
MAX_WAITING: Final = 100
MAX_REPLY_BYTES: Final = 256 * 1024**2
_SIGKILL: Final = -9
_SIGXCPU: Final = -24

_DECODER: Final[msgspec.json.Decoder[Reply]] = msgspec.json.Decoder(Reply)

log = structlog.get_logger(__name__)


class WorkersUnavailable(Unavailable):
    """The workers cannot be started, or too many documents wait for them."""

    code = "document_workers_unavailable"

    def __init__(self) -> None:
        super().__init__("Documents cannot be read at the moment")


class _WorkerEnded(Exception):
    """The worker has ended, or sends nonsense."""


class _OutOfTime(Exception):
    """The worker has not answered in time."""


class WorkerPool:
    """At most `size` workers with `memory_bytes` of address space each, for one event loop.

    A job's time counts from when a worker has all of its file. Nothing polls: a worker's reply and its death are both
    read from its pipe.
    """

    def __init__(self, size: int, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self._places = asyncio.Semaphore(size)
        self._waiting = 0
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._dying: set[asyncio.Task[int]] = set()
        self._retirement: asyncio.TimerHandle | None = None
        self._closed = False

    async def run(self, request: Request, content: bytes | AsyncIterable[bytes]) -> Reply:
        """The reply of a worker, or the refusal that its end amounts to. Raises WorkersUnavailable, and what
        `content` raises. Cancelling it kills the worker."""
        if self._waiting >= MAX_WAITING:
            raise WorkersUnavailable
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        try:
            return await self._run(request, content)
        finally:
            self._places.release()

    async def close(self) -> None:
        """Kill the workers; jobs that are under way raise WorkersUnavailable."""
        self._closed = True
        self._retire()
        for worker in self._busy:
            worker.kill()
        await asyncio.gather(*self._dying, *(worker.process.wait() for worker in self._busy))
        await asyncio.sleep(0)  # for the pipes to be closed, too

    async def _run(self, request: Request, content: bytes | AsyncIterable[bytes]) -> Reply:
        worker = self._idle.pop() if self._idle else await self._start()
        self._busy.add(worker)
        reusable = False
        try:
            if worker.jobs == 0:
                await self._until_ready(worker)
            reply = await worker.work(request, content)
            reusable = not (isinstance(reply, Refused) and reply.reason is Reason.TOO_MUCH_MEMORY)
        except _OutOfTime:
            return _too_slow(request)
        except _WorkerEnded:
            return await self._explain_end(worker, request)
        finally:
            self._busy.discard(worker)
            if reusable and worker.jobs < JOBS_PER_WORKER and not self._closed:
                self._idle.append(worker)
                self._retire_later()
            else:
                self._bury(worker)
        return reply

    async def _start(self) -> "_Worker":
        if self._closed:
            raise WorkersUnavailable
        try:
            return await _Worker.start(self._memory_bytes)
        except OSError as error:
            log.error("document_worker_not_started", exc_info=error)
            raise WorkersUnavailable from None

    async def _until_ready(self, worker: "_Worker") -> None:
        try:
            await worker.until_ready()
        except (_WorkerEnded, _OutOfTime):
            # Our fault, or the machine's, and not the document's.
            log.error("document_worker_not_started", status=worker.process.returncode)
            raise WorkersUnavailable from None

    async def _explain_end(self, worker: "_Worker", request: Request) -> Refused:
        """A worker that ended by itself, over one of its limits or over a fault in a library."""
        try:
            async with asyncio.timeout(END_SECONDS):
                status = await worker.process.wait()
        except TimeoutError:  # it has only closed its pipes
            status = 0
        if self._closed:
            raise WorkersUnavailable
        log.warning("document_worker_ended", status=status)
        if status == _SIGXCPU:
            return _too_slow(request)
        if status == _SIGKILL:  # the kernel's, who picks the largest process when memory runs out
            return Refused(Reason.TOO_MUCH_MEMORY, TOO_MUCH_MEMORY)
        return Refused(Reason.BROKEN, BROKEN, f"worker ended: {status}")

    def _bury(self, worker: "_Worker") -> None:
        worker.kill()
        if worker.process.returncode is None:
            task = asyncio.create_task(worker.process.wait())
            self._dying.add(task)
            task.add_done_callback(self._dying.discard)

    def _retire_later(self) -> None:
        if self._retirement is not None:
            self._retirement.cancel()
        self._retirement = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._retire)

    def _retire(self) -> None:
        """End the idle workers: each holds 50 MB and more."""
        if self._retirement is not None:
            self._retirement.cancel()
        while self._idle:
            self._bury(self._idle.pop())


class _Worker:
    def __init__(self, process: Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self.process = process
        self.jobs = 0
        self._stdin = process.stdin
        self._stdout = process.stdout

    @classmethod
    async def start(cls, memory_bytes: int) -> "_Worker":
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "app.files.extraction.worker",
            str(memory_bytes),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            env=worker_environment(),
        )
        return cls(process)

    async def until_ready(self) -> None:
        """Wait for its first sign of life. Raises _WorkerEnded, _OutOfTime."""
        await self._receive(START_SECONDS)

    async def work(self, request: Request, content: bytes | AsyncIterable[bytes]) -> Reply:
        """Raises _WorkerEnded, _OutOfTime, and what `content` raises."""
        self.jobs += 1
        await self._send(framed(msgspec.json.encode(request)))
        if isinstance(content, bytes):
            await self._send_blocks(content)
        else:
            async for data in content:
                await self._send_blocks(data)
        await self._send(END)
        try:
            return _DECODER.decode(await self._receive(request.limits.timeout_seconds))
        except msgspec.MsgspecError:
            raise _WorkerEnded from None

    def kill(self) -> None:
        """End it at once; does nothing to one that has ended."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.kill()
        self._stdin.close()

    async def _send_blocks(self, data: bytes) -> None:
        for block in blocks_of(data):
            await self._send(framed(block))

    async def _send(self, data: bytes) -> None:
        try:
            self._stdin.write(data)
            await self._stdin.drain()
        except (OSError, RuntimeError):  # uvloop's word for a pipe that was closed meanwhile
            raise _WorkerEnded from None

    async def _receive(self, seconds: float) -> bytes:
        try:
            async with asyncio.timeout(seconds):
                length = length_of(await self._stdout.readexactly(LENGTH_BYTES))
                if length > MAX_REPLY_BYTES:
                    raise _WorkerEnded
                return await self._stdout.readexactly(length)
        except TimeoutError:
            raise _OutOfTime from None
        except (OSError, EOFError):
            raise _WorkerEnded from None


def _too_slow(request: Request) -> Refused:
    return Refused(Reason.TOO_SLOW, f"reading it takes longer than {request.limits.timeout_seconds:g} seconds")


def worker_environment() -> dict[str, str]:
    """What a worker needs to find this code, and nothing of the server's: its variables hold keys."""
    return {
        "PYTHONPATH": os.pathsep.join(str(Path(place).absolute()) for place in sys.path if place),
        "PYTHONUTF8": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        # A library that finds NumPy would have it start a thread, and take memory, for each processor.
        "OPENBLAS_NUM_THREADS": "1",
        **{name: os.environ[name] for name in ("LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ},
    }
