"""The server's side: workers are started when needed, killed when they overstep, and replaced."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import structlog

from app.errors import Unavailable
from app.workers.framing import END, LENGTH_BYTES, blocks_of, framed, length_of
from app.workers.turns import NOBODY, Caller, FairSlots

JOBS_PER_WORKER: Final = 50
"""Parsers keep some of what they took; a worker is replaced after so many documents."""
IDLE_SECONDS: Final = 300.0
START_SECONDS: Final = 30.0
END_SECONDS: Final = 5.0
MAX_WAITING: Final = 400
MAX_REPLY_BYTES: Final = 256 * 1024**2

log = structlog.get_logger(__name__)


class WorkersUnavailable(Unavailable):
    """The workers cannot be started, or too many documents wait for them."""

    code = "document_workers_unavailable"

    def __init__(self) -> None:
        super().__init__("Documents cannot be read at the moment")


class WorkerEnded(Exception):
    """The worker has ended, or sends nonsense. `status` is that of its process, set by the pool."""

    status = 0


class WorkerTimeout(Exception):
    """The worker has not answered in time."""


class WorkerPool:
    """At most `size` processes of `python -m module`, for one event loop.

    Callers take turns. Each process has `memory_bytes` of address space (0: any). Nothing polls: a worker's reply and
    its death are both read from its pipe.
    """

    def __init__(self, module: str, size: int, memory_bytes: int = 0) -> None:
        self._module = module
        self._memory_bytes = memory_bytes
        self._slots = FairSlots(size)
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()
        self._dying: set[asyncio.Task[int]] = set()
        self._retirement: asyncio.TimerHandle | None = None
        self._closed = False

    @asynccontextmanager
    async def worker(self, caller: Caller = NOBODY) -> AsyncIterator["Worker"]:
        """A worker for one job of the caller. It is killed when the block raises, or is cancelled.

        Raises WorkersUnavailable: also in the place of WorkerEnded, when it was the pool that ended the worker.
        """
        if self._slots.waiting >= MAX_WAITING:
            raise WorkersUnavailable
        async with self._slots.slot(caller), self._started() as worker:
            yield worker

    async def close(self) -> None:
        """Kill the workers; jobs that are under way raise WorkersUnavailable."""
        self._closed = True
        self._retire()
        for worker in self._busy:
            worker.kill()
        await asyncio.gather(*self._dying, *(worker.process.wait() for worker in self._busy))
        await asyncio.sleep(0)  # for the pipes to be closed, too

    @asynccontextmanager
    async def _started(self) -> AsyncIterator["Worker"]:
        worker = self._idle.pop() if self._idle else await self._start()
        self._busy.add(worker)
        finished = False
        try:
            if worker.jobs == 0:
                await self._until_ready(worker)
            worker.jobs += 1
            yield worker
            finished = True
        except WorkerEnded as error:
            error.status = await worker.exit_status()
            if self._closed:
                raise WorkersUnavailable from None
            log.warning("worker_ended", module=self._module, status=error.status)
            raise
        finally:
            self._busy.discard(worker)
            if finished and worker.is_reusable and worker.jobs < JOBS_PER_WORKER and not self._closed:
                self._idle.append(worker)
                self._retire_later()
            else:
                self._bury(worker)

    async def _start(self) -> "Worker":
        if self._closed:
            raise WorkersUnavailable
        try:
            return await Worker.start(self._module, self._memory_bytes)
        except OSError as error:
            log.error("worker_not_started", module=self._module, exc_info=error)
            raise WorkersUnavailable from None

    async def _until_ready(self, worker: "Worker") -> None:
        try:
            await worker.receive(START_SECONDS)
        except (WorkerEnded, WorkerTimeout):
            # Our fault, or the machine's, and not the document's.
            log.error("worker_not_started", module=self._module, status=worker.process.returncode)
            raise WorkersUnavailable from None

    def _bury(self, worker: "Worker") -> None:
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


class Worker:
    """A process and the pipes to it. A job sets `is_reusable` to False when it leaves the process in a bad state."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self.process = process
        self.jobs = 0
        self.is_reusable = True
        self._stdin = process.stdin
        self._stdout = process.stdout

    @classmethod
    async def start(cls, module: str, memory_bytes: int) -> "Worker":
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", module, str(memory_bytes)),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            env=_environment(),
        )
        return cls(process)

    async def send(self, head: bytes, content: bytes | AsyncIterable[bytes]) -> None:
        """Send a job. Raises WorkerEnded, and what `content` raises."""
        await self._write(framed(head))
        if isinstance(content, bytes):
            await self._write_blocks(content)
        else:
            async for data in content:
                await self._write_blocks(data)
        await self._write(END)

    async def receive(self, seconds: float) -> bytes:
        """The next message. Raises WorkerEnded, and WorkerTimeout when it has not come after so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                length = length_of(await self._stdout.readexactly(LENGTH_BYTES))
                if length > MAX_REPLY_BYTES:
                    raise WorkerEnded
                return await self._stdout.readexactly(length)
        except TimeoutError:
            raise WorkerTimeout from None
        except (OSError, EOFError):
            raise WorkerEnded from None

    async def exit_status(self) -> int:
        """The status of the process; 0 when it has only closed its pipes."""
        try:
            async with asyncio.timeout(END_SECONDS):
                return await self.process.wait()
        except TimeoutError:
            return 0

    def kill(self) -> None:
        """End it at once; does nothing to one that has ended."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.kill()
        self._stdin.close()

    async def _write_blocks(self, data: bytes) -> None:
        for block in blocks_of(data):
            await self._write(framed(block))

    async def _write(self, data: bytes) -> None:
        try:
            self._stdin.write(data)
            await self._stdin.drain()
        except (OSError, RuntimeError):  # uvloop's word for a pipe that was closed meanwhile
            raise WorkerEnded from None


def _environment() -> dict[str, str]:
    """The variables for finding this code, and none of the server's own: those hold keys."""
    return {
        "PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path if entry),
        "PYTHONUTF8": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        # A library that finds NumPy would have it start a thread, and take memory, for each processor.
        "OPENBLAS_NUM_THREADS": "1",
        **{name: os.environ[name] for name in ("LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ},
    }
