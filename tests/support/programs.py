"""The command line in processes of their own, forked from one that has imported the application.

Importing takes each new interpreter over a second of CPU time; a fork has it for nothing. Otherwise it is a process as
any other: its own arguments, environment, folder, output and exit code, and it can be killed.
"""

import asyncio
import multiprocessing
import os
import resource
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import time_machine

ROOT = Path(__file__).resolve().parents[2]
FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["alembic.command", "app.bootstrap", "app.cli.serving", "tests.bots.platforms.crash_child"])


def plain_environment() -> dict[str, str]:
    """This process' environment without what configures Palaver."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PALAVER_", "OPENAI_"))}


class Program:
    """A running `palaver`, with what `asyncio.subprocess.Process` has."""

    def __init__(self, process: ForkServerProcess, outputs: Sequence[asyncio.StreamReader | None]) -> None:
        self.stdout, self.stderr = outputs
        self._process = process
        self._over = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(process.sentinel, self._end)

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal's; None while it runs."""
        return self._process.exitcode

    def send_signal(self, signal_number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal_number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        await self._over.wait()
        assert self.returncode is not None
        return self.returncode

    async def communicate(self) -> tuple[bytes, bytes]:
        """Return what it still writes to its outputs, once it is over."""
        out, err = await asyncio.gather(*(_rest_of(output) for output in (self.stdout, self.stderr)))
        await self.wait()
        return out, err

    def _end(self) -> None:
        self._loop.remove_reader(self._process.sentinel)
        self._over.set()


async def start_palaver(
    *arguments: str,
    environment: Mapping[str, str],
    stdout: int = PIPE,
    stderr: int | Path = DEVNULL,
    max_descriptors: int | None = None,
    clock_seconds: float = 0.0,
    missing: Sequence[str] = (),
) -> Program:
    """Start `palaver` with these arguments, in this process' folder.

    `stderr` is appended to a file where it is a path. `environment` is all that there is. Its clock is ahead by
    `clock_seconds`, and `missing` modules are not installed.
    """
    pipes = [FORK.Pipe(duplex=False) if output == PIPE else None for output in (stdout, stderr)]
    ends = [None if pipe is None else pipe[1] for pipe in pipes]
    target = str(stderr) if isinstance(stderr, Path) else stderr
    process = FORK.Process(
        target=_run,
        args=(arguments, Path.cwd(), dict(environment), ends, target, max_descriptors, clock_seconds, missing),
    )
    await asyncio.to_thread(process.start)
    for end in ends:
        if end is not None:
            end.close()
    return Program(process, [None if pipe is None else await _reader_of(pipe[0]) for pipe in pipes])


def _run(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    ends: Sequence[Connection | None],
    stderr: int | str,
    max_descriptors: int | None,
    clock_seconds: float,
    missing: Sequence[str],
) -> None:
    from app.cli import main

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if max_descriptors is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max_descriptors, max_descriptors))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, end in enumerate(ends, start=1):
        if end is not None:
            os.dup2(end.fileno(), number)
            end.close()
    if stderr == STDOUT:
        os.dup2(1, 2)
    elif isinstance(stderr, str):
        os.dup2(os.open(stderr, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), 2)
    elif stderr == DEVNULL:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    for name in missing:
        sys.modules[name] = None  # type: ignore[assignment]
    if clock_seconds:
        time_machine.travel(datetime.now(UTC) + timedelta(seconds=clock_seconds)).start()
    sys.argv = ["palaver", *arguments]
    main()


async def _reader_of(end: Connection) -> asyncio.StreamReader:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    pipe = os.fdopen(os.dup(end.fileno()), "rb")
    end.close()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return reader


async def _rest_of(output: asyncio.StreamReader | None) -> bytes:
    return b"" if output is None else await output.read()
