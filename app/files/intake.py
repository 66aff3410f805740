"""Taking a file in: while one block is hashed and written by other threads, the next one is collected."""

import asyncio
import codecs
import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Final

from app.errors import PayloadTooLarge
from app.files.sniffing import HEAD_BYTES
from app.files.storage import Sink

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

    def update(self, block: bytes) -> None:
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

    def _decode(self, block: bytes, *, final: bool = False) -> None:
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
    on_its_way: asyncio.Task[None] | None = None
    block: list[bytes] = []
    held = size = 0
    try:
        async for chunk in chunks:
            size += len(chunk)
            if size > limit:
                raise PayloadTooLarge(f"The file is larger than {limit} bytes")
            block.append(chunk)
            held += len(chunk)
            if held >= BLOCK_BYTES:
                if on_its_way is not None:
                    await on_its_way
                on_its_way = asyncio.create_task(_store(block, digest, sink))
                block, held = [], 0
        if on_its_way is not None:
            await on_its_way
        if block:
            await _store(block, digest, sink)
    finally:
        if on_its_way is not None:
            await _to_its_end(on_its_way)


async def _store(pieces: Sequence[bytes], digest: Digest, sink: Sink) -> None:
    block = b"".join(pieces)
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
