"""`palaver serve` as a process of its own, so that it can be killed."""

import asyncio
import contextlib
import random
import re
import signal
import socket
from asyncio.subprocess import STDOUT
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.programs import Program, plain_environment, start_palaver

API_KEY = "operator-key-of-the-tests"
START_SECONDS = 60
STOP_SECONDS = 60


def free_port() -> int:
    """Return a port without a listener, below those that systems hand out by themselves.

    The server takes it later, and again after a restart. A port of the system's choice might be another test's by then.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        if _is_free(port):
            return port


def _is_free(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False


class ServerProcess:
    """Servers that follow one another on one data folder and one port; they let in API_KEY, with the seed's scopes.

    What they log is kept in `log_file`, beside the data folder. Their clocks are ahead by `clock_seconds`.
    """

    def __init__(
        self,
        data_dir: Path,
        environment: Mapping[str, str] | None = None,
        *,
        max_descriptors: int | None = None,
        clock_seconds: float = 0.0,
    ) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.log_file = data_dir.with_name(f"{data_dir.name}.log")
        self._environment = {
            "PALAVER_API_KEYS": f"tests={API_KEY}",
            "PALAVER_LOG_LEVEL": "warning",
            **(environment or {}),
        }
        self._max_descriptors = max_descriptors
        self._clock_seconds = clock_seconds
        self._process: Program | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def process(self) -> Program:
        assert self._process is not None
        return self._process

    async def spawn(self) -> None:
        """Start the process, and do not wait for it."""
        self._process = await start_palaver(
            *("serve", "--data-dir", str(self.data_dir), "--port", str(self.port)),
            environment={**plain_environment(), **self._environment},
            stderr=self.log_file,
            max_descriptors=self._max_descriptors,
            clock_seconds=self._clock_seconds,
        )

    async def until_ready(self) -> None:
        """Wait until the server answers. Raises AssertionError when it ended instead."""
        assert self.process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            while line := await self.process.stdout.readline():
                if re.search(rb"listens on http://", line):
                    return
        raise AssertionError(f"the server did not start: {self.log_file.read_text()[-4000:]}")

    async def start(self) -> None:
        await self.spawn()
        await self.until_ready()

    async def end(self, signal_number: int = signal.SIGTERM) -> int:
        """Send the signal, and wait for the process to end: its exit code, negative for a signal's."""
        if self.process.returncode is None:
            self.process.send_signal(signal_number)
        async with asyncio.timeout(STOP_SECONDS):
            code = await self.process.wait()
            # A worker that it was just starting has its listener still, until that is a program of its own.
            while not _is_free(self.port):
                await asyncio.sleep(0.01)
        return code

    async def kill(self) -> None:
        await self.end(signal.SIGKILL)

    async def close(self) -> None:
        """Leave no process behind."""
        if self._process is not None and self._process.returncode is None:
            await self.kill()


async def palaver(*arguments: str, data_dir: Path, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run a command of the command line: its exit code and all it printed."""
    process = await start_palaver(
        *arguments,
        *("--data-dir", str(data_dir)),
        environment={**plain_environment(), **(environment or {})},
        stderr=STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


def provider_toml(base_url: str, *, timeout_seconds: float = 120.0, max_retries: int = 0) -> str:
    """`palaver.toml` for a server that answers from a scripted model server."""
    values: Sequence[str] = (
        "[[providers]]",
        'id = "scripted"',
        f'base_url = "{base_url}"',
        'api_key = "sk-upstream-secret"',
        f"timeout_seconds = {timeout_seconds}",
        f"max_retries = {max_retries}",
    )
    return "\n".join(values) + "\n"
