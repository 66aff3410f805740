"""Taking a file in: while one block is hashed and written by other threads, the next one is collected."""

import asyncio
import codecs
import hashlib
import mmap
from collections.abc import AsyncIterator
from typing import Final

from app.errors import PayloadTooLarge
from app.files.sinks import Sink
from app.files.sniffing import HEAD_BYTES

BLOCK_BYTES: Final = 1024 * 1024
# Below this, a call of a thread costs more than the hash.
SMALL_BYTES: Final = 64 * 1024


class Digest:
    """What is learned of a file while its bytes pass: size, SHA-256, its first bytes, whether it is UTF-8."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._decoder: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8")()
        self.head = bytearray()
        self.size = 0

    def update(self, block: memoryview) -> None:
        """Take the next bytes. Only the hash lets other threads run meanwhile."""
        self.size += len(block)
        self._hash.update(block)
        if len(self.head) < HEAD_BYTES:
            self.head += block[: HEAD_BYTES - len(self.head)]
        self._decode(block)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()

    def is_utf8(self) -> bool:
        self._decode(b"", final=True)
        return self._decoder is not None

    def _decode(self, block: bytes | memoryview, *, final: bool = False) -> None:
        # Most files that are no text fail within their first bytes, and cost nothing from there on.
        if self._decoder is not None:
            try:
                self._decoder.decode(block, final)
            except UnicodeDecodeError:
                self._decoder = None


async def take_in(chunks: AsyncIterator[bytes], digest: Digest, sink: Sink, limit: int) -> None:
    """Give all chunks to the digest and the sink, in blocks of BLOCK_BYTES: one is on its way, one is being filled.

    Nothing is on its way any more when this returns or raises: PayloadTooLarge above `limit` bytes, StorageUnavailable,
    or what `chunks` raises.
    """
    filling, resting = _new_block(), _new_block()
    held = size = 0
    on_its_way: asyncio.Task[None] | None = None
    try:
        async for chunk in chunks:
            size += len(chunk)
            if size > limit:
                raise PayloadTooLarge(f"The file is larger than {limit} bytes")
            rest = memoryview(chunk)
            while rest:
                taken, rest = rest[: BLOCK_BYTES - held], rest[BLOCK_BYTES - held :]
                filling[held : held + len(taken)] = taken
                held += len(taken)
                if held == BLOCK_BYTES:
                    if on_its_way is not None:
                        await on_its_way
                    on_its_way = asyncio.create_task(_store(filling, digest, sink))
                    filling, resting, held = resting, filling, 0
        if on_its_way is not None:
            await on_its_way
        if held:
            await _store(filling[:held], digest, sink)
    finally:
        if on_its_way is not None:
            await _to_its_end(on_its_way)


def _new_block() -> memoryview:
    """Memory of BLOCK_BYTES that takes none until it is written to, so that small files need no more than they are.

    It is filled again and again: to hold each block in memory of its own is to be given that memory by the system page
    by page, which costs more than all the copying.
    """
    return memoryview(mmap.mmap(-1, BLOCK_BYTES))


async def _store(block: memoryview, digest: Digest, sink: Sink) -> None:
    if len(block) <= SMALL_BYTES:
        digest.update(block)
        await sink.write(block)
        return
    hashing = asyncio.get_running_loop().run_in_executor(None, digest.update, block)
    try:
        await sink.write(block)
    finally:
        await _to_its_end(hashing)


async def _to_its_end(future: asyncio.Future[None]) -> None:
    """Wait until it is over, however it ends; when cancelled, wait all the same and pass the cancellation on then."""
    cancelled = False
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            cancelled = True
    if not future.cancelled():
        future.exception()  # seen: who waits for it in earnest has been told
    if cancelled:
        raise asyncio.CancelledError
