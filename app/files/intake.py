"""Intake of a file: the next block is collected while threads hash and write the one before."""

import asyncio
import codecs
import hashlib
import mmap
from collections.abc import AsyncIterator
from typing import Final

from app.errors import PayloadTooLarge
from app.files.sinks import Sink, until_done
from app.files.sniffing import HEAD_BYTES

BLOCK_BYTES: Final = 1024 * 1024
# Below this, a call of a thread costs more than the hash.
SMALL_BYTES: Final = 64 * 1024


class Digest:
    """Size, SHA-256, first bytes and encoding of a file, collected while its bytes pass."""

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
    """Give all chunks to the digest and the sink in blocks of BLOCK_BYTES: one is stored while the next one is filled.

    Nothing is under way any more when this returns or raises: PayloadTooLarge above `limit` bytes, StorageUnavailable,
    or what `chunks` raises.
    """
    block, spare_block = _new_block(), _new_block()
    length = size = 0
    storing: asyncio.Task[None] | None = None
    try:
        async for chunk in chunks:
            size += len(chunk)
            if size > limit:
                raise PayloadTooLarge(f"The file is larger than {limit} bytes")
            view = memoryview(chunk)
            while view:
                piece = view[: BLOCK_BYTES - length]
                block[length : length + len(piece)] = piece
                length += len(piece)
                view = view[len(piece) :]
                if length == BLOCK_BYTES:
                    if storing is not None:
                        await storing
                    storing = asyncio.create_task(_store(block, digest, sink))
                    block, spare_block, length = spare_block, block, 0
        if storing is not None:
            await storing
        if length:
            await _store(block[:length], digest, sink)
    finally:
        if storing is not None:
            await until_done(storing)


def _new_block() -> memoryview:
    """Memory for one block, given by the system page by page as it is written to: small files need no more.

    It is filled again and again. New memory for each block would be given page by page each time, which costs more than
    all the copying.
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
        await until_done(hashing)
