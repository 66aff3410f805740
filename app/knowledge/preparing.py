"""Passages and terms of a text, made away from the event loop: in a thread, or for a long text in a process.

A thread shares the interpreter with the streams of all chats: for the seconds that a long text takes, that is too much.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import msgspec

from app.knowledge.index import IndexedPassage, with_terms
from app.knowledge.splitting import split
from app.knowledge.worker import PassageRequest
from app.workers.pool import WorkerEnded, WorkerPool, WorkersUnavailable, WorkerTimeout

LONG_CHARS = 50_000
BATCH_SIZE = 50
"""The passages that one transaction writes. It holds up those of the chats, which share its commit."""
ENCODED_CHARS = 1024**2
BATCH_SECONDS = 120.0
"""How long the process may be silent; splitting the longest text takes it some seconds."""

_DECODER = msgspec.msgpack.Decoder(list[IndexedPassage])


class PassageMaker:
    """Makes passages of at most `size` characters, the first `overlap` from the passage before.

    The process for long texts takes one at a time.
    """

    def __init__(self, *, size: int, overlap: int, batch_size: int = BATCH_SIZE) -> None:
        self._size = size
        self._overlap = overlap
        self._batch_size = batch_size
        self._pool = WorkerPool("app.knowledge.worker", 1)

    async def make(self, title: str, text: str) -> AsyncGenerator[list[IndexedPassage], None]:
        """The passages of the text, `batch_size` at a time. Raises WorkersUnavailable."""
        if len(text) > LONG_CHARS:
            async with aclosing(self._make_in_process(title, text)) as batches:
                async for prepared in batches:
                    yield prepared
            return
        passages = await asyncio.to_thread(split, text, size=self._size, overlap=self._overlap)
        for start in range(0, len(passages), self._batch_size):
            yield await asyncio.to_thread(with_terms, passages[start : start + self._batch_size], title)

    async def close(self) -> None:
        """End the process; a text under way raises WorkersUnavailable."""
        await self._pool.close()

    async def _make_in_process(self, title: str, text: str) -> AsyncGenerator[list[IndexedPassage], None]:
        request = PassageRequest(title, self._size, self._overlap, self._batch_size)
        try:
            async with self._pool.worker() as worker:
                async with asyncio.timeout(BATCH_SECONDS):
                    await worker.send(msgspec.msgpack.encode(request), _encoded(text))
                while message := await worker.receive(BATCH_SECONDS):
                    yield _DECODER.decode(message)
        except (WorkerEnded, WorkerTimeout, TimeoutError) as error:
            raise WorkersUnavailable from error


async def _encoded(text: str) -> AsyncIterator[bytes]:
    for start in range(0, len(text), ENCODED_CHARS):
        yield text[start : start + ENCODED_CHARS].encode()
