"""From a text to passages with their terms, away from the event loop: in a thread, or for a long text in a process.

A thread shares the interpreter with the streams of all chats: for the seconds that a long text takes, that is too much.
"""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import suppress

import msgspec

from app.errors import Unavailable
from app.files.extraction.framing import END, LENGTH_BYTES, blocks_of, framed, length_of
from app.files.extraction.pool import worker_environment
from app.knowledge.index import IndexedPassage, with_terms
from app.knowledge.splitting import split
from app.knowledge.worker import Order

LONG_CHARS = 50_000
PASSAGES_AT_ONCE = 100
"""How many are written in one transaction."""
BUFFER_BYTES = 1024**2
IDLE_SECONDS = 60.0
BATCH_SECONDS = 120.0
"""How long the process may be silent; splitting the longest text takes it some seconds."""

_DECODER = msgspec.msgpack.Decoder(list[IndexedPassage])


class PreparingUnavailable(Unavailable):
    """The process cannot be started, or has ended."""

    code = "document_workers_unavailable"

    def __init__(self) -> None:
        super().__init__("Documents cannot be read at the moment")


class PassageMaker:
    """Makes passages of at most `size` characters, of which `overlap` are the last ones of the passage before.

    One text at a time. The process starts with the first long text, and ends when none has come for a while.
    """

    def __init__(self, *, size: int, overlap: int, at_once: int = PASSAGES_AT_ONCE) -> None:
        self._size = size
        self._overlap = overlap
        self._at_once = at_once
        self._process: Process | None = None
        self._retirement: asyncio.TimerHandle | None = None

    async def make(self, title: str, text: str) -> AsyncGenerator[list[IndexedPassage], None]:
        """The passages of the text, `at_once` at a time. Raises PreparingUnavailable."""
        if len(text) > LONG_CHARS:
            async for prepared in self._make_in_process(title, text):
                yield prepared
            return
        drafts = await asyncio.to_thread(split, text, size=self._size, overlap=self._overlap)
        for start in range(0, len(drafts), self._at_once):
            yield await asyncio.to_thread(with_terms, drafts[start : start + self._at_once], title)

    async def close(self) -> None:
        """End the process."""
        process = self._process
        self._end()
        if process is not None:
            await process.wait()

    async def _make_in_process(self, title: str, text: str) -> AsyncGenerator[list[IndexedPassage], None]:
        process = await self._started()
        whole = False
        try:
            order = Order(title, self._size, self._overlap, self._at_once)
            async with asyncio.timeout(BATCH_SECONDS):
                await _send(process, msgspec.msgpack.encode(order), text)
            while True:
                async with asyncio.timeout(BATCH_SECONDS):
                    message = await _receive(process)
                if not message:
                    break
                yield _DECODER.decode(message)
            whole = True
        except (OSError, EOFError, TimeoutError) as error:
            raise PreparingUnavailable from error
        finally:
            if whole:
                self._retirement = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._end)
            else:
                self._end()  # it is in the middle of something that nobody wants

    async def _started(self) -> Process:
        if self._retirement is not None:
            self._retirement.cancel()
            self._retirement = None
        if self._process is not None and self._process.returncode is None:
            return self._process
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "app.knowledge.worker"),
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                limit=BUFFER_BYTES,
                env=worker_environment(),
            )
        except OSError as error:
            raise PreparingUnavailable from error
        return self._process

    def _end(self) -> None:
        if self._retirement is not None:
            self._retirement.cancel()
            self._retirement = None
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            assert process.stdin is not None
            process.stdin.close()


async def _send(process: Process, head: bytes, text: str) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(framed(head))
        for start in range(0, len(text), BUFFER_BYTES):
            for block in blocks_of(text[start : start + BUFFER_BYTES].encode()):
                process.stdin.write(framed(block))
                await process.stdin.drain()
        process.stdin.write(END)
        await process.stdin.drain()
    except RuntimeError as error:  # uvloop's word for a pipe that was closed meanwhile
        raise EOFError from error


async def _receive(process: Process) -> bytes:
    assert process.stdout is not None
    length = length_of(await process.stdout.readexactly(LENGTH_BYTES))
    return await process.stdout.readexactly(length)
