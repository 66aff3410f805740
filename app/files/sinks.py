"""Objects being written: to a file in a local folder, or to a bucket in parts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import obstore
from obstore.exceptions import BaseError

from app.errors import Unavailable

if TYPE_CHECKING:
    from obstore.store import ObjectStore

# Buckets take parts of 5 MiB at least; two on their way and one being filled are all that an upload holds in memory.
PART_BYTES = 5 * 1024**2
PARTS_UNDER_WAY = 2
# As `cp` does it. The page cache keeps one write in one piece of memory, and large pieces have to be asked of the host:
# writes of a megabyte cost up to ten times as much in a virtual machine.
WRITE_BYTES = 128 * 1024
# Another request's clean-up may remove the empty folder before it is used, so many times in a row at most.
TRIES = 10


class StorageUnavailable(Unavailable):
    """The storage failed: disk full, bucket out of reach, object gone."""

    code = "storage_unavailable"

    def __init__(self) -> None:
        super().__init__("The storage is not available at the moment")


class Sink(Protocol):
    """An object being written."""

    async def write(self, block: memoryview) -> None:
        """Take the next bytes; once this has returned, the caller may put others in their place. Raises
        StorageUnavailable."""

    async def finish(self) -> None:
        """Make the object exist. Raises StorageUnavailable."""

    async def abandon(self) -> None:
        """Let go of it. Unfinished bytes in a folder remain, for the maker of the sink to remove."""


class FolderSink:
    """The file at `place`, staged at `staged_at(place)` until it is finished.

    Blocks are written from the caller's memory. obstore would keep them until it has five megabytes, so that each had
    to be memory of its own.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._file: FileIO | None = None

    async def write(self, block: memoryview) -> None:
        await _run(asyncio.to_thread(self._write, block))

    async def finish(self) -> None:
        await _run(asyncio.to_thread(self._finish))

    async def abandon(self) -> None:
        if self._file is not None:
            self._file.close()

    def _write(self, block: memoryview) -> None:
        file = self._opened()
        while block:
            block = block[file.write(block[:WRITE_BYTES]) :]

    def _finish(self) -> None:
        self._opened().close()
        staged_at(self._place).rename(self._place)

    def _opened(self) -> FileIO:
        if self._file is None:
            self._file = _create(staged_at(self._place))
        return self._file


class BucketSink:
    """The object at `key`: put as a whole, or in parts when it is longer than one.

    Buckets keep the parts of an object that is not finished until they are told otherwise. obstore tells them when what
    it reads from raises, and not when a writer of its own is let go of.
    """

    def __init__(self, store: "ObjectStore", key: str) -> None:
        self._store = store
        self._key = key
        self._beginning = bytearray()
        self._blocks: asyncio.Queue[bytes] = asyncio.Queue(1)
        self._upload: asyncio.Task[object] | None = None
        self._abandoned = False

    async def write(self, block: memoryview) -> None:
        if self._upload is not None:
            await _run(self._give(bytes(block)))
            return
        self._beginning += block
        if len(self._beginning) > PART_BYTES:
            self._upload = asyncio.create_task(self._put_in_parts())
            await _run(self._give(bytes(self._beginning)))
            self._beginning.clear()

    async def finish(self) -> None:
        if self._upload is None:
            await _run(obstore.put_async(self._store, self._key, bytes(self._beginning), use_multipart=False))
        else:
            await _run(self._give(b""))
            await _run(self._upload)

    async def abandon(self) -> None:
        if self._upload is None or self._upload.done():
            return
        self._abandoned = True
        if self._blocks.empty():
            self._blocks.put_nowait(b"")
        await until_done(self._upload)

    async def _give(self, block: bytes) -> None:
        """Hand a block over to the upload; raises what that has failed with. An empty one is the end."""
        assert self._upload is not None
        giving = asyncio.ensure_future(self._blocks.put(block))
        await asyncio.wait([giving, self._upload], return_when=asyncio.FIRST_COMPLETED)
        if self._upload.done():
            giving.cancel()
            self._upload.result()

    async def _put_in_parts(self) -> object:
        return await obstore.put_async(
            self._store, self._key, self._taken(), chunk_size=PART_BYTES, max_concurrency=PARTS_UNDER_WAY
        )

    async def _taken(self) -> AsyncIterator[bytes]:
        """The blocks, as they are handed over. Raises _AbandonedError, which has obstore remove the parts."""
        while (block := await self._blocks.get()) and not self._abandoned:
            yield block
        if self._abandoned:
            raise _AbandonedError


class _AbandonedError(Exception):
    """The end of an upload whose object is not wanted any more."""


def staged_at(place: Path) -> Path:
    """The path of an unfinished file."""
    return place.with_name(f"{place.name}#1")


async def until_done(future: asyncio.Future[Any]) -> None:
    """Wait for the future, however it ends. A cancellation is passed on, but only then."""
    cancelled = False
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            cancelled = True
    if not future.cancelled():
        future.exception()  # retrieved: whoever awaits the result gets it too
    if cancelled:
        raise asyncio.CancelledError


async def _run(operation: Awaitable[object]) -> None:
    """Run a storage operation to its end, even when cancelled: later, it could undo the clearing up."""
    future = asyncio.ensure_future(operation)
    await until_done(future)
    with faults_as_unavailable():
        future.result()


@contextmanager
def faults_as_unavailable() -> Iterator[None]:
    try:
        yield
    except (OSError, BaseError) as error:
        raise StorageUnavailable from error


def _create(path: Path) -> FileIO:
    for _ in range(TRIES):
        try:
            return path.open("xb", buffering=0)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("xb", buffering=0)
